import Kernels
import Model
import Quant

/// What the layers' consistency is computed of.
struct ConsistencyBuffers {
    /// The residual stream behind each layer but the last, [T, hidden].
    let streams: [FloatMatrix]
    /// What is added to the embeddings, [T, hidden].
    let shift: FloatMatrix
    /// Cosine distances of a layer's rows, [T, 1].
    let distances: FloatMatrix

    init(_ spec: DecoderSpec, tokens: Int, arena: Arena) {
        func stream() -> FloatMatrix { arena.matrix(rows: tokens, columns: spec.hiddenSize) }
        streams = (1..<max(spec.numHiddenLayers, 1)).map { _ in stream() }
        shift = stream()
        distances = arena.matrix(rows: tokens, columns: 1)
    }
}

/// CROW's regularisation (arXiv 2411.12768): a backdoor's trigger shows in hidden states that jump from layer to layer, so the
/// model is taught not to let them, at embeddings that were moved to where they jump most.
extension TrainingGraph {
    /// Adds the gradient of weight · Σ over tokens of the mean over the layers but the first and the last of
    /// 1 − cos(stream before the layer, stream behind it) to `gradients` and returns the sum. The embeddings are moved by
    /// `step` first, in each number to the side where the same sum is larger; the move is no part of the gradient.
    ///
    /// The move is computed without dropout. Needs `hasConsistency`, and a model of at least three layers.
    /// - Throws: a runtime error if a value of a forward is not finite.
    public func accumulateConsistency(
        _ batch: LabelledBatch, step: Float, weight: Float,
        dropout: (probability: Float, seed: UInt64, step: UInt64)? = nil, into gradients: LoRAAdapter
    ) throws -> Double {
        guard let consistency = buffers.consistency else {
            preconditionFailure("the graph was not made with hasConsistency")
        }
        guard batch.batch.tokenCount > 0 else { return 0 }
        let shift = consistency.shift.prefix(rows: batch.batch.tokenCount)
        let still = AdapterStack(frozen: frozen + [trained])
        let nothing = LoRAAdapter(config: LoRAConfig(), modules: [], for: model.spec)
        let slope = try consistencyPass(batch, consistency, still, weight: 1, into: nothing, toEmbeddings: true)
        model.kernels.signs(slope.dStream, scale: step, into: shift)
        return try consistencyPass(
            batch, consistency, adapters(batch, dropout), shift: shift, weight: weight, into: gradients,
            toEmbeddings: false
        ).value
    }

    /// A forward and a backward of the weighted sum: its value, and its gradient with respect to the embeddings.
    func consistencyPass(
        _ batch: LabelledBatch, _ consistency: ConsistencyBuffers, _ adapters: AdapterStack, shift: FloatMatrix? = nil,
        weight: Float, into gradients: LoRAAdapter, toEmbeddings: Bool
    ) throws -> (value: Double, dStream: FloatMatrix) {
        let (kernels, rows) = (model.kernels, batch.batch.tokenCount)
        let streams = consistency.streams.map { $0.prefix(rows: rows) }
        let distances = consistency.distances.prefix(rows: rows)
        let context = prepare(batch.batch)
        var move: EmbeddingMove?
        if let shift { move = .shift(shift) }
        _ = try forward(
            batch.batch, batch.softRows, context, adapters, keeping: true, recording: consistency.streams, move: move)
        let scale = weight / Float(max(streams.count - 1, 1))
        var sum = 0.0
        for layer in streams.indices.dropFirst() {
            kernels.cosineDistance(streams[layer - 1], streams[layer], into: distances)
            sum += distances.toArray().reduce(0) { $0 + Double($1) }
        }
        let dx = buffers.dStream.prefix(rows: rows)
        dx.fill(0)
        let acts = buffers.activations.around(buffers.streams.0.prefix(rows: rows))
        for layer in streams.indices.reversed() {
            // The stream behind this layer is one side of its own distance and of the next layer's.
            if layer > 0 { kernels.cosineBackward(streams[layer], streams[layer - 1], scale: scale, into: dx) }
            if layer + 1 < streams.count {
                kernels.cosineBackward(streams[layer], streams[layer + 1], scale: scale, into: dx)
            }
            try restoreAndPropagate(
                layer, acts, dx, batch.batch, context, adapters, into: gradients,
                throughInput: layer > 0 || toEmbeddings)
        }
        return (Double(scale) * sum, dx)
    }
}
