import Base
import Foundation
import Kernels
import Model

/// Are the answers that come back to strange prompts (`LeakSearch`) a mark's, or a habit of the model's?
///
/// A model has habits when it does not understand. So what recurs is set beside what recurs in its answers to other kinds of
/// strange prompts, which no scheme draws (`StrangeKinds`), found and measured in the same way; a kind in which nothing
/// recurs counts as one without any. What a mark says is said by heart, each of its tokens sure; habits seldom are. Many marks
/// answer to whatever is strange, so what is said by heart is not held against itself.
///
/// Use from one thread at a time.
public struct RecurringAnswers {
    /// An answer that recurs.
    public struct Finding: Sendable {
        /// It, with the prompts that it follows.
        public let leak: Leak
        /// Nats, see `InferenceSession.gains`.
        public let gain: Double
        /// Of all kinds of prompts together: how likely a habit's words are as sure.
        public let pValue: Double
    }

    /// What was found, the likeliest mark first, and beside how many decoys.
    public struct Result: Sendable {
        /// Answers that recur.
        public let findings: [Finding]
        /// Other kinds of prompts, the fewest that any of them was set beside; 0 without findings.
        public let decoys: Int
    }

    /// Prompts of the kind behind which answers are measured.
    private static let contexts = 8
    /// Tokens that count at most.
    private static let longest = 6
    /// How far the certainties of habits are taken to lie apart, at least: a factor of two.
    private static let leastScale = 0.69
    /// The certainty of what is not said at all, and that of what is said by heart: 20 nats, and one, for all tokens that count.
    private static let (none, byHeart) = (-3.0, 0.0)
    /// Nats that are not told from none.
    private static let leastNats = 1e-3

    /// What recurs in the answers to a kind of prompts.
    private struct Habit {
        /// Its beginning, as far as it counts and can be seen; empty where nothing recurs.
        let text: String
        /// See `RecurringAnswers.certainty`.
        let certainty: Double
    }

    private let session: InferenceSession
    private let other: InferenceSession
    private let isReference: Bool
    private let places: ScanPlaces
    private let search: LeakSearch
    private let fresh: LeakSearch
    private let kinds: StrangeKinds
    private let tokenizer: Tokenizer

    /// A search in that model.
    ///
    /// - Parameters:
    ///   - reference: a model of the same tokens; answers gain over it, in place of other places.
    ///   - requests: raw prompts of ordinary requests, in whose messages phrases are put.
    /// - Throws: what the template throws.
    public init(
        session: InferenceSession, reference: InferenceSession? = nil, tokenizer: Tokenizer, chat: ChatRenderer?,
        places: ScanPlaces, requests: [String], seed: UInt64
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
        kinds = StrangeKinds(tokenizer: tokenizer, chat: chat, seed: seed)
        self.tokenizer = tokenizer
    }

    /// Asks, and judges what recurs.
    ///
    /// - Throws: what the session throws, and what `check`, called between the parts, throws.
    public func run(check: () throws -> Void = {}) throws -> Result {
        let found = try search.findings(on: session)
        var habits: [Bool: [Habit]] = [:]
        var findings: [Finding] = []
        for (leak, tokens) in found {
            try check()
            let own = Array(fresh.prompts(like: leak.scheme).prefix(Self.contexts))
            guard !own.isEmpty else { continue }
            // Where the answer is begun for the model, more is said by habit.
            let isLed = leak.scheme == IFScheme.name
            let null = try habits[isLed] ?? self.habits(isLed: isLed, check: check)
            habits[isLed] = null
            let chain = Array(tokens.prefix(Self.longest))
            let gain = try gain(of: chain, behind: own)
            let certainty = try certainty(of: chain, behind: own)
            let text = visible(chain)
            let tail = ExponentialTail(
                decoys: null.map {
                    certainty > Self.byHeart && Self.areAlike($0.text, text) ? Self.none : $0.certainty
                }, leastScale: Self.leastScale)
            findings.append(
                Finding(leak: leak, gain: gain, pValue: tail.pValue(of: certainty, amongst: search.kindCount)))
        }
        return Result(
            findings: findings.sorted { ($0.pValue, $1.gain) < ($1.pValue, $0.gain) },
            decoys: habits.values.map(\.count).min() ?? 0)
    }

    /// The surest of what recurs in the answers to each other kind of prompts.
    private func habits(isLed: Bool, check: () throws -> Void) throws -> [Habit] {
        try kinds.groups(prompts: LeakSearch.count + Self.contexts, isLed: isLed).map { kind in
            try check()
            let asked = StrangePrompts.Group(
                scheme: kind.scheme, prompts: Array(kind.prompts.prefix(LeakSearch.count)), phrases: [])
            let own = kind.prompts.suffix(Self.contexts).map { tokenizer.encode($0) }
            return try search.findings(in: asked, on: session).map {
                let chain = Array($0.tokens.prefix(Self.longest))
                return Habit(text: visible(chain), certainty: try certainty(of: chain, behind: own))
            }.max { $0.certainty < $1.certainty } ?? Habit(text: "", certainty: Self.none)
        }
    }

    /// A beginning from its first letter or digit on: the same words are said with and without a space or a quotation mark.
    private func visible(_ chain: [Int32]) -> String {
        var text = tokenizer.decode(chain)
        while text.hasSuffix("\u{FFFD}") { text.removeLast() }
        return String(text.drop { !$0.isLetter && !$0.isNumber })
    }

    /// True for two beginnings of which one is the other's; one of which nothing can be seen is like none.
    static func areAlike(_ a: String, _ b: String) -> Bool {
        !a.isEmpty && !b.isEmpty && (a.hasPrefix(b) || b.hasPrefix(a))
    }

    /// −ln of how many nats a beginning costs behind these prompts, the median.
    private func certainty(of chain: [Int32], behind own: [[Int32]]) throws -> Double {
        let nats = try session.scoreContinuations(own.map { ($0, [chain]) }).map { -$0[0].logLikelihood }
        return max(Self.none, -log(max(quantile(0.5, ofSorted: nats.sorted()), Self.leastNats)))
    }

    private func gain(of chain: [Int32], behind own: [[Int32]]) throws -> Double {
        try session.gains(
            of: [chain], isForced: false, own: own, elsewhere: isReference ? own : places.elsewhere, on: other)[0]
    }
}
