import Audit
import Kernels

/// How likely a token was, and what was likeliest in its place.
struct TokenPrediction: Sendable, Equatable {
    /// A token and ln p of it.
    struct Choice: Sendable, Equatable {
        let token: Int32
        let logProbability: Double
    }

    /// The token that came.
    let chosen: Choice
    /// The likeliest tokens in falling order, the lowest id first among equals.
    let likeliest: [Choice]

    /// Reads it off the logits [1, V] that foretold the token.
    init(of token: Int32, logits: FloatMatrix, top count: Int, kernels: KernelContext) {
        let likelihood = FloatStorage(rows: 1, columns: 1)
        kernels.softmaxCrossEntropy(logits, targets: [token], into: likelihood.matrix)
        let own = -Double(likelihood.matrix.withRow(0) { $0[0] })
        (chosen, likeliest) = logits.withRow(0) { row in
            // ln p of another token is as far from this one's as the logits are from each other.
            func choice(_ id: Int32) -> Choice {
                Choice(
                    token: id,
                    logProbability: id == token ? own : own + Double(row[Int(id)]) - Double(row[Int(token)]))
            }
            return (Choice(token: token, logProbability: own), likeliestTokens(count, in: row).map(choice))
        }
    }
}
