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

/// The frozen weights of one decoder layer.
public struct LayerWeights {
    /// In front of the attention, [hidden].
    public let inputNorm: FloatMatrix
    /// In front of the MLP, [hidden].
    public let postAttentionNorm: FloatMatrix
    /// Over each head of the queries, [D]; nil where the model has none.
    public let queryNorm: FloatMatrix?
    /// Over each head of the keys, [D]; nil where the model has none.
    public let keyNorm: FloatMatrix?
    private let projections: [LinearWeights]

    /// The weights of one projection.
    public subscript(projection: Projection) -> LinearWeights { projections[projection.index] }

    fileprivate init(_ spec: LayerSpec, _ reader: inout TensorReader) throws {
        inputNorm = try reader.norm(spec.inputNorm)
        postAttentionNorm = try reader.norm(spec.postAttentionNorm)
        queryNorm = try spec.attention.qNorm.map { try reader.norm($0) }
        keyNorm = try spec.attention.kNorm.map { try reader.norm($0) }
        projections = try Projection.allCases.map { try reader.linear(spec[$0]) }
    }
}

/// All weights of a model, used in place in the mapped file; vectors are copied as fp32.
///
/// Immutable, so several threads may read it (unchecked: the matrices point into memory that nobody writes any more and
/// that this value keeps alive).
public struct ModelWeights: @unchecked Sendable {
    /// [V, hidden].
    public let embedding: Weight
    /// [V, hidden], or the embedding where they are tied.
    public let head: Weight
    /// [hidden].
    public let finalNorm: FloatMatrix
    /// Decoder layers.
    public let layers: [LayerWeights]
    // Owns the vectors that the views above point into.
    private let vectors: [FloatStorage]

    /// Takes the tensors of a model file and checks each against the spec.
    ///
    /// - Throws: a bad-input error that names file, tensor, the shape it has and the one expected.
    public init(store: any WeightStore, spec: DecoderSpec) throws {
        var reader = TensorReader(store: store)
        embedding = Weight(try reader.tensor(spec.embedding, spec.embeddingShape))
        head = spec.head.isTied ? embedding : try reader.linear(spec.head.linear).weight
        finalNorm = try reader.norm(spec.finalNorm)
        layers = try spec.layers.map { try LayerWeights($0, &reader) }
        vectors = reader.vectors
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

    private mutating func vector(_ name: String, _ count: Int) throws -> FloatMatrix {
        let storage = FloatStorage(try tensor(name, [count]).floats(), rows: 1, columns: count)
        vectors.append(storage)
        return storage.matrix
    }

    mutating func norm(_ spec: NormSpec) throws -> FloatMatrix { try vector(spec.name, spec.width) }

    mutating func linear(_ spec: LinearSpec) throws -> LinearWeights {
        LinearWeights(
            weight: Weight(try tensor(spec.weight, [spec.rows, spec.columns])),
            bias: try spec.bias.map { try vector($0, spec.rows) })
    }
}
