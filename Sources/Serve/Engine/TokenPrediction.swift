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
            func choice(_ id: Int) -> Choice {
                Choice(
                    token: Int32(id),
                    logProbability: id == Int(token) ? own : own + Double(row[id]) - Double(row[Int(token)]))
            }
            return (Choice(token: token, logProbability: own), Self.largest(count, of: row).map(choice))
        }
    }

    /// The places of the largest numbers, in falling order.
    private static func largest(_ count: Int, of row: UnsafeBufferPointer<Float>) -> [Int] {
        var best: [Int] = []
        guard count > 0 else { return best }
        for id in row.indices {
            if best.count == count {
                guard let last = best.last, row[id] > row[last] else { continue }
                best.removeLast()
            }
            let place = best.firstIndex { row[id] > row[$0] } ?? best.count
            best.insert(id, at: place)
        }
        return best
    }
}
