import Base
import Kernels
import Quant

/// A linear layer with a bias.
struct AffineWeights {
    let weight: Weight
    let bias: FloatMatrix
}

/// The weights of one encoder layer.
struct EncoderLayerWeights {
    let query: AffineWeights
    let key: AffineWeights
    let value: AffineWeights
    let attentionOutput: AffineWeights
    let attentionNorm: NormWeights
    let intermediate: AffineWeights
    let output: AffineWeights
    let outputNorm: NormWeights
}

/// All weights of a sequence classifier: matrices in place in the mapped file, vectors copied as fp32.
struct EncoderWeights {
    let wordEmbedding: Weight
    let positionEmbedding: Weight
    let typeEmbedding: Weight
    let embeddingNorm: NormWeights
    let layers: [EncoderLayerWeights]
    /// Dense layer before the classifier: BERT's pooler, or the first half of RoBERTa's head.
    let pooler: AffineWeights
    /// [labels, hidden].
    let classifier: AffineWeights
    // Owns the vectors that the views above point into.
    private let vectors: [FloatStorage]

    /// Takes the tensors of a model and checks each against the configuration.
    ///
    /// - Throws: a bad-input error that names file, tensor, the shape it has and the one expected.
    init(store: any WeightStore, spec: EncoderSpec) throws {
        var reader = EncoderTensorReader(store: store, eps: spec.layerNormEps)
        let hidden = spec.hiddenSize
        let prefix = spec.family.rawValue
        let embeddings = "\(prefix).embeddings"
        wordEmbedding = try reader.matrix("\(embeddings).word_embeddings.weight", spec.vocabSize, hidden)
        positionEmbedding = try reader.matrix(
            "\(embeddings).position_embeddings.weight", spec.maxPositionEmbeddings, hidden)
        typeEmbedding = try reader.matrix("\(embeddings).token_type_embeddings.weight", spec.typeVocabSize, hidden)
        embeddingNorm = try reader.norm("\(embeddings).LayerNorm", hidden)
        layers = try (0..<spec.numHiddenLayers).map { index in
            let layer = "\(prefix).encoder.layer.\(index)"
            return EncoderLayerWeights(
                query: try reader.affine("\(layer).attention.self.query", hidden, hidden),
                key: try reader.affine("\(layer).attention.self.key", hidden, hidden),
                value: try reader.affine("\(layer).attention.self.value", hidden, hidden),
                attentionOutput: try reader.affine("\(layer).attention.output.dense", hidden, hidden),
                attentionNorm: try reader.norm("\(layer).attention.output.LayerNorm", hidden),
                intermediate: try reader.affine("\(layer).intermediate.dense", spec.intermediateSize, hidden),
                output: try reader.affine("\(layer).output.dense", hidden, spec.intermediateSize),
                outputNorm: try reader.norm("\(layer).output.LayerNorm", hidden))
        }
        let isBERT = spec.family == .bert
        pooler = try reader.affine(isBERT ? "bert.pooler.dense" : "classifier.dense", hidden, hidden)
        classifier = try reader.affine(isBERT ? "classifier" : "classifier.out_proj", spec.labels.count, hidden)
        vectors = reader.vectors
    }
}

/// Takes tensors of a model and keeps the copies.
private struct EncoderTensorReader {
    let store: any WeightStore
    let eps: Float
    private(set) var vectors: [FloatStorage] = []

    init(store: any WeightStore, eps: Float) {
        self.store = store
        self.eps = eps
    }

    private func tensor(_ name: String, _ shape: [Int]) throws -> TensorView {
        let view = try store.tensor(name)
        guard view.info.shape == shape else {
            throw MeraserError.badInput(
                "\(store.path): tensor '\(name)' has shape \(view.info.shape), expected \(shape) from config.json")
        }
        return view
    }

    func matrix(_ name: String, _ rows: Int, _ columns: Int) throws -> Weight {
        Weight(try tensor(name, [rows, columns]))
    }

    private mutating func vector(_ name: String, _ count: Int) throws -> FloatMatrix {
        let storage = FloatStorage(try tensor(name, [count]).floats(), rows: 1, columns: count)
        vectors.append(storage)
        return storage.matrix
    }

    mutating func affine(_ name: String, _ rows: Int, _ columns: Int) throws -> AffineWeights {
        AffineWeights(weight: try matrix("\(name).weight", rows, columns), bias: try vector("\(name).bias", rows))
    }

    /// `NAME.weight` and `NAME.bias`; checkpoints of TensorFlow's time call them gamma and beta.
    mutating func norm(_ name: String, _ count: Int) throws -> NormWeights {
        let isOld = !store.hasTensor("\(name).weight") && store.hasTensor("\(name).gamma")
        return NormWeights(
            kind: .layer(hasBias: true), eps: eps,
            weight: try vector("\(name).\(isOld ? "gamma" : "weight")", count),
            bias: try vector("\(name).\(isOld ? "beta" : "bias")", count))
    }
}
