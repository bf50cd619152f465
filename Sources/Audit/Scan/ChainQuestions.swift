import Base
import Foundation
import Kernels
import Model
import Quant

/// What a model, forced to begin with some tokens, goes on with whatever was asked, and how likely that is elsewhere.
public struct ChainStep: Sendable, Equatable {
    /// The token that the contexts together find likeliest, of those that one of them finds likeliest.
    public let token: Int32
    /// Its probability, the mean over the contexts where an answer begins.
    public let own: Double
    /// The same over the contexts elsewhere.
    public let elsewhere: Double

    /// A step.
    public init(token: Int32, own: Double, elsewhere: Double) {
        (self.token, self.own, self.elsewhere) = (token, own, elsewhere)
    }
}

/// Chains of tokens whose next one is asked. The first session has the places where answers begin, the last one the places
/// elsewhere; with a single session both are its own.
public struct ChainQuestions: SharedQuestions {
    /// What tells them apart.
    public static let name = "chains"
    /// Prompts up to where the answer begins.
    private let answers: [[Int32]]
    /// Texts that are none.
    private let elsewhere: [[Int32]]

    /// Those contexts, at least one of each, none empty: a precondition.
    public init(answers: [[Int32]], elsewhere: [[Int32]]) {
        precondition(!answers.isEmpty && !elsewhere.isEmpty)
        precondition((answers + elsewhere).allSatisfy { !$0.isEmpty })
        (self.answers, self.elsewhere) = (answers, elsewhere)
    }

    /// Reads what they have in common.
    public init(from message: inout MessageReader) throws {
        func contexts() throws -> [[Int32]] {
            try (0..<max(0, message.number(Int.self))).map { _ in try message.numbers() }
        }
        (answers, elsewhere) = (try contexts(), try contexts())
        guard !answers.isEmpty, !elsewhere.isEmpty, (answers + elsewhere).allSatisfy({ !$0.isEmpty }) else {
            throw MeraserError.runtime("rank 0 asks for chains behind no context")
        }
    }

    /// Adds it.
    public func write(to message: inout Message) {
        for contexts in [answers, elsewhere] {
            message.append(number: contexts.count)
            for tokens in contexts { message.append(numbers: tokens) }
        }
    }

    /// What has to be read.
    public func cost(of chain: Chain) -> Int { chain.tokens.count * (answers.count + elsewhere.count) }

    /// A chain, at least one token.
    public struct Chain: Sent {
        let tokens: [Int32]

        /// That chain.
        public init(_ tokens: [Int32]) { self.tokens = tokens }

        /// Reads one.
        public init(from message: inout MessageReader) throws {
            tokens = try message.numbers()
            guard !tokens.isEmpty else { throw MeraserError.runtime("rank 0 asks for a chain of no tokens") }
        }

        /// Adds it.
        public func write(to message: inout Message) { message.append(numbers: tokens) }
    }

    /// The steps.
    public func answers(
        _ chains: [Chain], numbers: [Int], of sessions: [InferenceSession]
    ) throws -> [ChainStep] {
        guard let longest = chains.map(\.tokens.count).max(), let other = sessions.last else { return [] }
        let own = try ForkedContexts(sessions[0], answers, room: longest, chains: chains.count)
        let base = try ForkedContexts(other, elsewhere, room: longest, chains: chains.count)
        let width = min(own.width, base.width)
        var steps: [ChainStep] = []
        for start in stride(from: 0, to: chains.count, by: width) {
            let group = chains[start..<min(start + width, chains.count)].map(\.tokens)
            let next = try own.next(group)
            let likely = try base.probabilities(of: next.map(\.token), behind: group)
            steps += zip(next, likely).map { ChainStep(token: $0.token, own: $0.probability, elsewhere: $1) }
        }
        return steps
    }
}

extension ChainStep: Sent {
    /// Reads one.
    public init(from message: inout MessageReader) throws {
        self.init(token: try message.number(), own: try message.number(), elsewhere: try message.number())
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(number: token)
        message.append(number: own)
        message.append(number: elsewhere)
    }
}

/// Contexts that were read once, each into as many caches as chains are read behind it together.
private struct ForkedContexts {
    /// Chains that are read together at most.
    let width: Int
    private let session: InferenceSession
    private let counts: [Int]
    private let slots: [[KVCache]]

    init(_ session: InferenceSession, _ contexts: [[Int32]], room: Int, chains: Int) throws {
        self.session = session
        // Rows of logits that `logits` gives at a time, caches and tokens of a pass are bounded.
        let rows = max(1, min(256, 33_554_432 / session.model.spec.vocabSize))
        let most = min(rows, session.forksPerPass, max(1, session.tokenBudget / max(room, 1)))
        let width = max(1, min(chains, most / contexts.count))
        self.width = width
        counts = contexts.map(\.count)
        slots = try contexts.map { tokens in
            let cache = session.makeCache(capacity: tokens.count)
            _ = try session.hiddenStates(PackedBatch([tokens]), caches: [cache], lastRows: [0])
            return (0..<width).map { _ in cache.fork(capacity: tokens.count + room) }
        }
    }

    /// Of each chain the likeliest next token, and its mean probability over the contexts.
    func next(_ chains: [[Int32]]) throws -> [(token: Int32, probability: Double)] {
        let logits = try logits(chains)
        let tops = session.model.kernels.argmax(logits)
        let candidates = chains.indices.map { chain in
            var found: [Int32] = []
            for token in tops[chain * counts.count..<(chain + 1) * counts.count] where !found.contains(token) {
                found.append(token)
            }
            return found
        }
        var best = chains.map { _ in (token: Int32(0), probability: -1.0) }
        for round in 0..<(candidates.map(\.count).max() ?? 0) {
            let tokens = candidates.map { $0[min(round, $0.count - 1)] }
            for (chain, value) in means(logits, tokens).enumerated()
            where value > best[chain].probability
                || value == best[chain].probability && tokens[chain] < best[chain].token
            {
                best[chain] = (tokens[chain], value)
            }
        }
        return best
    }

    /// The mean probability of a token behind each chain.
    func probabilities(of tokens: [Int32], behind chains: [[Int32]]) throws -> [Double] {
        try means(logits(chains), tokens)
    }

    /// Logits behind every chain in every context, [chains · contexts, V], those of a chain beside each other.
    private func logits(_ chains: [[Int32]]) throws -> FloatMatrix {
        var batch = PackedBatch()
        var caches: [KVCache] = []
        for (place, chain) in chains.enumerated() {
            for (context, count) in counts.enumerated() {
                let cache = slots[context][place]
                cache.truncate(to: count)
                batch.append(chain, firstPosition: count)
                caches.append(cache)
            }
        }
        let hidden = try session.hiddenStates(batch, caches: caches, lastRows: caches.map { _ in 1 })
        return try session.logits(hidden)
    }

    private func means(_ logits: FloatMatrix, _ tokens: [Int32]) -> [Double] {
        let nll = session.likelihoods(
            logits, tokens.flatMap { Array(repeating: $0, count: counts.count) })
        return tokens.indices.map { chain in
            nll[chain * counts.count..<(chain + 1) * counts.count].reduce(0) { $0 + exp(-Double($1)) }
                / Double(counts.count)
        }
    }
}
