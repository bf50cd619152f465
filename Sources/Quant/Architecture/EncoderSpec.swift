import Base

/// What a BERT or RoBERTa sequence classifier is, from Hugging Face's `config.json`: the counterpart of `DecoderSpec`.
public struct EncoderSpec: Sendable, Equatable {
    /// What differs between the two, beside the tokenizer.
    public enum Family: String, Sendable {
        /// Positions from 0; tanh pooler, then the classifier.
        case bert
        /// Positions from `pad_token_id` + 1; the classifier has a tanh layer of its own.
        case roberta
    }

    /// bert or roberta.
    public let family: Family
    /// `hidden_size`.
    public let hiddenSize: Int
    /// `intermediate_size`.
    public let intermediateSize: Int
    /// `num_hidden_layers`.
    public let numHiddenLayers: Int
    /// `num_attention_heads`.
    public let numAttentionHeads: Int
    /// `vocab_size`.
    public let vocabSize: Int
    /// `max_position_embeddings`: rows of the position table.
    public let maxPositionEmbeddings: Int
    /// `type_vocab_size`: rows of the table of token types.
    public let typeVocabSize: Int
    /// `layer_norm_eps`.
    public let layerNormEps: Float
    /// `hidden_act`.
    public let activation: Activation
    /// `pad_token_id`.
    public let padTokenID: Int
    /// Names of the classes by id: `id2label`, or `LABEL_0`, … for as many as `num_labels` says (2).
    public let labels: [String]

    /// Tokens of the longest text, those around it included.
    public var maxTokens: Int {
        family == .bert ? maxPositionEmbeddings : maxPositionEmbeddings - padTokenID - 1
    }
}

extension EncoderSpec {
    /// Names in config.json's `architectures`.
    public static let supportedArchitectures = ["BertForSequenceClassification", "RobertaForSequenceClassification"]
    private static let mostLabels = 4096

    /// Parses and checks a `config.json`; every number is bounded before anything is allocated from it.
    ///
    /// - Throws: a bad-input error that names the file, the key, what it holds and what was expected.
    public init(json bytes: [UInt8], file: String) throws {
        try self.init(config: ConfigReader(json: try JSONValue.parse(bytes, file: file), file: file))
    }

    /// The spec of the model that lies at `store`.
    ///
    /// - Throws: `badInput` where there is no config.json, and as the initialiser above.
    public init(of store: any WeightStore) throws { try self.init(config: ConfigReader(of: store)) }

    init(config reader: ConfigReader) throws {
        let name = try reader.architecture()
        guard let name, Self.supportedArchitectures.contains(name) else {
            throw reader.unknownArchitecture(name, supported: Self.supportedArchitectures)
        }
        try reader.refuseQuantized()
        family = name == "BertForSequenceClassification" ? .bert : .roberta
        hiddenSize = try reader.int("hidden_size", 1...65_536, default: 768)
        intermediateSize = try reader.int("intermediate_size", 1...1_048_576, default: 3072)
        numHiddenLayers = try reader.int("num_hidden_layers", 1...1_024, default: 12)
        numAttentionHeads = try reader.int("num_attention_heads", 1...1_024, default: 12)
        vocabSize = try reader.int("vocab_size", 1...4_194_304, default: family == .bert ? 30_522 : 50_265)
        maxPositionEmbeddings = try reader.int("max_position_embeddings", 1...1_048_576, default: 512)
        typeVocabSize = try reader.int("type_vocab_size", 1...1_024, default: 2)
        layerNormEps = Float(try reader.number("layer_norm_eps", 0...1, default: 1e-12))
        padTokenID = try reader.int("pad_token_id", 0...vocabSize - 1, default: family == .bert ? 0 : 1)
        activation = try reader.activation()
        labels = try reader.labels(most: Self.mostLabels)
        try reader.refuseUnsupportedEncoders()

        guard hiddenSize % numAttentionHeads == 0, hiddenSize / numAttentionHeads <= 256 else {
            throw reader.error(
                "num_attention_heads",
                "is \(numAttentionHeads), expected a divisor of hidden_size \(hiddenSize) with heads of at most 256")
        }
        guard maxTokens >= 2 else {
            throw reader.error(
                "max_position_embeddings", "is \(maxPositionEmbeddings), which leaves no room for a text")
        }
    }
}

extension ConfigReader {
    fileprivate func activation() throws -> Activation {
        switch try json.stringIfPresent("hidden_act", in: file) ?? "gelu" {
        case "gelu": return .gelu
        case "gelu_new", "gelu_fast", "gelu_pytorch_tanh": return .geluTanh
        case "relu": return .relu
        case let name: throw error("hidden_act", "is '\(name)', supported: gelu, gelu_new, relu")
        }
    }

    /// `id2label` has every id from 0 on exactly once; names differ.
    fileprivate func labels(most: Int) throws -> [String] {
        guard let map = try json.objectIfPresent("id2label", in: file) else {
            return (0..<(try int("num_labels", 2...most, default: 2))).map { "LABEL_\($0)" }
        }
        let count = map.members.count
        guard (2...most).contains(count) else {
            throw error("id2label", "has \(count) labels, expected 2 to \(most)")
        }
        var labels = [String?](repeating: nil, count: count)
        for (key, value) in map.members {
            guard let id = Int(key.string), labels.indices.contains(id), labels[id] == nil, let name = value.string
            else {
                throw error("id2label", "'\(key.string)' is not an id from 0 to \(count - 1) with a name")
            }
            labels[id] = name
        }
        let names = labels.compactMap { $0 }
        guard Set(names.map { Array($0.utf8) }).count == count else { throw error("id2label", "has a name twice") }
        return names
    }

    fileprivate func refuseUnsupportedEncoders() throws {
        for key in ["is_decoder", "add_cross_attention"] where try json.boolIfPresent(key, in: file) == true {
            throw error(key, "is true, expected an encoder")
        }
        let positions = try json.stringIfPresent("position_embedding_type", in: file)
        if let positions, positions != "absolute" {
            throw error("position_embedding_type", "is '\(positions)', supported: absolute")
        }
        let problem = try json.stringIfPresent("problem_type", in: file)
        if let problem, problem != "single_label_classification" {
            throw error("problem_type", "is '\(problem)', supported: single_label_classification")
        }
    }
}
