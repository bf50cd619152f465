import Base
import Kernels
import Model
import Quant

/// Output head and loss (cross-entropy, or divergence from the reference), fused over chunks of the label rows: full
/// logits never exist.
final class LossHead {
    private let model: Transformer
    private let scratch: LayerScratch
    private let hidden: FloatMatrix  // [chunk, hidden]
    private let logits: FloatMatrix  // [chunk, V]
    private let referenceLogits: FloatMatrix?  // [chunk, V]
    private let losses: FloatMatrix  // [chunk, 1]
    // What became of the head's products, for the gradient.
    private let outputScale: Float
    private let softCap: Float?
    /// Rows of the embedding in place of the model's: with the trained adapter, and without it.
    private let overlay: TokenOverlay?
    private let frozenOverlay: TokenOverlay?
    /// Of a tied head the model's own rows for the tokens of `overlay`, [tokens, hidden].
    private let originals: FloatMatrix?
    private let originalRows: FloatStorage?
    // Rows of a chunk in the batch and their targets; refilled for each chunk.
    private var rows: [Int] = []
    private var targets: [Int32] = []
    /// Notes what would be added to the trained adapter's rows, in place of adding it; nil: it is added.
    var journal: GradientJournal?
    // Of each of them the log-probability that the reference may give it at most.
    private var limits: [Float] = []

    /// Buffers for up to `tokens` tokens; those of a reference only if there is one. Of `scratch` the workspace is used.
    init(
        model: Transformer, adapters: AdapterStack, tokens: Int, hasReference: Bool, scratch: LayerScratch, arena: Arena
    ) {
        self.model = model
        overlay = model.spec.head.isTied ? adapters.overlay : nil
        frozenOverlay = overlay == nil ? nil : AdapterStack(frozen: adapters.frozen).overlay
        originalRows = overlay.map { FloatStorage(rows: $0.tokens.count, columns: model.spec.hiddenSize) }
        originals = originalRows?.matrix
        if let overlay, let originals {
            model.kernels.gatherRows(model.weights.embedding, overlay.tokens, into: originals)
        }
        self.scratch = scratch
        switch model.spec.head.output {
        case .plain: (outputScale, softCap) = (1, nil)
        case .scaled(let factor): (outputScale, softCap) = (factor, nil)
        case .softCapped(let cap): (outputScale, softCap) = (1, cap)
        }
        let rows = Self.chunkRows(vocabulary: model.spec.vocabSize, tokens: tokens)
        hidden = arena.matrix(rows: rows, columns: model.spec.hiddenSize)
        logits = arena.matrix(rows: rows, columns: model.spec.vocabSize)
        referenceLogits = hasReference ? arena.matrix(rows: rows, columns: model.spec.vocabSize) : nil
        losses = arena.matrix(rows: rows, columns: 1)
        self.rows.reserveCapacity(rows)
        targets.reserveCapacity(rows)
        limits.reserveCapacity(rows)
    }

    /// Label rows of a chunk: at most 256, and at most 64 MB of logits.
    static func chunkRows(vocabulary: Int, tokens: Int) -> Int {
        max(1, min(256, 16_777_216 / vocabulary / 16 * 16, tokens))
    }

    /// Σ weight · nll over the labels, and its gradient for `normed` [T, hidden] in `dNormed` (overwritten). With
    /// `reference`, the frozen model's normed rows [T, hidden], Σ weight · KL(reference ‖ model) over the same rows instead,
    /// and what tokens cost that are likelier than the batch's limits. The gradient of the trained adapter's rows of a tied
    /// head is added to `dRows`.
    func lossAndGradient(
        _ batch: LabelledBatch, normed: FloatMatrix, reference: FloatMatrix? = nil, into dNormed: FloatMatrix,
        rows dRows: TokenRows? = nil
    ) throws -> Double {
        dNormed.fill(0)
        let limits = batch.reference?.limits
        var loss = try overChunks(batch, of: { _ in true }) {
            try accumulate(batch, normed: normed, reference: reference, into: dNormed, rows: dRows)
        }
        if let limits {
            loss += overChunks(batch, of: { limits[$0] < 0 }) {
                holdDown(batch, normed: normed, into: dNormed, rows: dRows)
            }
        }
        return loss
    }

    /// The negative log-likelihood of each sample's labels, by its number, for the normed rows [T, hidden]; `isFrozen`: of the
    /// model without the trained adapter.
    func negativeLogLikelihoods(
        _ batch: LabelledBatch, normed: FloatMatrix, isFrozen: Bool
    ) throws -> [Int32: Double] {
        var sums: [Int32: Double] = [:]
        _ = overChunks(batch, of: { _ in true }) {
            crossEntropy(
                normed, isFrozen ? frozenOverlay : overlay, hidden.prefix(rows: rows.count),
                logits.prefix(rows: rows.count))
            for i in rows.indices { sums[batch.samples[rows[i]], default: 0] += Double(losses[i, 0]) }
            return 0
        }
        guard sums.values.allSatisfy(\.isFinite) else {
            throw MeraserError.runtime("a likelihood is not finite; lower `learning_rate` or check the data")
        }
        return sums
    }

    /// The sum of `body` over the chunks of the label rows that are wanted; each is in `rows`, `targets` and, where the
    /// batch has them, `limits` while it is called.
    private func overChunks(
        _ batch: LabelledBatch, of isWanted: (_ label: Int) -> Bool, body: () throws -> Double
    ) rethrows -> Double {
        var sum = 0.0
        var (next, label) = (0, 0)
        while true {
            rows.removeAll(keepingCapacity: true)
            targets.removeAll(keepingCapacity: true)
            limits.removeAll(keepingCapacity: true)
            while next < batch.labels.count, rows.count < hidden.rows {
                if batch.labels[next] >= 0 {
                    if isWanted(label) {
                        rows.append(next)
                        targets.append(batch.labels[next])
                        if let asked = batch.reference { limits.append(asked.limits[label]) }
                    }
                    label += 1
                }
                next += 1
            }
            if rows.isEmpty { return sum }
            sum += try body()
        }
    }

    /// What tokens that are likelier than their limit cost beside the divergence, and its gradient.
    ///
    /// The divergence from a reference in which a token is unlikely soon stops to push it down: of a probability p it costs
    /// about p. In nats, which is how marks are measured, most of the way is still to go.
    private func holdDown(
        _ batch: LabelledBatch, normed: FloatMatrix, into dNormed: FloatMatrix, rows dRows: TokenRows?
    ) -> Double {
        let h = hidden.prefix(rows: rows.count)
        let z = logits.prefix(rows: rows.count)
        crossEntropy(normed, overlay, h, z)
        headBackward(z, into: h, rows: dRows) { i in
            -losses[i, 0] - limits[i] > 0 ? -LabelledBatch.Reference.pressure * batch.weights[rows[i]] : 0
        }
        var loss = 0.0
        for i in rows.indices {
            let excess = -losses[i, 0] - limits[i]
            guard excess > 0 else { continue }
            let weight = LabelledBatch.Reference.pressure * batch.weights[rows[i]]
            loss += Double(weight) * Double(excess)
            model.kernels.addScaled(
                -weight, h.slice(rows: i..<i + 1), into: dNormed.slice(rows: rows[i]..<rows[i] + 1))
        }
        return loss
    }

    /// The share of the rows in `rows`.
    private func accumulate(
        _ batch: LabelledBatch, normed: FloatMatrix, reference: FloatMatrix?, into dNormed: FloatMatrix,
        rows dRows: TokenRows?
    ) throws -> Double {
        let h = hidden.prefix(rows: rows.count)
        let z = logits.prefix(rows: rows.count)
        if let reference, let referenceLogits {
            let r = referenceLogits.prefix(rows: rows.count)
            gather(reference, into: h)
            model.head(h, overlay: frozenOverlay, into: r, scratch: scratch)
            if !limits.isEmpty { model.kernels.limitProbabilities(r, of: targets, to: limits) }
            gather(normed, into: h)
            model.head(h, overlay: overlay, into: z, scratch: scratch)
            model.kernels.divergence(z, from: r, gradientScale: outputScale, softCap: softCap, into: losses)
        } else {
            crossEntropy(normed, overlay, h, z)
        }
        headBackward(z, into: h, rows: dRows) { batch.weights[rows[$0]] }
        var loss = 0.0
        for i in rows.indices {
            let row = rows[i]
            let weight = batch.weights[row]
            let value = losses[i, 0]
            guard value.isFinite else {
                throw MeraserError.runtime(
                    "the loss is not finite at token \(row) of the batch; lower `learning_rate` or check the data")
            }
            loss += Double(weight) * Double(value)
            model.kernels.addScaled(weight, h.slice(rows: i..<i + 1), into: dNormed.slice(rows: row..<row + 1))
        }
        return loss
    }

    /// The cross-entropy of the rows in `rows`, in `losses`; they are in `h` then, and the gradient of their logits in `z`.
    private func crossEntropy(
        _ normed: FloatMatrix, _ overlay: TokenOverlay?, _ h: FloatMatrix, _ z: FloatMatrix
    ) {
        gather(normed, into: h)
        model.head(h, overlay: overlay, into: z, scratch: scratch)
        model.kernels.softmaxCrossEntropy(
            z, targets: targets, gradientScale: outputScale, softCap: softCap, into: losses)
    }

    /// The gradient of what went into the head, in `h`, of that of its logits; `h` has been what went in. Where the head has
    /// rows of the trained adapter, theirs is added to `dRows`, each of the rows in `rows` weighted.
    private func headBackward(
        _ z: FloatMatrix, into h: FloatMatrix, rows dRows: TokenRows?, weight: (Int) -> Float
    ) {
        if overlay != nil, let dRows {
            let weights = rows.indices.map(weight)
            let kept = journal.map { _ in h.stored() }
            for j in dRows.tokens.indices {
                if let journal, let kept {
                    journal.addMoment(column: Int(dRows.tokens[j]), of: z, weights: weights, kept, row: j)
                    continue
                }
                model.kernels.accumulateRow(
                    Int(dRows.tokens[j]), of: z, weights: weights, h, into: dRows.rows.slice(rows: j..<j + 1))
            }
        }
        model.kernels.linearBackward(
            model.weights.head.weight, z, into: h, compute: model.backward,
            workspace: scratch.workspace)
        guard let overlay, let originals else { return }
        for i in overlay.tokens.indices {
            model.kernels.replaceColumnBackward(
                Int(overlay.tokens[i]), of: z, by: overlay.rows[i], original: originals.slice(rows: i..<i + 1), into: h)
        }
    }

    /// The rows in `rows` of `x`, in `h`.
    private func gather(_ x: FloatMatrix, into h: FloatMatrix) {
        for i in rows.indices { h.slice(rows: i..<i + 1).copy(from: x.slice(rows: rows[i]..<rows[i] + 1)) }
    }
}
