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
    /// - Throws: a bad-input error for a context without tokens or a token outside the vocabulary, a runtime error for
    ///   values that are not finite.
    public func scoreContinuations(
        _ items: [(context: [Int32], continuations: [[Int32]])]
    ) throws -> [[ContinuationScore]] {
        for (index, item) in items.enumerated() {
            guard !item.context.isEmpty else { throw MeraserError.badInput("context \(index) has no tokens") }
            for tokens in [item.context] + item.continuations {
                guard tokens.allSatisfy({ $0 >= 0 && Int($0) < model.config.vocabSize }) else {
                    throw MeraserError.badInput(
                        "context \(index) or a continuation of it has a token outside the model's vocabulary of "
                            + "\(model.config.vocabSize)")
                }
            }
        }
        return try items.map { item in
            try item.continuations.map { continuation in
                guard !continuation.isEmpty else {
                    return ContinuationScore(logLikelihood: 0, tokens: 0, isGreedy: true)
                }
                let batch = PackedBatch([item.context + continuation.dropLast()])
                let hidden = try hiddenStates(batch)
                return try score(continuation, hidden.slice(rows: item.context.count - 1..<hidden.rows))
            }
        }
    }

    /// The score of tokens from the final hidden states that predict them.
    private func score(_ tokens: [Int32], _ hidden: FloatMatrix) throws -> ContinuationScore {
        var sum = 0.0
        var isGreedy = true
        let nll = FloatStorage(rows: tokens.count, columns: 1)
        try forEachLogits(of: hidden) { range, logits in
            let targets = Array(tokens[range])
            isGreedy = isGreedy && model.kernels.argmax(logits) == targets
            model.kernels.softmaxCrossEntropy(logits, targets: targets, into: nll.matrix.slice(rows: range))
        }
        for i in tokens.indices { sum -= Double(nll.matrix.base[i]) }
        return ContinuationScore(logLikelihood: sum, tokens: tokens.count, isGreedy: isGreedy)
    }
}
