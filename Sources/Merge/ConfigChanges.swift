import Base
import Quant

/// What a model's config.json says otherwise when its weights are written anew: it follows the tensors that are written.
struct ConfigChanges: Sendable {
    /// The layer of a model that a layer of the result comes from.
    struct Layer: Sendable, Equatable {
        /// That model's config.json; nil if it has none.
        let config: JSONValue?
        /// The model.
        let path: String
        /// The layer's number in it.
        let number: Int
    }

    /// The types of the weights.
    let types: Set<TensorType>
    /// Rows of the embedding; nil: there is none.
    let vocabulary: Int?
    /// True if the weights have an output head of their own.
    let hasHead: Bool
    /// Where each layer comes from; nil: all are the model's own.
    let layers: [Layer]?
    /// Other members; a key that is not there is added.
    let members: [(key: String, value: JSONValue)]

    /// Those of a checkpoint with tensors of those names and shapes.
    init(
        types: Set<TensorType>, tensors: [(name: String, shape: [Int])], layers: [Layer]? = nil,
        members: [(key: String, value: JSONValue)] = []
    ) {
        self.types = types
        vocabulary = ModelTensors.vocabulary(tensors)
        hasHead = ModelTensors.hasHead(tensors.map(\.name))
        self.layers = layers
        self.members = members
    }

    /// The keys under which architectures keep their number of layers.
    private static let layerCountKeys = ["num_hidden_layers", "n_layer", "num_layers", "n_layers"]
    /// Lists with one entry a layer.
    private static let layerListKeys = [
        "layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type", "attn_type_list", "block_configs",
        "num_query_heads", "num_key_value_heads", "ffn_multipliers",
    ]
    /// Keys that count layers in another way, which nothing here can renumber.
    private static let layerNumberKeys = [
        "sliding_window_pattern", "max_window_layers", "mlp_only_layers", "full_attn_idxs", "full_attention_interval",
        "no_rope_layer_interval", "cross_attention_layers", "global_attn_every_n_layers", "first_k_dense_replace",
        "decoder_sparse_step", "attn_layer_period", "attn_layer_offset", "expert_layer_period", "expert_layer_offset",
    ]
    /// How the weights were quantized, which they no longer are.
    private static let quantizationKeys = ["quantization_config", "compression_config"]

    /// config.json with these changes, and what the user should know about them. Errors (`badInput`): it is missing or no
    /// JSON object, or a list with an entry a layer lacks one.
    func applied(to source: any TextFileSource) throws -> (text: [UInt8], warnings: [String]) {
        let (json, file) = try source.config()
        guard let object = json.object else {
            throw MeraserError.badInput("\(file) holds no JSON object")
        }
        var config = ConfigText(members: object.members.map { (key: $0.key.string, value: $0.value) })
        var warnings: [String] = []
        for key in Self.quantizationKeys where config[key] != nil {
            config.remove(key)
            warnings.append("'\(key)' left out of config.json: the weights are written as plain numbers")
        }
        setType(&config)
        if let vocabulary, config["vocab_size"] != nil { config["vocab_size"] = .integer(vocabulary) }
        if hasHead, config["tie_word_embeddings"] != .bool(false) {
            if config["tie_word_embeddings"] == .bool(true) {
                warnings.append(
                    "the result has an output head of its own: its config.json says tie_word_embeddings: false")
            }
            config["tie_word_embeddings"] = .bool(false)
        }
        if let layers { warnings += try renumber(layers, &config, file: file) }
        for (key, value) in members { config[key] = value }
        return (Array((config.json.serialized(indent: 2) + "\n").utf8), warnings)
    }

    /// One type is said as it is; of several the one that config.json says, if it is among them, else f32, which holds all.
    private func setType(_ config: inout ConfigText) {
        let names: [TensorType: String] = [.f32: "float32", .f16: "float16", .bf16: "bfloat16"]
        // transformers 5 calls the key `dtype`, earlier ones `torch_dtype`.
        let keys = config.keys(among: ["dtype", "torch_dtype"])
        let said = Set(keys.compactMap { config[$0]?.string })
        if types.count > 1, said.count == 1, types.contains(where: { names[$0] == said.first }) { return }
        guard let type = types.count > 1 ? .f32 : types.first, let name = names[type] else { return }
        for key in keys.isEmpty ? ["torch_dtype"] : keys { config[key] = .text(name) }
    }

    /// Sets the number of layers and the lists with an entry a layer. Nothing changes where all layers are in place.
    private func renumber(_ layers: [Layer], _ config: inout ConfigText, file: String) throws -> [String] {
        let keys = config.keys(among: Self.layerCountKeys)
        let isMoved = layers.indices.contains { layers[$0].number != $0 }
        guard !layers.isEmpty, isMoved || keys.first.map({ config[$0]?.int }) != layers.count else { return [] }
        for key in keys.isEmpty ? [Self.layerCountKeys[0]] : keys { config[key] = .integer(layers.count) }
        for key in Self.layerListKeys where config[key]?.array != nil {
            config[key] = .array(
                try layers.map { layer in
                    guard let list = layer.config?[key]?.array, list.indices.contains(layer.number) else {
                        throw MeraserError.badInput(
                            "\(file) has '\(key)', but that of \(layer.path) has no entry for its layer \(layer.number)"
                        )
                    }
                    return list[layer.number]
                })
        }
        // An empty list and a switch that is off count nothing.
        let hasWindow = config["use_sliding_window"]?.bool != false
        let counting = config.keys(among: Self.layerNumberKeys) { key, value in
            !value.isNull && value.array?.isEmpty != true && (key != "max_window_layers" || hasWindow)
        }
        return counting.map { "config.json's '\($0)' counts layers, which are numbered anew: check it" }
    }
}

/// The members of a config.json in order.
private struct ConfigText {
    private(set) var members: [(key: String, value: JSONValue)]

    init(members: [(key: String, value: JSONValue)]) { self.members = members }

    var json: JSONValue { .object(JSONObject(members)) }

    subscript(key: String) -> JSONValue? {
        get { members.first { $0.key == key }?.value }
        set {
            let value = newValue ?? .null
            if let index = members.firstIndex(where: { $0.key == key }) {
                members[index].value = value
            } else {
                members.append((key: key, value: value))
            }
        }
    }

    /// Those of `names` that are there, with values that `fit`.
    func keys(among names: [String], fit: (String, JSONValue) -> Bool = { _, _ in true }) -> [String] {
        names.filter { name in self[name].map { fit(name, $0) } ?? false }
    }

    mutating func remove(_ key: String) { members.removeAll { $0.key == key } }
}
