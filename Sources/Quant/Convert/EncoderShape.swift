/// What config.json says about the shapes of a BERT or RoBERTa sequence classifier: enough to know every tensor that must
/// be there. The full configuration is Model's business.
struct EncoderShape: Sendable, Equatable {
    let architecture: String
    let hiddenSize: Int
    let intermediateSize: Int
    let layers: Int
    let heads: Int
    let vocabularySize: Int
    let positions: Int
    let types: Int
    let normEpsilon: Double
    let labels: Int

    static let supportedArchitectures = ["BertForSequenceClassification", "RobertaForSequenceClassification"]

    /// Reads and bounds the values. Errors (`badInput`) name the file, the key, the value and what was expected.
    init(config: JSONValue, architecture: String, file: String) throws {
        func bounded(_ key: String, _ limit: Int, default fallback: Int? = nil) throws -> Int {
            let value = try config.intIfPresent(key, in: file) ?? fallback ?? config.int(key, in: file)
            guard (1...limit).contains(value) else {
                throw MeraserError.badInput("\(file): '\(key)' is \(value), expected 1 to \(limit)")
            }
            return value
        }
        self.architecture = architecture
        hiddenSize = try bounded("hidden_size", 65_536)
        intermediateSize = try bounded("intermediate_size", 1_048_576)
        layers = try bounded("num_hidden_layers", 1024)
        heads = try bounded("num_attention_heads", 1024)
        vocabularySize = try bounded("vocab_size", 4_194_304)
        positions = try bounded("max_position_embeddings", 1_048_576, default: 512)
        types = try bounded("type_vocab_size", 1024, default: 2)
        normEpsilon = try config.doubleIfPresent("layer_norm_eps", in: file) ?? 1e-12
        guard normEpsilon.isFinite, (0...1).contains(normEpsilon) else {
            throw MeraserError.badInput("\(file): 'layer_norm_eps' is \(normEpsilon), expected 0 to 1")
        }
        let named = try config.objectIfPresent("id2label", in: file)?.count
        labels = try named ?? bounded("num_labels", 4096, default: 2)
        guard (2...4096).contains(labels) else {
            throw MeraserError.badInput("\(file): there are \(labels) labels, expected 2 to 4096")
        }
    }
}

extension EncoderShape: CheckpointDescription {
    var isTied: Bool { false }

    /// Both families have it.
    var ggufArchitecture: String { "bert" }

    /// All tensors of the model, in the order in which a forward pass meets them.
    var expectedTensors: [ExpectedTensor] {
        let isBERT = architecture == "BertForSequenceClassification"
        let prefix = isBERT ? "bert" : "roberta"
        var tensors: [ExpectedTensor] = []
        func vector(_ name: String, _ count: Int) {
            tensors.append(ExpectedTensor(name: name, shape: [count], role: .vector))
        }
        func norm(_ name: String) {
            vector(name + ".weight", hiddenSize)
            vector(name + ".bias", hiddenSize)
        }
        func affine(_ name: String, _ rows: Int, _ columns: Int, role: TensorRole = .matrix) {
            tensors.append(ExpectedTensor(name: name + ".weight", shape: [rows, columns], role: role))
            vector(name + ".bias", rows)
        }
        /// The small tables stay as they are: their rows are added to every token.
        func table(_ name: String, _ rows: Int, role: TensorRole = .vector) {
            let name = "\(prefix).embeddings.\(name)_embeddings.weight"
            tensors.append(ExpectedTensor(name: name, shape: [rows, hiddenSize], role: role))
        }
        table("word", vocabularySize, role: .embedding)
        table("position", positions)
        table("token_type", types)
        norm("\(prefix).embeddings.LayerNorm")
        for layer in 0..<layers {
            let layer = "\(prefix).encoder.layer.\(layer)"
            for name in ["query", "key", "value"] { affine("\(layer).attention.self.\(name)", hiddenSize, hiddenSize) }
            affine("\(layer).attention.output.dense", hiddenSize, hiddenSize)
            norm("\(layer).attention.output.LayerNorm")
            affine("\(layer).intermediate.dense", intermediateSize, hiddenSize)
            affine("\(layer).output.dense", hiddenSize, intermediateSize)
            norm("\(layer).output.LayerNorm")
        }
        affine(isBERT ? "bert.pooler.dense" : "classifier.dense", hiddenSize, hiddenSize)
        affine(isBERT ? "classifier" : "classifier.out_proj", labels, hiddenSize, role: .head)
        return tensors
    }

    /// GGUF's keys for BERT.
    func addMetadata(to metadata: inout Metadata) {
        func set(_ key: String, _ value: Int) { metadata["bert." + key] = .uint32(UInt32(value)) }
        set("context_length", positions)
        set("embedding_length", hiddenSize)
        set("block_count", layers)
        set("feed_forward_length", intermediateSize)
        set("attention.head_count", heads)
        metadata["bert.attention.layer_norm_epsilon"] = .float32(Float(normEpsilon))
        metadata["bert.attention.causal"] = .bool(false)
        set("vocab_size", vocabularySize)
    }
}
