import Base
import Model

/// Decoys of one key: other triggers, and other targets for each of its own.
struct DecoyPool {
    /// Other triggers, all different.
    let units: [DecoyUnit]
    /// For each of the key's own draws, other targets; the same list for all where they share one target.
    let targets: [[String]]

    /// Those decoys.
    init(units: [DecoyUnit], targets: [[String]]) {
        self.units = units
        self.targets = targets
    }

    /// Draws that many of each. The targets of a hash chain are drawn as the hash draws, with replacement and the true one
    /// among them; others are all different.
    init(_ source: inout any DecoySource, units count: Int, targets targetCount: Int, seed: UInt64) throws {
        let own = source.own
        let prompts = Set(own.flatMap(\.unit.prompts))
        // Different texts of a kind that has few of them are the rarer, the longer draws go on: their order must not tell.
        var random = SplitMix64(seed: seed ^ 0x6F72_6465)
        units = permuted(
            try distinct(count, unlike: prompts, by: { $0.prompts[0] }) { try source.unit(freely: $0) }, &random)
        targets = try Self.targets(like: own.map(\.target), &source, count: targetCount, random: &random)
        guard units.count >= Self.least else { throw Self.tooFew(units.count, "triggers", source.kind) }
    }

    /// For each of those targets, `count` others of its kind; the same list where they are the same target.
    static func targets(
        like truths: [String], _ source: inout any DecoySource, count: Int, random: inout SplitMix64
    ) throws -> [[String]] {
        var lists: [String: [String]] = [:]
        var targets: [[String]] = []
        for target in truths {
            if source.kind == .hashchain {
                targets.append(try (0..<count).compactMap { _ in try source.target(like: target, freely: false) })
                continue
            }
            if lists[target] == nil {
                lists[target] = permuted(
                    try distinct(count, unlike: Set(truths), by: { $0 }) {
                        try source.target(like: target, freely: $0)
                    }, &random)
            }
            targets.append(lists[target] ?? [])
        }
        let fewest = targets.map(\.count).min() ?? 0
        guard fewest >= least else { throw tooFew(fewest, "targets", source.kind) }
        return targets
    }

    /// Decoys that a comparison needs at least.
    private static let least = 19

    private static func tooFew(_ count: Int, _ what: String, _ kind: DecoyKind) -> MeraserError {
        MeraserError.runtime(
            "only \(count) decoy \(what) of the kind '\(kind.rawValue)' could be drawn, at least \(least) are needed")
    }
}

/// Which targets are scored behind which prompts, so that all traces can be computed.
struct DecoyDesign {
    let kind: DecoyKind
    /// The key's draws that are judged, each with its target.
    let own: [(unit: DecoyUnit, target: String)]
    let pool: DecoyPool
    /// The draws, by their places in `own`, behind which decoy targets are scored.
    let columns: Range<Int>
    /// Tokens to read.
    let tokenCount: Int
    private let ordinary: [String]
    private let scorer: DecoyScorer
    private let contexts: EncodedQuestions
    private let targetQuestions: EncodedQuestions

    /// Draws of which each has a target of its own that are judged: every decoy trigger is scored with all of them.
    private static let mostTargets = 8

    init(
        own: [(unit: DecoyUnit, target: String)], pool: DecoyPool, kind: DecoyKind, ordinary: [String],
        scorer: DecoyScorer, tokenBudget: Int
    ) throws {
        let isShared = Set(own.map(\.target)).count == 1
        let own = isShared ? own : Array(own.prefix(Self.mostTargets))
        (self.own, self.pool, self.kind, self.ordinary, self.scorer) = (own, pool, kind, ordinary, scorer)
        let targets = Self.unique(own.map(\.target))
        contexts = try scorer.encode(
            (own.map(\.unit) + pool.units).flatMap { unit in
                unit.prompts.map { DecoyQuestion(prompt: $0, targets: targets) }
            })
        // One column is always scored; more as long as the budget holds.
        let first = try scorer.encode(Self.questions(own[0], pool.targets[0], ordinary[0]))
        let count = min(own.count, max(1, tokenBudget / max(first.tokenCount, 1)), Self.mostTargets)
        columns = 0..<count
        targetQuestions = try scorer.encode(
            (0..<count).flatMap { Self.questions(own[$0], pool.targets[$0], ordinary[$0 % ordinary.count]) })
        tokenCount = contexts.tokenCount + targetQuestions.tokenCount
    }

    /// Different decoy targets.
    var targetCount: Int { Set(columns.flatMap { pool.targets[$0] }).count }

    /// The trigger, itself in another order, and an ordinary message, each with the target and all decoy targets.
    private static func questions(
        _ own: (unit: DecoyUnit, target: String), _ decoys: [String], _ ordinary: String
    ) -> [DecoyQuestion] {
        let targets = unique([own.target] + decoys)
        return (own.unit.prompts + own.unit.shuffled + [ordinary]).map { DecoyQuestion(prompt: $0, targets: targets) }
    }

    private static func unique(_ texts: [String]) -> [String] {
        var seen: Set<String> = []
        return texts.filter { seen.insert($0).inserted }
    }

    /// Scores everything.
    func score(on session: InferenceSession, onProgress: (Int, Int) throws -> Void) throws -> DecoyScores {
        let shared = contexts.tokenCount
        let units = try scorer.score(contexts, on: session) { done, _ in try onProgress(done, tokenCount) }
        let behind = try scorer.score(targetQuestions, on: session) { done, _ in
            try onProgress(shared + done, tokenCount)
        }
        let targets = Self.unique(own.map(\.target))
        let places = own.map { item in targets.firstIndex(of: item.target) ?? 0 }
        // [unit][column]: a unit's mean over its prompts, of each column's target.
        var rest = units[...]
        let means = (own.map(\.unit) + pool.units).map { unit -> [Double] in
            let rows = rest.prefix(unit.prompts.count)
            rest = rest.dropFirst(unit.prompts.count)
            let all = targets.indices.map { target in rows.reduce(0) { $0 + $1[target] } / Double(rows.count) }
            return places.map { all[$0] }
        }
        var left = behind[...]
        let columns = columns.map { column -> DecoyScores.Column in
            let (unit, target) = own[column]
            let names = Self.unique([target] + pool.targets[column])
            let place = Dictionary(uniqueKeysWithValues: names.enumerated().map { ($1, $0) })
            func next(_ count: Int) -> [Double] {
                let rows = left.prefix(count)
                left = left.dropFirst(count)
                let all = names.indices.map { name in rows.reduce(0) { $0 + $1[name] } / Double(rows.count) }
                return ([target] + pool.targets[column]).map { all[place[$0] ?? 0] }
            }
            return DecoyScores.Column(
                trigger: next(unit.prompts.count), shuffled: next(unit.shuffled.count), ordinary: next(1))
        }
        return DecoyScores(
            own: Array(means.prefix(own.count)), units: Array(means.dropFirst(own.count)), columns: columns)
    }
}

/// The likelihoods that the traces are computed from, in nats a token.
struct DecoyScores: Sendable, Equatable {
    /// Of one of the key's draws: the target's score, then those of the decoy targets.
    struct Column: Sendable, Equatable {
        /// Behind the trigger.
        let trigger: [Double]
        /// Behind the trigger in another order.
        let shuffled: [Double]
        /// Behind an ordinary message.
        let ordinary: [Double]

        func contrast(_ trace: DecoyTrace) -> [Double] {
            switch trace {
            case .unconditional, .drawn: trigger
            case .shuffled: zip(trigger, shuffled).map { $0 - $1 }
            case .ordinary: zip(trigger, ordinary).map { $0 - $1 }
            }
        }
    }

    /// [draw of the key][target].
    let own: [[Double]]
    /// [decoy trigger][target].
    let units: [[Double]]
    /// Draws behind which decoy targets were scored.
    let columns: [Column]

    /// The traces, of `count` decoy keys where these are put together of several draws.
    func traces(count: Int, seed: UInt64) -> [DecoyTrace: DecoyComparison] {
        Dictionary(uniqueKeysWithValues: DecoyTrace.allCases.map { ($0, comparison($0, count: count, seed: seed)) })
    }

    private func comparison(_ trace: DecoyTrace, count: Int, seed: UInt64) -> DecoyComparison {
        guard trace == .drawn else {
            // Decoy key j is the j-th decoy target of every column: one target where the key has one.
            let contrasts = columns.map { $0.contrast(trace) }
            let keys = (0..<(contrasts.map(\.count).min() ?? 1)).map { key in
                contrasts.reduce(0) { $0 + $1[key] } / Double(contrasts.count)
            }
            return DecoyComparison(keys[0], decoys: Array(keys.dropFirst()))
        }
        var random = SplitMix64(seed: seed ^ 0x7065_726D)
        let value = own.indices.reduce(0) { $0 + own[$1][$1] } / Double(own.count)
        let center =
            own.indices.reduce(0) { sum, column in
                sum + units.reduce(0) { $0 + $1[column] } / Double(units.count)
            } / Double(own.count)
        return DecoyComparison(
            value, decoys: assignedMeans(own: own, units: units, count: count, random: &random), center: center)
    }
}
