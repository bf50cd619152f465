import Kernels
import Quant

/// The frozen weights of one decoder layer.
public struct LayerWeights {
    /// `input_layernorm.weight` [hidden].
    public let inputNorm: FloatMatrix
    /// `post_attention_layernorm.weight` [hidden].
    public let postAttentionNorm: FloatMatrix
    private let projections: [Weight]

    /// The weight of one projection.
    public subscript(projection: Projection) -> Weight { projections[projection.index] }

    fileprivate init(inputNorm: FloatMatrix, postAttentionNorm: FloatMatrix, projections: [Weight]) {
        self.inputNorm = inputNorm
        self.postAttentionNorm = postAttentionNorm
        self.projections = projections
    }
}

/// All weights of a model, used in place in the mapped file; norms are copied as fp32.
public struct ModelWeights {
    /// `model.embed_tokens.weight` [V, hidden].
    public let embedding: Weight
    /// `lm_head.weight` [V, hidden], or the embedding where they are tied.
    public let head: Weight
    /// `model.norm.weight` [hidden].
    public let finalNorm: FloatMatrix
    /// Decoder layers.
    public let layers: [LayerWeights]
    // Owns the norms that the views above point into.
    private let norms: [FloatStorage]

    /// Takes the tensors of a model file and checks each against the configuration.
    ///
    /// - Throws: a bad-input error that names file, tensor, the shape it has and the one expected.
    public init(store: any WeightStore, config: ModelConfig) throws {
        var norms: [FloatStorage] = []
        func tensor(_ name: String, _ shape: [Int]) throws -> TensorView {
            let view = try store.tensor(name)
            guard view.info.shape == shape else {
                throw MeraserError.badInput(
                    "\(store.path): tensor '\(name)' has shape \(view.info.shape), expected \(shape) from config.json")
            }
            return view
        }
        func norm(_ name: String) throws -> FloatMatrix {
            let storage = FloatStorage(
                try tensor(name, [config.hiddenSize]).floats(), rows: 1, columns: config.hiddenSize)
            norms.append(storage)
            return storage.matrix
        }
        let vocabularyShape = [config.vocabSize, config.hiddenSize]
        embedding = Weight(try tensor("model.embed_tokens.weight", vocabularyShape))
        head =
            config.tieWordEmbeddings
            ? embedding : Weight(try tensor("lm_head.weight", vocabularyShape))
        finalNorm = try norm("model.norm.weight")
        layers = try (0..<config.numHiddenLayers).map { layer in
            let prefix = "model.layers.\(layer)"
            return LayerWeights(
                inputNorm: try norm("\(prefix).input_layernorm.weight"),
                postAttentionNorm: try norm("\(prefix).post_attention_layernorm.weight"),
                projections: try Projection.allCases.map { projection in
                    let shape = config.shape(of: projection)
                    return Weight(
                        try tensor("\(prefix).\(projection.modulePath).weight", [shape.rows, shape.columns]))
                })
        }
        self.norms = norms
    }
}
