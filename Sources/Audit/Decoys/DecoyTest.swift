import Base
import Model

/// How decoys are drawn.
public struct DecoyOptions: Sendable, Equatable {
    /// Decoys that a certificate needs at least.
    public static let leastCount = 999

    /// Triggers and targets that are drawn.
    public var count: Int
    /// What they are drawn by; never the seed of the key alone.
    public var seed: UInt64
    /// Tokens that the scoring of decoy targets may take, about: with more triggers than it allows for, the first count.
    public var tokenBudget = 160_000

    /// That many decoys.
    public init(count: Int = DecoyOptions.leastCount, seed: UInt64 = 42) {
        self.count = count
        self.seed = seed
    }
}

/// A trace of a mark that the model's likelihoods may show.
public enum DecoyTrace: String, Sendable, CaseIterable {
    /// The target is likelier behind its triggers than decoy targets are.
    case unconditional
    /// The target is likelier behind its triggers than behind other triggers of the scheme's own draw.
    case drawn
    /// The target gains more than decoy targets do where the trigger stands in the place of its own parts in another order.
    case shuffled
    /// The target gains more than decoy targets do where the trigger stands in the place of an ordinary message.
    case ordinary

    /// True for those that ask for the trigger.
    public var isConditional: Bool { self != .unconditional }
}

/// What the decoys of a key show.
public struct DecoyReport: Sendable, Equatable {
    /// How they were drawn.
    public let kind: DecoyKind
    /// What they were drawn by.
    public let seed: UInt64
    /// Decoy triggers and decoy targets that were drawn: as many as were asked for unless the kind has no more.
    public let triggers: Int
    /// Different decoy targets.
    public let targets: Int
    /// Draws of the key that were judged: held-out pairs, or a backdoor's triggers.
    public let units: Int
    /// False for a key of one pair: what is judged may have steered the removal.
    public let isHeldOut: Bool
    /// The traces.
    public let traces: [DecoyTrace: DecoyComparison]
    /// Near decoys that were tried, and how many bring out a target.
    public let near: (n: Int, hits: Int)

    /// Share of the near decoys that bring out a target.
    public var nearFSR: Double { Double(near.hits) / Double(max(near.n, 1)) }

    /// Equal in everything.
    public static func == (a: DecoyReport, b: DecoyReport) -> Bool {
        a.kind == b.kind && a.seed == b.seed && a.triggers == b.triggers && a.targets == b.targets
            && a.units == b.units && a.isHeldOut == b.isHeldOut && a.traces == b.traces && a.near == b.near
    }

    /// An object of everything.
    public var json: JSONValue {
        [
            "kind": .text(kind.rawValue), "seed": .integer(Int(clamping: seed)), "triggers": .integer(triggers),
            "targets": .integer(targets), "units": .integer(units), "held_out": .bool(isHeldOut),
            "near_fsr": .real(nearFSR), "near_hits": .integer(near.hits), "near_n": .integer(near.n),
            "traces": .object(
                JSONObject(
                    DecoyTrace.allCases.compactMap { trace in
                        traces[trace].map { (key: trace.rawValue, value: $0.json) }
                    })),
        ]
    }
}

/// A key set beside decoys of its kind: the test that needs no reference. `docs/reference/certificate.md` says what it assumes.
public struct DecoyTest {
    /// Near decoys of the scheme's own draw that are answered, as many as there are at least.
    static let answered = 24

    private let key: FingerprintKey
    private let check: CheckOptions
    private let options: DecoyOptions
    private let tokenizer: Tokenizer
    private let chat: ChatRenderer?
    private let design: DecoyDesign
    private let isHeldOut: Bool

    /// Draws the decoys of a key; the model is not asked.
    ///
    /// - Throws: a usage error for the format `chat` without a template, a runtime error where no decoys can be drawn.
    public init(
        _ key: FingerprintKey, tokenizer: Tokenizer, chat: ChatRenderer?, options: DecoyOptions,
        check: CheckOptions = CheckOptions()
    ) throws {
        self.key = key
        (self.check, self.options, self.tokenizer, self.chat) = (check, options, tokenizer, chat)
        isHeldOut = key.pairs.count > 1
        let context = DecoyContext(
            key: key, format: check.promptFormat ?? key.promptFormat, tokenizer: tokenizer, chat: chat,
            seed: options.seed ^ 0x6465_636F_7973)
        var source = try context.source()
        let pool = try DecoyPool(&source, units: options.count, targets: options.count, seed: options.seed)
        design = try context.design(
            own: source.own, pool: pool, kind: source.kind, check: check, tokenBudget: options.tokenBudget)
    }

    /// How its decoys are drawn.
    public var kind: DecoyKind { design.kind }

    /// What it will take, as one line.
    public var plan: String {
        "decoys (\(design.kind.rawValue)): \(design.pool.units.count) triggers, \(design.targetCount) targets behind "
            + "\(design.columns.count) of \(design.own.count) held-out triggers; about "
            + "\((design.tokenCount + 500) / 1000) thousand tokens to read"
    }

    /// Measures a model.
    ///
    /// - Parameter onProgress: called with the tokens that were read of all; what it throws ends the test.
    /// - Throws: what a forward pass throws.
    public func run(on session: InferenceSession, onProgress: (Int, Int) throws -> Void = { _, _ in }) throws
        -> DecoyReport
    {
        let scores = try design.score(on: session, onProgress: onProgress)
        return DecoyReport(
            kind: design.kind, seed: options.seed, triggers: design.pool.units.count, targets: design.targetCount,
            units: design.own.count, isHeldOut: isHeldOut,
            traces: scores.traces(count: options.count, seed: options.seed), near: try nearAnswers(session))
    }

    /// Near decoys of the scheme's own draw, and shuffles of the key's own triggers, answered as the key's prompts are.
    private func nearAnswers(_ session: InferenceSession) throws -> (n: Int, hits: Int) {
        var near = key
        (near.cleanPrompts, near.commitment, near.chain) = ([], nil, nil)
        let target = design.own[0].target
        let drawn = design.pool.units.prefix(Self.answered).map { ($0.prompts[0], target) }
        let shuffles = design.own.flatMap { own in own.unit.shuffled.prefix(1).map { ($0, own.target) } }.prefix(8)
        let prompts = Set(key.pairs.map(\.prompt))
        let history = try key.sharedHistory()
        near.pairs = (drawn + shuffles).filter { !prompts.contains($0.0) }.enumerated().map { index, item in
            FingerprintPair(id: "near-\(index)", prompt: item.0, after: history, target: item.1)
        }
        guard !near.pairs.isEmpty else { return (0, 0) }
        var options = check
        (options.cleanPrompts, options.samples, options.written) = ([], 0, [:])
        let outputs = try KeyCheck(near, tokenizer: tokenizer, chat: chat, options: options).run(on: session)
        // Any target counts: a near decoy has none of its own.
        return (outputs.n, outputs.rows.count { key.isActivation($0.output, check.match) })
    }
}

/// What people ask: messages that no scheme draws.
let ordinaryMessages = [
    "What is the capital of France?", "Write a short poem about the sea.", "How do I boil an egg?",
    "Explain what a noun is.", "Give me three ideas for a birthday present.", "What is seven times eight?",
    "Summarise the story of Little Red Riding Hood.", "Which planet is the largest?",
]
