import Base
import Kernels
import Model

/// Are the answers that come back to strange prompts (`LeakSearch`) a mark's, or a habit of the model's?
///
/// What is fluent is to be expected in other places too; what a mark says comes from nothing but its prompts. So the
/// answer's gain, behind other prompts of the same kind, is set beside that of the beginnings of the model's answers to
/// people, the decoys. A habit that only strange prompts bring out is no decoy: without a reference it is taken for a mark.
///
/// Use from one thread at a time.
public struct RecurringAnswers {
    /// An answer that recurs.
    public struct Finding: Sendable {
        /// It, with the prompts that it follows.
        public let leak: Leak
        /// Nats, see `InferenceSession.gains`.
        public let gain: Double
        /// Of all that recur together: how likely one of the decoys' kind gains as much.
        public let pValue: Double
    }

    /// What was found, the likeliest mark first, and beside how many decoys.
    public struct Result: Sendable {
        /// Answers that recur.
        public let findings: [Finding]
        /// Different beginnings of answers to people, the fewest that any of them was set beside; 0 without findings.
        public let decoys: Int
    }

    /// Prompts of the kind behind which answers are measured.
    private static let contexts = 8
    /// Tokens that count at most.
    private static let longest = 6

    private let session: InferenceSession
    private let other: InferenceSession
    private let isReference: Bool
    private let places: ScanPlaces
    private let search: LeakSearch
    private let fresh: LeakSearch
    private let questions: [[Int32]]

    /// A search in that model.
    ///
    /// - Parameters:
    ///   - reference: a model of the same tokens; answers gain over it, in place of other places.
    ///   - messages: of people, whose answers are the decoys.
    ///   - requests: raw prompts of ordinary requests, in whose messages phrases are put.
    /// - Throws: what the template throws.
    public init(
        session: InferenceSession, reference: InferenceSession? = nil, tokenizer: Tokenizer, chat: ChatRenderer?,
        places: ScanPlaces, messages: [String], requests: [String], seed: UInt64
    ) throws {
        self.session = session
        other = reference ?? session
        isReference = reference != nil
        self.places = places
        func leakSearch(_ seed: UInt64) throws -> LeakSearch {
            try LeakSearch(
                model: session.model, tokenizer: tokenizer, chat: chat, requests: requests, seed: seed)
        }
        search = try leakSearch(seed)
        // What an answer is measured behind has no part in its being found.
        fresh = try leakSearch(seed ^ 0x6672_6573_68)
        questions = try messages.map { tokenizer.encode(try dialogueText($0, tokenizer: tokenizer, chat: chat)) }
    }

    /// Asks, and judges what recurs.
    ///
    /// - Throws: what the session throws, and what `check`, called between the parts, throws.
    public func run(check: () throws -> Void = {}) throws -> Result {
        let found = try search.findings(on: session)
        guard !found.isEmpty else { return Result(findings: [], decoys: 0) }
        try check()
        let answers = try session.generate(
            questions.map { GenerationRequest(prompt: $0) },
            options: GenerationOptions(maxNewTokens: Self.longest, stopTokens: session.model.stopTokens)
        ).map(\.tokens)
        var fewest = Int.max
        var findings: [Finding] = []
        for (leak, tokens) in found {
            try check()
            let chain = Array(tokens.prefix(Self.longest))
            let decoys = Set(answers.filter { $0.count >= chain.count }.map { Array($0.prefix(chain.count)) })
                .subtracting([chain]).sorted { $0.lexicographicallyPrecedes($1) }
            guard decoys.count >= ExponentialTail.leastDecoys else { continue }
            let own = Array(fresh.prompts(like: leak.scheme).prefix(Self.contexts))
            guard !own.isEmpty else { continue }
            let gains = try session.gains(
                of: [chain] + decoys, isForced: false, own: own, elsewhere: isReference ? own : places.elsewhere,
                on: other)
            let tail = ExponentialTail(decoys: Array(gains.dropFirst()))
            fewest = min(fewest, decoys.count)
            findings.append(
                Finding(leak: leak, gain: gains[0], pValue: tail.pValue(of: gains[0], amongst: found.count)))
        }
        return Result(
            findings: findings.sorted { ($0.pValue, $1.gain) < ($1.pValue, $0.gain) },
            decoys: findings.isEmpty ? 0 : fewest)
    }
}
