import Base
import Kernels
import Model
import Quant

/// The loss of a packed batch and its gradient with respect to one LoRA adapter on a frozen model.
///
/// The forward keeps each layer's activations, so the backward runs no second forward but where `recompute` says so;
/// below the lowest adapted layer nothing is kept and nothing is propagated, and with `frozenOutputs` nothing is computed for
/// a text that comes again. Memory is one arena, sized for
/// `maximumTokens`; a batch like an earlier one allocates nothing, in a debug build either: that is why lists that a step
/// walks through are walked by index. Not thread-safe.
public final class TrainingGraph {
    /// Tokens of the largest batch.
    public let maximumTokens: Int
    /// Looked at before every layer, forward and backward: when it is set, `accumulate` throws `interrupted`.
    public var interrupt: InterruptFlag?
    /// Vectors [n, hidden] that replace the embeddings of rows r..<r + n for every r of a batch's `softRows`.
    public var softPrompt: FloatMatrix?
    /// Receives the sum of their gradients [n, hidden], added to; needs `throughEmbeddings`.
    public var softPromptGradient: FloatMatrix?
    /// What adds up how much heads and channels matter in each backward; nil: nobody asks.
    public var importance: PartImportance?
    /// What adds up how much the loss depends on each output in each backward; needs `throughEmbeddings`. Nil: nobody asks.
    public var sensitivity: OutputSensitivity?
    /// What the frozen model computed of texts that come again; nil: it is computed every time.
    var frozenOutputs: FrozenOutputs?
    /// Notes what would be added to rows of the embedding and to the soft prompt's gradient, in place of adding it; nil: it is
    /// added.
    var journal: GradientJournal? { didSet { buffers.head.journal = journal } }
    let model: Transformer
    let buffers: TrainingBuffers
    let lowestLayer: Int
    let frozen: [LoRAAdapter]
    let trained: LoRAAdapter
    private let hasDropout: Bool
    private let arena: Arena  // owns what `buffers` points into
    private var sequences: [AttentionSequence] = []  // of the batch at work

    /// A graph for batches of up to `maximumTokens` tokens.
    ///
    /// - Parameters:
    ///   - throughEmbeddings: propagates down to the embeddings even where no adapter lies (soft prompts).
    ///   - recompute: what the backward computes again to save memory; the results are the same bits.
    ///   - keptPrecision: of what is kept for the backward; nil: f32 where the model computes in f32, else bf16.
    ///   - hasReference: makes room for `accumulateDivergence` and `accumulatePreference`.
    ///   - hasConsistency: makes room for `accumulateConsistency`, which propagates down to the embeddings.
    public init(
        model: Transformer, frozen: [LoRAAdapter], trained: LoRAAdapter, maximumTokens: Int,
        throughEmbeddings: Bool = false, recompute: RecomputePlan = .keepAll, keptPrecision: KeptPrecision? = nil,
        hasReference: Bool = false, hasConsistency: Bool = false
    ) {
        self.model = model
        self.frozen = frozen
        self.trained = trained
        self.maximumTokens = maximumTokens
        let shape = GraphShape(
            model: model, frozen: frozen, trained: trained, tokens: maximumTokens,
            throughEmbeddings: throughEmbeddings, precision: keptPrecision, hasReference: hasReference,
            hasConsistency: hasConsistency)
        lowestLayer = shape.lowestLayer
        hasDropout = shape.droppedWidth > 0
        arena = Arena(capacity: TrainingBuffers.floatCount(shape, recompute: recompute, model: model))
        buffers = TrainingBuffers(
            shape, recompute: recompute, model: model, adapters: AdapterStack(frozen: frozen, trained: trained),
            arena: arena)
    }

    /// Adds d(Σ weight · nll)/dθ to `gradients` (an adapter of the trained one's layout) and returns Σ weight · nll.
    ///
    /// `dropout` needs an adapter whose configuration has some; `noise` is added to the embeddings.
    /// - Throws: a runtime error if a value of the forward or the loss is not finite.
    public func accumulate(
        _ batch: LabelledBatch, dropout: (probability: Float, seed: UInt64, step: UInt64)? = nil,
        noise: EmbeddingNoise? = nil, into gradients: LoRAAdapter
    ) throws -> Double {
        guard batch.batch.tokenCount > 0 else { return 0 }
        precondition(softPromptGradient == nil || lowestLayer == 0, "the graph was not made with throughEmbeddings")
        let adapters = adapters(batch, dropout)
        let context = prepare(batch.batch)
        var move: EmbeddingMove?
        if let noise { move = .noise(noise, samples: batch.samples) }
        let stream = try forward(batch.batch, batch.softRows, context, adapters, keeping: true, move: move)
        let loss = try head(batch, stream, into: gradients)
        try backward(batch, context, adapters, into: gradients)
        return loss
    }

    /// Σ weight · nll, without dropout and noise; nothing is kept for a backward.
    ///
    /// - Throws: a runtime error if a value of the forward or the loss is not finite.
    public func loss(of batch: LabelledBatch) throws -> Double {
        guard batch.batch.tokenCount > 0 else { return 0 }
        let stream = try forward(
            batch.batch, batch.softRows, prepare(batch.batch), adapters(batch, nil), keeping: false,
            remembering: false)
        let normed = buffers.normed.prefix(rows: stream.rows)
        model.finalNorm(stream, into: normed, rstd: buffers.finalRstd)
        return try buffers.head.lossAndGradient(batch, normed: normed, into: buffers.dNormed.prefix(rows: stream.rows))
    }

    /// Adds d(Σ weight · KL(p_ref ‖ p))/dθ over the labelled rows to `gradients` and returns Σ weight · KL, where p is what
    /// the model predicts behind a row and p_ref what it predicts without the trained adapter, there or where the batch's
    /// `reference` says; labels only choose rows.
    ///
    /// The reference costs one forward more, which keeps nothing but its last rows. Needs `hasReference`.
    /// - Throws: a runtime error if a value of a forward or the divergence is not finite.
    public func accumulateDivergence(
        _ batch: LabelledBatch, dropout: (probability: Float, seed: UInt64, step: UInt64)? = nil,
        into gradients: LoRAAdapter
    ) throws -> Double {
        guard let rows = buffers.reference else { preconditionFailure("the graph was not made with hasReference") }
        guard batch.batch.tokenCount > 0 else { return 0 }
        let reference = rows.prefix(rows: batch.batch.tokenCount)
        try askFrozen(batch, into: reference)
        let context = prepare(batch.batch)
        let adapters = adapters(batch, dropout)
        let stream = try forward(batch.batch, batch.softRows, context, adapters, keeping: true)
        let loss = try head(batch, stream, reference: reference, into: gradients)
        try backward(batch, context, adapters, into: gradients)
        return loss
    }

    /// Output of the final norm of the model without the trained adapter, in `rows`: of the batch's own rows, or of those
    /// that its reference names in the place of the labelled ones.
    func askFrozen(_ batch: LabelledBatch, into rows: FloatMatrix) throws {
        guard let asked = batch.reference else {
            return try frozenAnswers(batch.batch, batch.softRows, isTrained: true, into: rows)
        }
        precondition(asked.rows.count == batch.labelCount, "\(asked.rows.count) rows for \(batch.labelCount) labels")
        let normed = buffers.normed.prefix(rows: asked.batch.tokenCount)
        try frozenAnswers(asked.batch, [], isTrained: false, into: normed)
        var next = 0
        for row in batch.labels.indices where batch.labels[row] >= 0 {
            rows.slice(rows: row..<row + 1).copy(from: normed.slice(rows: asked.rows[next]..<asked.rows[next] + 1))
            next += 1
        }
    }

    /// The adapters of a step on this batch.
    func adapters(
        _ batch: LabelledBatch, _ dropout: (probability: Float, seed: UInt64, step: UInt64)?
    ) -> AdapterStack {
        precondition(hasDropout || (dropout?.probability ?? 0) == 0, "dropout of an adapter that has none")
        let key = dropout.map {
            DropoutKey(
                probability: $0.probability, seed: $0.seed, step: $0.step, samples: batch.samples,
                positions: batch.batch.positions)
        }
        return AdapterStack(frozen: frozen, trained: trained, dropout: key)
    }

    /// Makes a batch ready for `forward`: where its sequences' keys and values are, and the angles of its positions.
    func prepare(_ batch: PackedBatch) -> AttentionContext {
        precondition(batch.tokenCount <= maximumTokens, "\(batch.tokenCount) tokens in a graph for \(maximumTokens)")
        sequences.removeAll(keepingCapacity: true)
        buffers.backward.appendSequences(of: batch, buffers.activations, to: &sequences)
        buffers.scratch.prepare(for: batch)
        return .packed(batch, type: model.keyValueType)
    }

    /// Runs the layers, each adapted one `keeping` what its backward needs; returns the residual stream behind the last. With
    /// `recording` only as many layers are run as it has matrices, which receive the stream behind each; `move` is added to
    /// the embeddings; `remembering` what the layers below the lowest adapter gave (`frozenOutputs`).
    func forward(
        _ batch: PackedBatch, _ softRows: [Int], _ context: AttentionContext, _ adapters: AdapterStack, keeping: Bool,
        recording: [FloatMatrix]? = nil, remembering: Bool = true, move: EmbeddingMove? = nil
    ) throws -> FloatMatrix {
        var input = buffers.streams.0.prefix(rows: batch.tokenCount)
        var output = buffers.streams.1.prefix(rows: batch.tokenCount)
        var first = 0
        if remembering, let frozenOutputs, lowestLayer > 0, move == nil, recording == nil {
            (input, output) = try frozenStream(batch, softRows, adapters, in: frozenOutputs)
            first = lowestLayer
        } else {
            enter(batch.tokens, softRows, adapters, into: input)
        }
        if let move { move.add(to: input, of: batch, kernels: model.kernels) }
        for layer in first..<(recording?.count ?? model.spec.numHiddenLayers) {
            try run(layer, &input, &output, context, adapters, keeping: keeping && layer >= lowestLayer)
            if let recording { recording[layer].prefix(rows: batch.tokenCount).copy(from: input) }
        }
        return input
    }

    /// Makes `stream` what enters the first layer.
    func enter(_ tokens: [Int32], _ softRows: [Int], _ adapters: AdapterStack, into stream: FloatMatrix) {
        model.embed(tokens, overlay: adapters.overlay, into: stream)
        precondition(softRows.isEmpty || softPrompt != nil, "a batch with places for a soft prompt, but none set")
        if let softPrompt { model.place(softPrompt, at: softRows, in: stream) }
    }

    /// Runs a layer on `input`, which then is the stream behind it, and `output` is free.
    func run(
        _ layer: Int, _ input: inout FloatMatrix, _ output: inout FloatMatrix, _ context: AttentionContext,
        _ adapters: AdapterStack, keeping: Bool
    ) throws {
        try checkInterrupt()
        let acts = buffers.activations.around(input)
        try model.forwardLayer(
            layer, acts, attention: context, adapters: adapters, into: output, scratch: buffers.scratch)
        if keeping { buffers.kept[layer - lowestLayer].keep(acts, model.kernels) }
        swap(&input, &output)
    }

    /// Takes `dStream` down through the adapted layers.
    func backward(
        _ batch: LabelledBatch, _ context: AttentionContext, _ adapters: AdapterStack, into gradients: LoRAAdapter
    ) throws {
        let tokens = batch.batch.tokenCount
        let dx = buffers.dStream.prefix(rows: tokens)
        let acts = buffers.activations.around(buffers.streams.0.prefix(rows: tokens))
        for i in 0..<buffers.kept.count {
            let layer = model.spec.numHiddenLayers - 1 - i
            try restoreAndPropagate(
                layer, acts, dx, batch.batch, context, adapters, into: gradients,
                throughInput: layer > lowestLayer || softPromptGradient != nil || sensitivity != nil
                    || gradients.tokenRows != nil)
        }
        if let rows = gradients.tokenRows { addTokenRows(batch, dx, into: rows) }
        sensitivity?.addEmbedding(dx)
        if let softPromptGradient {
            for i in batch.softRows.indices {
                let row = batch.softRows[i]
                let gradient = dx.slice(rows: row..<row + softPromptGradient.rows)
                if let journal {
                    journal.addScaled(1, gradient, first: 0)
                } else {
                    model.kernels.addScaled(1, gradient, into: softPromptGradient)
                }
            }
        }
    }

    /// Adds the gradient of the embeddings to the rows of their tokens, but where a soft prompt stands in their place.
    private func addTokenRows(_ batch: LabelledBatch, _ dx: FloatMatrix, into rows: TokenRows) {
        let scale = model.spec.embedding.scale ?? 1
        let soft = Set(batch.softRows.flatMap { $0..<$0 + (softPrompt?.rows ?? 0) })
        for row in batch.batch.tokens.indices {
            guard let place = rows.place(of: batch.batch.tokens[row]), !soft.contains(row) else { continue }
            let gradient = dx.slice(rows: row..<row + 1)
            if let journal {
                journal.addScaled(scale, gradient, first: place)
            } else {
                model.kernels.addScaled(scale, gradient, into: rows.rows.slice(rows: place..<place + 1))
            }
        }
    }

    /// The backward of one layer: makes `acts` its activations, then `dx` the gradient of its input.
    func restoreAndPropagate(
        _ layer: Int, _ acts: LayerActivations, _ dx: FloatMatrix, _ batch: PackedBatch, _ context: AttentionContext,
        _ adapters: AdapterStack, into gradients: LoRAAdapter, throughInput: Bool
    ) throws {
        try checkInterrupt()
        model.pages?.willNeed(layer - 1)
        defer { model.pages?.release(layer) }
        buffers.kept[layer - lowestLayer].restore(
            acts, layer: layer, model: model, attention: context, adapters: adapters, scratch: buffers.scratch)
        propagate(layer, acts, dx, batch, adapters, into: gradients, throughInput: throughInput)
    }

    /// The backward of one layer, whose activations were restored.
    func propagate(
        _ layer: Int, _ acts: LayerActivations, _ dx: FloatMatrix, _ batch: PackedBatch, _ adapters: AdapterStack,
        into gradients: LoRAAdapter, throughInput: Bool
    ) {
        buffers.backward.propagate(
            layer, acts, dx, positions: batch.positions, sequences: sequences, adapters: adapters,
            gradients: gradients, scratch: buffers.scratch, throughInput: throughInput, importance: importance,
            sensitivity: sensitivity)
    }

    /// The loss, or with `reference` the divergence, and its gradient with respect to the stream behind the last layer in
    /// `dStream`; that of rows of a tied head is added to those of `gradients`.
    func head(
        _ batch: LabelledBatch, _ stream: FloatMatrix, reference: FloatMatrix? = nil, into gradients: LoRAAdapter
    ) throws -> Double {
        let h = buffers.normed.prefix(rows: stream.rows)
        let dh = buffers.dNormed.prefix(rows: stream.rows)
        let dx = buffers.dStream.prefix(rows: stream.rows)
        model.finalNorm(stream, into: h, rstd: buffers.finalRstd)
        let loss = try buffers.head.lossAndGradient(
            batch, normed: h, reference: reference, into: dh, rows: gradients.tokenRows)
        dx.fill(0)
        model.kernels.normBackward(stream, model.weights.finalNorm, rstd: buffers.finalRstd, dh, into: dx)
        return loss
    }

    func checkInterrupt() throws {
        if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted") }
    }
}
