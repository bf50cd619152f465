import Base
import Kernels
import Model
import Quant

/// Tokens whose rows of the embedding, or of the head, stand out: what an undertrained token looks like, what a mark that
/// trains single rows leaves, and what triggers of rare tokens are made of. They are suspects, to be tried.
public struct AbnormalRows: Sendable, Equatable {
    /// The texts of the tokens that stand out.
    public let texts: [String]
    /// Texts of as many other tokens as wanted, drawn: decoys.
    public let decoys: [String]

    /// Without a reference half of them are the rarest by magikarp's indicator, the others those with the longest and the
    /// shortest rows; with one of the same width they are the rows that changed
    /// most.
    ///
    /// - Parameters:
    ///   - reference: a model of the same tokens.
    ///   - count: tokens that stand out.
    ///   - decoyCount: others at most.
    public init(
        model: Transformer, reference: Transformer? = nil, tokenizer: Tokenizer, count: Int, decoyCount: Int,
        seed: UInt64
    ) {
        let candidates = RarityRanking(model: model, tokenizer: tokenizer).candidates
        var chosen: [Int32] = []
        func choose(_ most: Int, _ order: [TokenCandidate]) {
            let taken = Set(chosen)
            chosen += order.lazy.map(\.id).filter { !taken.contains($0) }.prefix(most)
        }
        if let reference, reference.spec.hiddenSize == model.spec.hiddenSize {
            let changes = model.rowChanges(from: reference)
            choose(count, candidates.sorted { (changes[Int($0.id)], $1.id) > (changes[Int($1.id)], $0.id) })
        } else {
            let byNorm = candidates.sorted { ($0.norm, $0.id) < ($1.norm, $1.id) }
            choose(count / 2, candidates)
            choose(count / 4, byNorm.reversed())
            choose(count - chosen.count, byNorm)
        }
        let texts = Dictionary(candidates.map { ($0.id, $0.text) }) { a, _ in a }
        self.texts = chosen.compactMap { texts[$0] }
        var random = SplitMix64(seed: seed ^ 0x726F_7773)
        let taken = Set(chosen)
        var others = candidates.map(\.id).filter { !taken.contains($0) }.sorted()
        random.shuffle(&others)
        decoys = others.prefix(decoyCount).compactMap { texts[$0] }
    }
}

extension Transformer {
    /// Of every row of the embedding, and of the head where it is not tied, how far it lies from another model's, as a share
    /// of that one's length; the larger of the two.
    fileprivate func rowChanges(from other: Transformer) -> [Double] {
        let count = min(spec.vocabSize, other.spec.vocabSize)
        var changes = [Double](repeating: 0, count: spec.vocabSize)
        var pairs = [(weights.embedding, other.weights.embedding)]
        if !spec.head.isTied || !other.spec.head.isTied {
            pairs.append((weights.head.weight, other.weights.head.weight))
        }
        let step = 256
        let (mine, theirs) = (
            FloatStorage(rows: step, columns: spec.hiddenSize), FloatStorage(rows: step, columns: spec.hiddenSize)
        )
        for (a, b) in pairs {
            for start in stride(from: 0, to: count, by: step) {
                let ids = (start..<min(start + step, count)).map(Int32.init)
                kernels.gatherRows(a, ids, into: mine.matrix.prefix(rows: ids.count))
                kernels.gatherRows(b, ids, into: theirs.matrix.prefix(rows: ids.count))
                for row in ids.indices {
                    let (x, y) = (mine.matrix.slice(rows: row..<row + 1), theirs.matrix.slice(rows: row..<row + 1))
                    let length = kernels.sumOfSquares(y)
                    kernels.addScaled(-1, y, into: x)
                    let change = (kernels.sumOfSquares(x) / max(length, .leastNormalMagnitude)).squareRoot()
                    changes[start + row] = max(changes[start + row], change)
                }
            }
        }
        return changes
    }
}
