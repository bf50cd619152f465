import Base
import Kernels
import Model
import Quant
import Tune

/// The residual streams of calibration texts on their way through a model: layer after layer, all texts at a time, so that
/// one layer's weights are in use. Not thread-safe.
final class CalibrationStream {
    private let spec: DecoderSpec
    private let batches: [PackedBatch]
    private let streams: FloatStorage
    private let current: FloatMatrix
    private let normed: FloatMatrix
    private let activations: LayerActivations
    private let scratch: LayerScratch

    /// Tokens of all texts.
    var tokenCount: Int { streams.matrix.rows }

    /// Tokens of one forward pass, unless one sequence has more.
    private static let batchTokens = 2048

    /// The embeddings of those sequences, none of which is empty.
    init(_ model: Transformer, sequences: [[Int32]]) {
        spec = model.spec
        var batches: [PackedBatch] = []
        var batch = PackedBatch()
        for sequence in sequences {
            if batch.tokenCount > 0, batch.tokenCount + sequence.count > Self.batchTokens {
                batches.append(batch)
                batch = PackedBatch()
            }
            batch.append(sequence)
        }
        self.batches = batches + [batch]
        let widest = self.batches.reduce(0) { max($0, $1.tokenCount) }
        let arena = Arena(capacity: Self.floats(spec, tokens: widest))
        current = arena.matrix(rows: widest, columns: spec.hiddenSize)
        normed = arena.matrix(rows: widest, columns: spec.hiddenSize)
        activations = LayerActivations(spec: spec, residual: current, inPlace: true, arena: arena)
        scratch = LayerScratch(spec: spec, tokens: widest, maximumRank: 0, arena: arena)
        streams = FloatStorage(rows: self.batches.reduce(0) { $0 + $1.tokenCount }, columns: spec.hiddenSize)
        forEachBatch { batch, stream in model.embed(batch.tokens, overlay: nil, into: stream) }
    }

    private static func floats(_ spec: DecoderSpec, tokens: Int) -> Int {
        2 * Arena.footprint(rows: tokens, columns: spec.hiddenSize)
            + LayerActivations.footprint(spec: spec, tokens: tokens)
            + LayerScratch.footprint(spec: spec, tokens: tokens, maximumRank: 0)
    }

    /// Bytes that the streams of so many tokens take, and a forward pass.
    static func byteCount(_ spec: DecoderSpec, tokens: Int) -> Int {
        4 * (tokens * spec.hiddenSize + floats(spec, tokens: min(tokens, batchTokens)))
    }

    /// Runs a layer on all texts and calls `onInput` with the input of each product with its weights and the projections that
    /// share it. `advances`: its outputs become the streams; else nothing is left of them.
    ///
    /// - Throws: what the layer and `check`, called between forward passes, throw.
    func run(
        _ layer: Int, of model: Transformer, advances: Bool, check: () throws -> Void,
        onInput: (([Projection], FloatMatrix) -> Void)? = nil
    ) throws {
        scratch.onInput = onInput
        defer { scratch.onInput = nil }
        try forEachBatch { batch, stream in
            try check()
            scratch.prepare(for: batch)
            let x = current.prefix(rows: batch.tokenCount)
            x.copy(from: stream)
            try model.forwardLayer(
                layer, activations.prefix(rows: batch.tokenCount), attention: .packed(batch, type: .f32),
                adapters: AdapterStack(), into: x, scratch: scratch)
            if advances { stream.copy(from: x) }
        }
    }

    /// Calls `body` with the rows that the head reads, the streams being those behind the last layer.
    func forEachHeadInput(_ model: Transformer, _ body: (FloatMatrix) throws -> Void) rethrows {
        try forEachBatch { batch, stream in
            let rows = normed.prefix(rows: batch.tokenCount)
            model.finalNorm(stream, into: rows, rstd: scratch.rstd)
            try body(rows)
        }
    }

    private func forEachBatch(_ body: (PackedBatch, FloatMatrix) throws -> Void) rethrows {
        var row = 0
        for batch in batches {
            try body(batch, streams.matrix.slice(rows: row..<row + batch.tokenCount))
            row += batch.tokenCount
        }
    }
}
