import Base

extension LearningRateCurve {
    /// The curve of a schedule with `lr_scheduler_kwargs`.
    ///
    /// - Throws: a usage error for a setting that the schedule does not have, or lacks, or whose value does not fit.
    init(_ kind: LearningRateSchedule.Kind, settings: JSONObject, peak: Double) throws {
        var settings = ScheduleSettings(kind, settings)
        switch kind {
        case .constant: self = .constant
        case .reduceOnPlateau: self = .plateau(try settings.plateau())
        case .constantWithWarmup: self = .constantWithWarmup
        case .linear: self = .linear
        case .inverseSqrt: self = .inverseSqrt
        case .cosine: self = .cosine(cycles: try settings.number("num_cycles", 0...1e6) ?? 0.5, floor: 0)
        case .cosineWithRestarts: self = .restarts(cycles: Double(try settings.int("num_cycles", 1...1_000_000) ?? 1))
        case .polynomial:
            let end = try settings.number("lr_end", 0...10) ?? 1e-7
            guard end < peak else { throw settings.wrong("lr_end", "a rate below `learning_rate`, which is \(peak)") }
            self = .polynomial(end: end / peak, power: try settings.number("power", 1e-6...1e6) ?? 1)
        case .cosineWithMinLR:
            self = .cosine(
                cycles: try settings.number("num_cycles", 0...1e6) ?? 0.5, floor: try settings.floor(peak: peak))
        case .cosineWarmupWithMinLR:
            self = .countedCosine(
                cycles: try settings.number("num_cycles", 0...1e6) ?? 0.5, floor: try settings.floor(peak: peak),
                start: try settings.number("warmup_lr_rate", 0...1))
        case .warmupStableDecay:
            guard let decay = try settings.int("num_decay_steps", 0...1_000_000_000) else {
                throw settings.missing("num_decay_steps")
            }
            self = .stable(
                steps: try settings.int("num_stable_steps", 0...1_000_000_000), decay: decay,
                rise: try settings.slope("warmup_type") ?? .linear, fall: try settings.slope("decay_type") ?? .cosine,
                floor: try settings.number("min_lr_ratio", 0...1) ?? 0,
                cycles: try settings.number("num_cycles", 0...1e6) ?? 0.5)
        }
        try settings.requireNothingElse()
    }
}

/// `lr_scheduler_kwargs`, of which every member has to be asked for.
private struct ScheduleSettings {
    private let kind: LearningRateSchedule.Kind
    private let given: JSONObject
    private var asked: [String] = []

    init(_ kind: LearningRateSchedule.Kind, _ given: JSONObject) { (self.kind, self.given) = (kind, given) }

    mutating func number(_ name: String, _ range: ClosedRange<Double>) throws -> Double? {
        try value(name, "a number from \(range.lowerBound) to \(range.upperBound)") { value in
            value.double.flatMap { range.contains($0) ? $0 : nil }
        }
    }

    mutating func int(_ name: String, _ range: ClosedRange<Int>) throws -> Int? {
        try value(name, "a whole number from \(range.lowerBound) to \(range.upperBound)") { value in
            value.int.flatMap { range.contains($0) ? $0 : nil }
        }
    }

    mutating func slope(_ name: String) throws -> LearningRateCurve.Slope? { try choice(name) }

    mutating func choice<T: RawRepresentable<String> & CaseIterable>(_ name: String) throws -> T? {
        let names = T.allCases.map(\.rawValue).joined(separator: " ")
        return try value(name, "one of \(names)") { $0.string.flatMap(T.init(rawValue:)) }
    }

    /// torch's names; of a loss only the lowest is the best.
    mutating func plateau() throws -> PlateauRule {
        var rule = PlateauRule()
        _ = try value("mode", "min: a loss is the better the lower") { $0.string == "min" ? true : nil }
        if let factor = try number("factor", 0...1) {
            guard factor < 1 else { throw wrong("factor", "a number below 1") }
            rule.factor = factor
        }
        rule.patience = try int("patience", 0...1_000_000_000) ?? rule.patience
        rule.threshold = try number("threshold", 0...1e6) ?? rule.threshold
        rule.thresholdMode = try choice("threshold_mode") ?? rule.thresholdMode
        rule.cooldown = try int("cooldown", 0...1_000_000_000) ?? rule.cooldown
        rule.floor = try number("min_lr", 0...10) ?? rule.floor
        rule.eps = try number("eps", 0...10) ?? rule.eps
        return rule
    }

    /// The least share of the peak: `min_lr_rate`, or `min_lr` over the peak.
    mutating func floor(peak: Double) throws -> Double {
        switch (try number("min_lr", 0...10), try number("min_lr_rate", 0...1)) {
        case (let rate?, nil): return peak > 0 ? rate / peak : 0
        case (nil, let share?): return share
        case (nil, nil): throw missing("min_lr or min_lr_rate")
        case (_?, _?): throw wrong("min_lr", "one of min_lr and min_lr_rate")
        }
    }

    private mutating func value<T>(_ name: String, _ expected: String, _ read: (JSONValue) -> T?) throws -> T? {
        asked.append(name)
        guard let value = given[name], !value.isNull else { return nil }
        guard let result = read(value) else { throw wrong(name, expected) }
        return result
    }

    func missing(_ names: String) -> MeraserError {
        .usage("`lr_scheduler_type` \(kind.rawValue) needs \(names) in `lr_scheduler_kwargs`")
    }

    func wrong(_ name: String, _ expected: String) -> MeraserError {
        .usage("`lr_scheduler_kwargs`: \(name) is \(given[name]?.serialized() ?? "missing"), expected \(expected)")
    }

    func requireNothingElse() throws {
        guard let other = given.members.first(where: { !asked.contains($0.key.string) }) else { return }
        throw MeraserError.usage(
            "`lr_scheduler_kwargs`: \(quoted(other.key.string)) is no setting of \(kind.rawValue), which has "
                + (asked.isEmpty ? "none" : asked.joined(separator: " ")))
    }
}
