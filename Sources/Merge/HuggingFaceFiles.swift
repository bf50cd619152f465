import Quant

/// The Hugging Face files that are copied as they are; config.json is written anew.
private let verbatimFileNames = [
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "tokenizer.model", "vocab.txt", "vocab.json", "merges.txt",
]

/// The keys under which architectures keep their number of layers.
private let layerCountKeys = ["num_hidden_layers", "n_layer", "num_layers", "n_layers"]

/// What of a model's config.json changes when its weights are written anew.
struct ConfigChanges {
    /// The type of all weights; nil leaves what is there.
    var dtype: TensorType?
    /// The number of layers; nil leaves what is there.
    var layerCount: Int?
    /// Other members; a key that is not there is added.
    var members: [(key: String, value: JSONValue)] = []
}

/// Writes config.json with changes, and the other files of a Hugging Face folder as they are.
/// Errors: `badInput` where the model has no config.json, `runtime` for a full disk.
func writeHuggingFaceFiles(of store: any WeightStore, folder: String, changes: ConfigChanges) throws {
    for name in verbatimFileNames {
        if let bytes = try store.textFile(name) { try writeFileAtomically(path: "\(folder)/\(name)", bytes) }
    }
    try writeFileAtomically(path: "\(folder)/config.json", try changedConfig(of: store, changes))
}

/// The text of config.json with those changes.
func changedConfig(of store: any WeightStore, _ changes: ConfigChanges) throws -> [UInt8] {
    guard let bytes = try store.textFile("config.json") else {
        throw MeraserError.badInput("\(store.path) has no config.json, which a Hugging Face folder needs")
    }
    let file = "\(store.path): config.json"
    guard let object = try JSONValue.parse(bytes, file: file).object else {
        throw MeraserError.badInput("\(file) holds no JSON object")
    }
    var members = object.members.map { (key: $0.key.string, value: $0.value) }
    if let dtype = changes.dtype {
        let names: [TensorType: String] = [.f32: "float32", .f16: "float16", .bf16: "bfloat16"]
        let name = JSONValue.text(names[dtype] ?? dtype.name)
        // transformers 5 calls the key `dtype`, earlier ones `torch_dtype`.
        let hasKey = object["dtype"] != nil || object["torch_dtype"] != nil
        for i in members.indices where ["dtype", "torch_dtype"].contains(members[i].key) { members[i].value = name }
        if !hasKey { members.append((key: "torch_dtype", value: name)) }
    }
    if let count = changes.layerCount {
        for i in members.indices where layerCountKeys.contains(members[i].key) { members[i].value = .integer(count) }
    }
    for (key, value) in changes.members {
        if let index = members.firstIndex(where: { $0.key == key }) {
            members[index].value = value
        } else {
            members.append((key: key, value: value))
        }
    }
    return Array((JSONValue.object(JSONObject(members)).serialized(indent: 2) + "\n").utf8)
}
