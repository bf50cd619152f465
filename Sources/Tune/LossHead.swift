import Kernels
import Model
import Quant

/// Output head and cross-entropy, fused over chunks of the label rows: full logits never exist.
struct LossHead {
    /// Label rows of a chunk.
    static func chunkRows(vocabulary: Int) -> Int { max(1, min(256, 16_777_216 / vocabulary)) }

    let model: Transformer
    private let hidden: FloatMatrix  // [chunk, hidden]
    private let logits: FloatMatrix  // [chunk, V]
    private let nll: FloatMatrix  // [chunk, 1]

    init(model: Transformer, arena: Arena) {
        self.model = model
        let rows = Self.chunkRows(vocabulary: model.config.vocabSize)
        hidden = arena.matrix(rows: rows, columns: model.config.hiddenSize)
        logits = arena.matrix(rows: rows, columns: model.config.vocabSize)
        nll = arena.matrix(rows: rows, columns: 1)
    }

    static func footprint(config: ModelConfig) -> Int {
        let rows = chunkRows(vocabulary: config.vocabSize)
        return [config.hiddenSize, config.vocabSize, 1].reduce(0) { $0 + Arena.footprint(rows: rows, columns: $1) }
    }

    /// Σ weight · nll over the labels, and its gradient for `normed` [T, hidden] in `dNormed` (overwritten).
    func lossAndGradient(_ batch: LabelledBatch, normed: FloatMatrix, into dNormed: FloatMatrix) throws -> Double {
        dNormed.fill(0)
        let rows = batch.labels.indices.filter { batch.labels[$0] >= 0 }
        var loss = 0.0
        for start in stride(from: 0, to: rows.count, by: hidden.rows) {
            let chunk = rows[start..<min(start + hidden.rows, rows.count)]
            loss += try accumulate(batch, rows: chunk, normed: normed, into: dNormed)
        }
        return loss
    }

    private func accumulate(
        _ batch: LabelledBatch, rows: ArraySlice<Int>, normed: FloatMatrix, into dNormed: FloatMatrix
    ) throws -> Double {
        let h = hidden.prefix(rows: rows.count)
        let z = logits.prefix(rows: rows.count)
        for (i, row) in rows.enumerated() { h.slice(rows: i..<i + 1).copy(from: normed.slice(rows: row..<row + 1)) }
        model.head(h, into: z)
        model.kernels.softmaxCrossEntropy(z, targets: rows.map { batch.labels[$0] }, gradientScale: 1, into: nll)
        model.kernels.linearBackward(model.weights.head, z, into: h)
        var loss = 0.0
        for (i, row) in rows.enumerated() {
            let weight = batch.weights[row]
            let value = nll.base[i]
            guard value.isFinite else {
                throw MeraserError.runtime(
                    "the loss is not finite at token \(row) of the batch; lower --learning-rate or check the data")
            }
            loss += Double(weight) * Double(value)
            let target = dNormed.row(row)
            let source = h.row(i)
            for k in target.indices { target[k] = weight * source[k] }
        }
        return loss
    }
}
