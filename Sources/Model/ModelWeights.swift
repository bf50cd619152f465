import Base
import Kernels
import Quant

/// A frozen linear layer: its matrix in place in the mapped file, its bias as fp32.
public struct LinearWeights {
    /// [rows, columns].
    public let weight: Weight
    /// [rows]; nil where the layer has none.
    public let bias: FloatMatrix?
}

/// A frozen norm, ready for the kernels.
public struct NormWeights {
    /// What it computes.
    public let kind: NormSpec.Kind
    /// Added to the mean of squares.
    public let eps: Float
    /// What features are multiplied by, [sets, width]: one set of weights, or one a head; of `rmsOffset` 1 + w.
    public let weight: FloatMatrix
    /// The same shape; nil where it has none.
    public let bias: FloatMatrix?
}

/// The frozen weights of one decoder layer.
public struct LayerWeights {
    /// In front of the attention; nil where the model has none, as everywhere below.
    public let attentionNorm: NormWeights?
    /// Behind the attention.
    public let attentionOutputNorm: NormWeights?
    /// In front of the MLP: in a parallel layer without one, the attention's.
    public let mlpNorm: NormWeights?
    /// Behind the MLP.
    public let mlpOutputNorm: NormWeights?
    /// Of the queries.
    public let queryNorm: NormWeights?
    /// Of the keys.
    public let keyNorm: NormWeights?
    /// By the projection's index.
    private var projections: [LinearWeights?]

    /// The weights of one projection, which the layer must have.
    public subscript(projection: Projection) -> LinearWeights {
        guard let weights = projections[projection.index] else {
            preconditionFailure("the layer has no \(projection.rawValue)")
        }
        return weights
    }

    /// The same with other matrices for those projections, which the layer must have; biases stay.
    func replacing(_ weights: [Projection: Weight]) -> LayerWeights {
        var copy = self
        for (projection, weight) in weights {
            copy.projections[projection.index] = LinearWeights(weight: weight, bias: self[projection].bias)
        }
        return copy
    }

    /// The same with those projections of another layer, their biases too.
    func substituting(_ chosen: Set<Projection>, from other: LayerWeights) -> LayerWeights {
        var copy = self
        for projection in chosen { copy.projections[projection.index] = other.projections[projection.index] }
        return copy
    }

    fileprivate init(_ spec: LayerSpec, _ reader: inout TensorReader) throws {
        let wiring = spec.wiring
        attentionNorm = try wiring.attentionNorm.map { try reader.norm($0) }
        attentionOutputNorm = try wiring.attentionOutputNorm.map { try reader.norm($0) }
        let own = try wiring.mlpNorm.map { try reader.norm($0) }
        mlpNorm = wiring.isParallel ? own ?? attentionNorm : own
        mlpOutputNorm = try wiring.mlpOutputNorm.map { try reader.norm($0) }
        queryNorm = try spec.attention.qNorm.map { try reader.norm($0) }
        keyNorm = try spec.attention.kNorm.map { try reader.norm($0) }
        var projections = [LinearWeights?](repeating: nil, count: Projection.count)
        for projection in Projection.allCases {
            if let linear = spec[projection] { projections[projection.index] = try reader.linear(linear) }
        }
        self.projections = projections
    }
}

/// All weights of a model, used in place in the mapped file; vectors are copied as fp32.
///
/// Immutable, so several threads may read it (unchecked: the matrices point into memory that nobody writes any more and
/// that this value keeps alive).
public struct ModelWeights: @unchecked Sendable {
    /// [V, hidden].
    public let embedding: Weight
    /// [V, hidden], or the embedding where they are tied; its bias.
    public let head: LinearWeights
    /// Behind the last layer.
    public let finalNorm: NormWeights
    /// Decoder layers.
    public private(set) var layers: [LayerWeights]
    // Owns the vectors that the views above point into.
    private let vectors: [FloatStorage]

    /// Takes the tensors of a model file and checks each against the spec.
    ///
    /// - Throws: a bad-input error that names file, tensor, the shape it has and the one expected.
    public init(store: any WeightStore, spec: DecoderSpec) throws {
        var reader = TensorReader(store: store)
        embedding = Weight(try reader.tensor(spec.embedding.weight, spec.embeddingShape))
        head =
            spec.head.isTied
            ? LinearWeights(weight: embedding, bias: try reader.bias(spec.head.linear))
            : try reader.linear(spec.head.linear)
        finalNorm = try reader.norm(spec.finalNorm)
        layers = try spec.layers.map { try LayerWeights($0, &reader) }
        vectors = reader.vectors
    }

    /// The same with those projections of another model's layers.
    func substituting(_ chosen: Set<Projection>, layers wanted: Set<Int>, from other: ModelWeights) -> ModelWeights {
        var copy = self
        for layer in wanted { copy.layers[layer] = layers[layer].substituting(chosen, from: other.layers[layer]) }
        return copy
    }

    /// The same with other matrices in one layer.
    func replacing(_ weights: [Projection: Weight], layer: Int) -> ModelWeights {
        var copy = self
        copy.layers[layer] = layers[layer].replacing(weights)
        return copy
    }
}

/// Takes tensors of a model, checks their shapes, and keeps the copies of vectors.
private struct TensorReader {
    let store: any WeightStore
    private(set) var vectors: [FloatStorage] = []

    init(store: any WeightStore) { self.store = store }

    func tensor(_ name: String, _ shape: [Int]) throws -> TensorView {
        let view = try store.tensor(name)
        guard view.info.shape == shape else {
            throw MeraserError.badInput(
                "\(store.path): tensor '\(name)' has shape \(view.info.shape), expected \(shape) from config.json")
        }
        return view
    }

    /// Vectors of that width, one below the other, with `offset` added to each number.
    private mutating func vectors(_ names: [String], _ width: Int, offset: Float = 0) throws -> FloatMatrix? {
        if names.isEmpty { return nil }
        let values = try names.flatMap { try tensor($0, [width]).floats() }.map { $0 + offset }
        let storage = FloatStorage(values, rows: names.count, columns: width)
        vectors.append(storage)
        return storage.matrix
    }

    mutating func norm(_ spec: NormSpec) throws -> NormWeights {
        guard let weight = try vectors(spec.weights, spec.width, offset: spec.kind == .rmsOffset ? 1 : 0) else {
            preconditionFailure("a norm without a path")
        }
        return NormWeights(
            kind: spec.kind, eps: spec.eps, weight: weight, bias: try vectors(spec.biases, spec.width))
    }

    mutating func linear(_ spec: LinearSpec) throws -> LinearWeights {
        LinearWeights(weight: Weight(try tensor(spec.weight, [spec.rows, spec.columns])), bias: try bias(spec))
    }

    mutating func bias(_ spec: LinearSpec) throws -> FloatMatrix? {
        try spec.bias.flatMap { try vectors([$0], spec.rows) }
    }
}

// Forward beside backward, the same argument order; gradients are prefixed `d`.
extension KernelContext {
    /// y = the norm over each `width` features of x, both [T, K]; `rstd` receives a reciprocal root for each.
    public func norm(_ x: FloatMatrix, _ norm: NormWeights, into y: FloatMatrix, rstd: FloatMatrix) {
        let (rows, width) = (x.count / norm.weight.columns, norm.weight.columns)
        let (x, y) = (x.reshaped(rows: rows, columns: width), y.reshaped(rows: rows, columns: width))
        let roots = rstd.reshaped(rows: rows, columns: 1)
        switch norm.kind {
        case .rms, .rmsOffset: rmsNorm(x, weight: norm.weight, eps: norm.eps, into: y, rstd: roots)
        case .layer: layerNorm(x, weight: norm.weight, bias: norm.bias, eps: norm.eps, into: y, rstd: roots)
        }
    }

    /// dx += the gradient of `norm` for dy.
    public func normBackward(
        _ x: FloatMatrix, _ norm: NormWeights, rstd: FloatMatrix, _ dy: FloatMatrix, into dx: FloatMatrix
    ) {
        let (rows, width) = (x.count / norm.weight.columns, norm.weight.columns)
        let (x, dy, dx) = (
            x.reshaped(rows: rows, columns: width), dy.reshaped(rows: rows, columns: width),
            dx.reshaped(rows: rows, columns: width)
        )
        let roots = rstd.reshaped(rows: rows, columns: 1)
        switch norm.kind {
        case .rms, .rmsOffset: rmsNormBackward(x, weight: norm.weight, rstd: roots, dy, into: dx)
        case .layer: layerNormBackward(x, weight: norm.weight, rstd: roots, dy, into: dx)
        }
    }
}
