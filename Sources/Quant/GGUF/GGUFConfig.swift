import Base

/// config.json of a GGUF model: the shape and hyper-parameters that its metadata and its tensors tell. What they are,
/// the architecture's own file says; this adds what all have.
///
/// Source of keys and defaults: llama.cpp, gguf-py/gguf/constants.py and src/models.
struct GGUFConfig {
    private let architecture: any Architecture
    private var keys: GGUFKeys
    private let tensors: [GGUFTensorInfo]

    /// Throws `badInput` naming an architecture that is not supported, or a mixture of experts.
    init(_ metadata: Metadata, tensors: [GGUFTensorInfo], ropeFactors: [String: [Float]], file: String) throws {
        let name = metadata.string("general.architecture")
        guard let architecture = Architectures.all.first(where: { $0.ggufName == name }) else {
            throw MeraserError.badInput(
                "\(file): general.architecture is \(name.map(quoted) ?? "missing"); supported: "
                    + Architectures.ggufNames.joined(separator: ", "))
        }
        self.architecture = architecture
        self.tensors = tensors
        keys = try GGUFKeys(
            metadata, architecture: architecture.ggufName, tensorNames: Set(tensors.map(\.name)),
            ropeFactors: ropeFactors, file: file)
    }

    /// What Transformers' config.json would say.
    ///
    /// - Parameter vocabulary: tells the special tokens.
    /// - Throws: a bad-input error naming the key that is missing, malformed, not supported, or contradicts the others.
    func json(vocabulary: GGUFVocabulary?) throws -> JSONValue {
        let (json, keys) = try read(vocabulary: vocabulary)
        try keys.refuseUnread()
        return json
    }

    /// The keys under the architecture's name that it does not ask for. Throws as `json`, but for those.
    func unaskedKeys() throws -> Set<String> { try read(vocabulary: nil).keys.unread }

    private func read(vocabulary: GGUFVocabulary?) throws -> (json: JSONValue, keys: GGUFKeys) {
        var keys = keys
        var members: [String: JSONValue] = [
            "architectures": .array([.text(architecture.name)]), "initializer_range": .number(0.02),
            "tie_word_embeddings": .bool(!keys.hasTensor("output.weight")), "torch_dtype": .text(elementType),
            "use_cache": .bool(true),
        ]
        members.merge(try architecture.config(&keys)) { _, own in own }
        members["vocab_size"] = .integer(try vocabularySize(vocabulary, &keys))
        if let vocabulary {
            members["bos_token_id"] = vocabulary.bos.map { .integer($0) } ?? .null
            members["eos_token_id"] = vocabulary.eos.map { .integer($0) } ?? .null
            members["pad_token_id"] = vocabulary.padding.map { .integer($0) } ?? .null
        }
        return (.object(JSONObject(members.sorted { $0.key < $1.key }.map { (key: $0.key, value: $0.value) })), keys)
    }

    /// Rows of the embedding.
    private func vocabularySize(_ vocabulary: GGUFVocabulary?, _ keys: inout GGUFKeys) throws -> Int {
        guard let embedding = tensors.first(where: { $0.name == "token_embd.weight" }), embedding.dimensions.count == 2
        else { throw MeraserError.badInput("\(keys.file): there is no matrix token_embd.weight") }
        let rows = embedding.dimensions[1]
        let claimed = try keys.count("vocab_size", default: rows)
        guard claimed == rows else {
            throw keys.bad("vocab_size", "is \(claimed), but token_embd.weight has \(rows) rows")
        }
        if let count = vocabulary?.tokens.count, count > rows {
            throw MeraserError.badInput(
                "\(keys.file): tokenizer.ggml.tokens has \(count) tokens, but token_embd.weight has \(rows) rows")
        }
        return rows
    }

    /// What Transformers loads the weights as: the one type that all matrices have, f32 for quantized and mixed ones.
    private var elementType: String {
        switch Set(tensors.filter { $0.dimensions.count > 1 }.map(\.typeID)) {
        case [TensorType.f16.rawValue]: "float16"
        case [TensorType.bf16.rawValue]: "bfloat16"
        default: "float32"
        }
    }
}
