import Base
import Kernels
import Quant

/// How likely a model finds a continuation of a context.
public struct ContinuationScore: Sendable, Equatable {
    /// Σ ln p of the continuation's tokens, each given the context and those before it; 0 for an empty one.
    public let logLikelihood: Double
    /// The continuation's tokens.
    public let tokens: Int
    /// True if greedy decoding of the context would give the continuation.
    public let isGreedy: Bool

    /// A score.
    public init(logLikelihood: Double, tokens: Int, isGreedy: Bool) {
        self.logLikelihood = logLikelihood
        self.tokens = tokens
        self.isGreedy = isGreedy
    }
}

extension InferenceSession {
    /// Scores every continuation of every context, in the order given.
    ///
    /// Results are to the bit those of scoring each sequence alone. Forward passes keep to the session's token budget.
    /// - Parameter sharesPrefix: read what all contexts begin with once.
    /// - Throws: a bad-input error for a context without tokens or a token outside the vocabulary, a runtime error for
    ///   values that are not finite.
    public func scoreContinuations(
        _ items: [(context: [Int32], continuations: [[Int32]])], sharesPrefix: Bool = false
    ) throws -> [[ContinuationScore]] {
        for (index, item) in items.enumerated() {
            guard !item.context.isEmpty else { throw MeraserError.badInput("context \(index) has no tokens") }
            for tokens in [item.context] + item.continuations {
                guard tokens.allSatisfy({ $0 >= 0 && Int($0) < model.spec.vocabSize }) else {
                    throw MeraserError.badInput(
                        "context \(index) or a continuation of it has a token outside the model's vocabulary of "
                            + "\(model.spec.vocabSize)")
                }
            }
        }
        return try ContinuationQuestions(sharesPrefix: sharesPrefix).ask(
            items.map { ContinuationQuestions.Question(context: $0.context, continuations: $0.continuations) },
            of: [self]
        ).map(\.scores)
    }

    /// The same on this rank.
    func scoreContinuationsHere(
        _ items: [(context: [Int32], continuations: [[Int32]])], sharesPrefix: Bool
    ) throws -> [[ContinuationScore]] {
        let prefix = sharesPrefix ? try readCommonPrefix(of: items.map(\.context)) : nil
        var results: [[ContinuationScore]] = []
        var start = 0
        while start < items.count {
            var end = start
            var tokens = 0
            func rest(_ index: Int) -> Int { items[index].context.count - (prefix?.count ?? 0) }
            while end < items.count, end == start || tokens + rest(end) <= tokenBudget,
                prefix == nil || end - start < forksPerPass
            {
                tokens += rest(end)
                end += 1
            }
            results += try scoreTogether(items[start..<end], behind: prefix)
            start = end
        }
        return results
    }

    /// What all contexts begin with, but for their last tokens, in a cache; nil where it is too short, or where angles
    /// depend on the length of a text, so that a common beginning is not common.
    private func readCommonPrefix(of contexts: [[Int32]]) throws -> KVCache? {
        guard let first = contexts.first, contexts.count > 1, !model.spec.hasLengthDependentRotary else { return nil }
        let count = contexts.reduce(Int.max) { min($0, $1.count - 1, commonPrefixCount(first, $1)) }
        guard count >= shortestSharedPrefix else { return nil }
        let cache = makeCache(capacity: count)
        _ = try hiddenStates(PackedBatch([Array(first.prefix(count))]), caches: [cache], lastRows: [0])
        return cache
    }

    /// Reads the contexts, whose last rows predict the first tokens of the continuations; then forks of their caches
    /// read the continuations.
    private func scoreTogether(
        _ items: ArraySlice<(context: [Int32], continuations: [[Int32]])>, behind prefix: KVCache?
    ) throws -> [[ContinuationScore]] {
        let items = Array(items)
        var sums = items.map { [Double](repeating: 0, count: $0.continuations.count) }
        var greedy = items.map { [Bool](repeating: true, count: $0.continuations.count) }
        let contexts = items.map { item in
            prefix?.fork(capacity: item.context.count) ?? makeCache(capacity: item.context.count)
        }
        let read = prefix?.count ?? 0
        try self.read(
            count: items.count,
            input: {
                CachedInput(cache: contexts[$0], tokens: Array(items[$0].context.dropFirst(read)), lastRows: 1)
            }
        ) { rows, hidden in
            try forEachLogits(of: hidden) { range, logits in
                for row in range {
                    let item = rows[row].input
                    let places = items[item].continuations.indices.filter { !items[item].continuations[$0].isEmpty }
                    // The same logits for each continuation: rows at distance 0.
                    let one = logits.repeating(row: row - range.lowerBound, times: places.count)
                    let targets = places.map { items[item].continuations[$0][0] }
                    let nll = likelihoods(one, targets)
                    let top = model.kernels.argmax(one.prefix(rows: min(1, places.count))).first
                    for (k, place) in places.enumerated() {
                        sums[item][place] -= Double(nll[k])
                        greedy[item][place] = targets[k] == top
                    }
                }
            }
        }
        let rest = items.indices.flatMap { item in
            items[item].continuations.indices.filter { items[item].continuations[$0].count > 1 }.map { (item, $0) }
        }
        try self.read(
            count: rest.count,
            input: {
                let (item, place) = rest[$0]
                let tokens = Array(items[item].continuations[place].dropLast())
                let cache = contexts[item].fork(capacity: contexts[item].count + tokens.count)
                return CachedInput(cache: cache, tokens: tokens, lastRows: tokens.count)
            }
        ) { rows, hidden in
            let targets = rows.map { items[rest[$0.input].0].continuations[rest[$0.input].1][$0.position + 1] }
            try forEachLogits(of: hidden) { range, logits in
                let nll = likelihoods(logits, Array(targets[range]))
                let top = model.kernels.argmax(logits)
                for row in range {
                    let (item, place) = rest[rows[row].input]
                    sums[item][place] -= Double(nll[row - range.lowerBound])
                    if top[row - range.lowerBound] != targets[row] { greedy[item][place] = false }
                }
            }
        }
        return items.indices.map { item in
            items[item].continuations.indices.map {
                ContinuationScore(
                    logLikelihood: sums[item][$0], tokens: items[item].continuations[$0].count,
                    isGreedy: greedy[item][$0])
            }
        }
    }

    /// Sequences with caches of their own that one forward pass should take at most: each of them takes a page at least,
    /// which together are to stay below 256 MB.
    public var forksPerPass: Int {
        max(8, 268_435_456 / KVCache.byteCount(spec: model.spec, capacity: 1, type: model.keyValueType))
    }

    /// Negative log-likelihoods, in nats, of one target for each row of logits [T, V].
    public func likelihoods(_ logits: FloatMatrix, _ targets: [Int32]) -> [Float] {
        let nll = FloatStorage(rows: targets.count, columns: 1)
        model.kernels.softmaxCrossEntropy(logits, targets: targets, into: nll.matrix)
        return nll.matrix.toArray()
    }
}

/// Tokens that a cache is to read, and how many of their hidden states are wanted: the last ones.
public struct CachedInput {
    let cache: KVCache
    let tokens: [Int32]
    let lastRows: Int

    /// Tokens that come behind what `cache` holds; it needs room for them.
    public init(cache: KVCache, tokens: [Int32], lastRows: Int) {
        self.cache = cache
        self.tokens = tokens
        self.lastRows = lastRows
    }
}

extension InferenceSession {
    /// A hidden state: of which input, after which of its tokens.
    public typealias ReadRow = (input: Int, position: Int)

    /// Reads `count` inputs in passes of at most `tokenBudget` tokens, long ones in pieces, and calls `body` with the
    /// hidden states that are wanted of each pass. An input is asked for when its turn comes and let go after its pass.
    ///
    /// Results do not depend on what is read together.
    /// - Throws: a runtime error for values that are not finite.
    public func read(
        count: Int, input: (Int) -> CachedInput, _ body: ([ReadRow], FloatMatrix) throws -> Void
    ) throws {
        let most = forksPerPass
        var next = 0
        var long: (input: CachedInput, done: Int)?
        while next < count {
            var batch = PackedBatch()
            var caches: [KVCache] = []
            var lastRows: [Int] = []
            var rows: [ReadRow] = []
            while next < count, batch.tokenCount < tokenBudget, caches.count < most {
                let (current, done) = long ?? (input(next), 0)
                let end = min(current.tokens.count, done + tokenBudget - batch.tokenCount)
                let wanted = max(done, min(end, current.tokens.count - current.lastRows))..<end
                batch.append(current.tokens[done..<end], firstPosition: current.cache.count)
                caches.append(current.cache)
                lastRows.append(wanted.count)
                rows += wanted.map { (next, $0) }
                long = end < current.tokens.count ? (current, end) : nil
                if long == nil { next += 1 }
            }
            let hidden = try hiddenStates(batch, caches: caches, lastRows: lastRows)
            if !rows.isEmpty { try body(rows, hidden) }
        }
    }
}
