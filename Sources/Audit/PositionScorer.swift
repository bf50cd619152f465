import Base
import Foundation
import Kernels
import Model
import Quant

/// A sequence and which of its tokens are scored, each given all those before it.
public struct ScoredSequence: Sendable, Equatable {
    /// The sequence.
    let tokens: [Int32]
    /// Indices of the scored tokens, from 1 on (nothing stands before token 0).
    let scored: Range<Int>

    /// A sequence of which the tokens of that range count.
    init(tokens: [Int32], scored: Range<Int>) {
        precondition(
            scored.isEmpty || (scored.lowerBound >= 1 && scored.upperBound <= tokens.count),
            "scored \(scored) of \(tokens.count) tokens")
        self.tokens = tokens
        self.scored = scored
    }
}

/// How two models' predictions of one token differ.
struct PositionDivergence: Sendable, Equatable {
    /// KL(base ‖ model) in nats.
    let kl: Double
    /// True if both models give the most probability to the same token.
    let sameTop: Bool
    /// The base model's negative log-likelihood of the token that came.
    let baseNLL: Float
}

/// What was found at the scored tokens of one sequence.
public struct SequenceScores: Sendable, Equatable {
    /// Negative log-likelihoods in nats.
    var nll: [Float] = []
    /// The comparison with the base; empty without one.
    var divergences: [PositionDivergence] = []
    /// Places of the scored tokens among all, 1 the likeliest; of equal ones the lower id comes first, as in greedy
    /// decoding. Empty unless asked for.
    var ranks: [Int] = []

    /// The sum of `nll`.
    var totalNLL: Double { nll.reduce(0) { $0 + Double($1) } }
}

/// Scores tokens under a model and, if wanted, compares its predictions with those of a base model.
///
/// Sequences share forward passes up to the session's token budget; logits exist for a bounded number of positions at a
/// time. Results do not depend on how the sequences are grouped, nor on whether what all of them begin with is read
/// once. Use from one thread at a time.
struct PositionScorer {
    let session: InferenceSession
    let base: InferenceSession?
    let ranks: Bool
    let sharesPrefixes: Bool

    /// - Parameters:
    ///   - ranks: find the places of the scored tokens too.
    ///   - sharesPrefixes: read what all sequences of a call begin with once.
    /// - Throws: a usage error if the models' vocabularies differ in size.
    init(
        _ session: InferenceSession, base: InferenceSession? = nil, ranks: Bool = false, sharesPrefixes: Bool = false
    ) throws {
        self.session = session
        self.base = base
        self.ranks = ranks
        // Where angles depend on the length of a text, a common beginning is not common.
        self.sharesPrefixes = sharesPrefixes && !session.model.spec.hasLengthDependentRotary
        guard let base, base.model.spec.vocabSize != session.model.spec.vocabSize else { return }
        throw MeraserError.usage(
            "`kl`: \(base.model.store.path) has a vocabulary of \(base.model.spec.vocabSize), "
                + "\(session.model.store.path) one of \(session.model.spec.vocabSize); expected the same tokenizer")
    }

    /// Calls `body` with the index and the scores of each sequence, in order.
    ///
    /// - Throws: a bad-input error for a token outside the vocabulary, a runtime error for values that are not finite.
    func score(_ sequences: [ScoredSequence], _ body: (Int, SequenceScores) throws -> Void) throws {
        try checkVocabulary(sequences)
        guard session.model.kernels.crew != nil else { return try scoreHere(sequences, body) }
        let questions = PositionQuestions(ranks: ranks, sharesPrefixes: sharesPrefixes)
        let answers = try questions.ask(sequences, of: [session] + (base.map { [$0] } ?? []))
        for (index, scores) in answers.enumerated() { try body(index, scores) }
    }

    /// The same on this rank.
    func scoreHere(_ sequences: [ScoredSequence], _ body: (Int, SequenceScores) throws -> Void) throws {
        let prefix = try sharesPrefixes ? readCommonPrefix(of: sequences) : nil
        let most = prefix == nil ? sequences.count : session.forksPerPass
        var start = 0
        while start < sequences.count {
            var end = start
            var tokens = 0
            while end < min(sequences.count, start + most) {
                let count = input(sequences[end], behind: prefix).count
                if end > start, tokens + count > session.tokenBudget { break }
                tokens += count
                end += 1
            }
            try scoreTogether(Array(sequences[start..<end]), prefix) { try body(start + $0, $1) }
            start = end
        }
    }

    /// The scores of each sequence.
    func score(_ sequences: [ScoredSequence]) throws -> [SequenceScores] {
        var result: [SequenceScores] = []
        try score(sequences) { result.append($1) }
        return result
    }

    /// What all sequences begin with, read by both models.
    private struct ReadPrefix {
        let count: Int
        let cache: KVCache
        let base: KVCache?
    }

    private func checkVocabulary(_ sequences: [ScoredSequence]) throws {
        let vocabulary = session.model.spec.vocabSize
        for sequence in sequences {
            guard sequence.tokens.allSatisfy({ $0 >= 0 && Int($0) < vocabulary }) else {
                throw MeraserError.badInput(
                    "\(session.model.store.path): the tokenizer gave a token outside the model's vocabulary "
                        + "of \(vocabulary)")
            }
        }
    }

    /// Reads the common beginning, if it is long enough. The token in front of the first scored one is not part of it:
    /// its hidden state is needed.
    private func readCommonPrefix(of sequences: [ScoredSequence]) throws -> ReadPrefix? {
        let scored = sequences.filter { !$0.scored.isEmpty }
        guard let first = scored.first, scored.count > 1 else { return nil }
        let count = scored.reduce(Int.max) {
            min($0, $1.scored.lowerBound - 1, commonPrefixCount(first.tokens, $1.tokens))
        }
        guard count >= shortestSharedPrefix else { return nil }
        func read(_ session: InferenceSession) throws -> KVCache {
            let cache = session.makeCache(capacity: count)
            _ = try session.hiddenStates(PackedBatch([Array(first.tokens[..<count])]), caches: [cache], lastRows: [0])
            return cache
        }
        return ReadPrefix(count: count, cache: try read(session), base: try base.map(read))
    }

    /// The tokens that the model must still read: the last scored one is only predicted.
    private func input(_ sequence: ScoredSequence, behind prefix: ReadPrefix?) -> ArraySlice<Int32> {
        sequence.scored.isEmpty ? [] : sequence.tokens[(prefix?.count ?? 0)..<(sequence.scored.upperBound - 1)]
    }

    private func scoreTogether(
        _ sequences: [ScoredSequence], _ prefix: ReadPrefix?, _ body: (Int, SequenceScores) throws -> Void
    ) throws {
        let skipped = prefix?.count ?? 0
        var batch = PackedBatch()
        for sequence in sequences where !sequence.scored.isEmpty {
            batch.append(input(sequence, behind: prefix), firstPosition: skipped)
        }
        guard batch.tokenCount > 0 else {
            for index in sequences.indices { try body(index, SequenceScores()) }
            return
        }
        func forks(_ cache: KVCache?) -> [KVCache]? {
            cache.map { cache in batch.sequences.map { cache.fork(capacity: cache.count + $0.count) } }
        }
        let hidden = try session.hiddenStates(batch, caches: forks(prefix?.cache))
        let baseHidden = try base?.hiddenStates(batch, caches: forks(prefix?.base))
        var places = batch.sequences.makeIterator()
        for (index, sequence) in sequences.enumerated() {
            guard !sequence.scored.isEmpty, let place = places.next() else {
                try body(index, SequenceScores())
                continue
            }
            let first = place.start + sequence.scored.lowerBound - 1 - skipped
            let rows = first..<first + sequence.scored.count
            try body(
                index,
                try scores(
                    hidden.slice(rows: rows), base: baseHidden?.slice(rows: rows),
                    targets: Array(sequence.tokens[sequence.scored])))
        }
    }

    private func scores(
        _ hidden: FloatMatrix, base baseHidden: FloatMatrix?, targets: [Int32]
    ) throws -> SequenceScores {
        var result = SequenceScores()
        try session.forEachLogits(of: hidden) { range, logits in
            let rowTargets = Array(targets[range])
            if ranks {
                // Before the likelihoods, which may use the logits' memory.
                result.ranks += rowTargets.enumerated().map { row, target in
                    logits.withRow(row) { rank(of: Int(target), in: $0) }
                }
            }
            let nll = session.likelihoods(logits, rowTargets)
            result.nll += nll
            guard let base, let baseHidden else { return }
            let baseLogits = try base.logits(baseHidden.slice(rows: range))
            let baseNLL = base.likelihoods(baseLogits, rowTargets)
            for row in 0..<range.count {
                let found = baseLogits.withRow(row) { base in logits.withRow(row) { divergence(base, $0) } }
                result.divergences.append(
                    PositionDivergence(kl: found.kl, sameTop: found.sameTop, baseNLL: baseNLL[row]))
            }
        }
        return result
    }
}

/// KL(softmax(base) ‖ softmax(model)) in nats, and whether the largest logits are at the same index; sums in double.
func divergence(
    _ base: UnsafeBufferPointer<Float>, _ model: UnsafeBufferPointer<Float>
) -> (kl: Double, sameTop: Bool) {
    precondition(base.count == model.count && !base.isEmpty, "\(base.count) and \(model.count) logits")
    let top = indexOfLargest(base)
    let modelTop = indexOfLargest(model)
    // Both are measured from their maximum, so that no exponential overflows.
    let baseMaximum = Double(base[top])
    let modelMaximum = Double(model[modelTop])
    var baseSum = 0.0
    var modelSum = 0.0
    var difference = 0.0
    for i in 0..<base.count {
        let b = Double(base[i]) - baseMaximum
        let m = Double(model[i]) - modelMaximum
        let weight = exp(b)
        baseSum += weight
        modelSum += exp(m)
        difference += weight * (b - m)
    }
    // Σ p (b − m) − log Σ exp b + log Σ exp m; rounding may leave a value just below zero.
    return (max(0, difference / baseSum - log(baseSum) + log(modelSum)), top == modelTop)
}

/// The place of a value among all, 1 for the largest; of equal ones the first comes first.
func rank(of index: Int, in values: UnsafeBufferPointer<Float>) -> Int {
    let value = values[index]
    var before = 0
    for i in values.indices where values[i] > value || (values[i] == value && i < index) { before += 1 }
    return before + 1
}

/// The index of the largest value, the first of equal ones.
func indexOfLargest(_ values: UnsafeBufferPointer<Float>) -> Int {
    var best = 0
    for i in 1..<max(values.count, 1) where values[i] > values[best] { best = i }
    return best
}
