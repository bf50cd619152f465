import Base

extension Recipe {
    /// A scan of the marked model, whose findings steer the removal in place of the recipe's key.
    public struct ScanStage: Sendable, Equatable {
        /// How to look; the order does not matter.
        public var methods = ScanMethodName.standard
        /// A model of the same tokens without the mark, or the parent; nil: the model alone.
        public var reference: String?
        /// Pairs whose questions are people's messages; nil: the bundled ones.
        public var data: String?
        /// Seconds that it may take; nil: as long as it needs.
        public var budget: Double?
    }

    /// - Throws: a bad-input error for a scan that would steer nothing.
    func validateScan() throws {
        guard scan != nil else { return }
        if donor != nil {
            throw MeraserError.badInput(
                "\(path): with 'transfer' the adapters are trained on a model without the mark: there is nothing that 'scan' "
                    + "could steer")
        }
        if let auto, auto.setting == .keyUnknown {
            throw MeraserError.badInput(
                "\(path): auto: 'setting' is '\(auto.setting.rawValue)', which looks for the mark itself; leave it or 'scan' "
                    + "out")
        }
        guard auto != nil || [erase, recover].contains(where: { $0?.isSteered == true }) else {
            throw MeraserError.badInput(
                "\(path): nothing uses what 'scan' finds; give 'auto', or a stage with 'osft', 'sande', 'check_steps' or the "
                    + "objective npo")
        }
    }
}

extension Settings {
    /// `true`, or an object with `methods`, `reference`, `data` and `budget` (seconds); nil: there is none.
    mutating func scan(_ key: String, _ folder: String) throws -> Recipe.ScanStage? {
        guard let value = value(key) else { return nil }
        if let flag = value.bool { return flag ? Recipe.ScanStage() : nil }
        var section = try Settings(value, place: "\(place): \(key)")
        var stage = Recipe.ScanStage()
        if let names = try section.texts("methods") {
            stage.methods = try names.map { name in
                guard let method = ScanMethodName(rawValue: name) else {
                    let known = ScanMethodName.allCases.map(\.rawValue).joined(separator: ", ")
                    throw MeraserError.badInput(
                        "\(section.place): 'methods' has \(quoted(name)), expected some of \(known)")
                }
                return method
            }
            guard !names.isEmpty else { throw MeraserError.badInput("\(section.place): 'methods' is empty") }
        }
        stage.reference = try section.path("reference", in: folder)
        stage.data = try section.dataset("data", in: folder)
        stage.budget = try section.number("budget")
        try section.requireNothingElse()
        if let budget = stage.budget, !(budget >= 1) {
            throw MeraserError.badInput("\(section.place): 'budget' is \(budget), expected seconds, 1 or more")
        }
        return stage
    }
}
