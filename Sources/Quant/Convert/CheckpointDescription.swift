/// What the converter must know of a checkpoint: its tensors, and what the file says about it.
protocol CheckpointDescription: Sendable {
    /// All tensors of the model.
    var expectedTensors: [ExpectedTensor] { get }
    /// The output head is the embedding.
    var isTied: Bool { get }
    /// GGUF's name for the architecture.
    var ggufArchitecture: String { get }
    /// Adds the architecture's own keys.
    func addMetadata(to metadata: inout Metadata)
}

/// Reads the description of a checkpoint of any architecture that can be converted.
///
/// - Throws: a bad-input error that names the file, the architecture or key, and what was expected.
func describeCheckpoint(config: JSONValue, file: String) throws -> any CheckpointDescription {
    let name = try config.arrayIfPresent("architectures", in: file)?.first?.string
    if let name, (CheckpointShape.supportedArchitectures + EncoderShape.supportedArchitectures).contains(name) {
        try refuseQuantized(config, file: file)
    }
    if let name, EncoderShape.supportedArchitectures.contains(name) {
        return try EncoderShape(config: config, architecture: name, file: file)
    }
    return try CheckpointShape(config: config, file: file)
}

private func refuseQuantized(_ config: JSONValue, file: String) throws {
    if let quantization = try config.value("quantization_config", in: file) {
        let method = quantization["quant_method"]?.string ?? "unknown"
        throw MeraserError.badInput(
            "\(file): the checkpoint is quantized already (quant_method \(method)); convert from the original in f16, "
                + "bf16 or f32")
    }
}

extension CheckpointShape: CheckpointDescription {
    var ggufArchitecture: String { "llama" }

    func addMetadata(to metadata: inout Metadata) {
        func set(_ key: String, _ value: Int) { metadata["llama." + key] = .uint32(UInt32(value)) }
        set("context_length", contextLength)
        set("embedding_length", hiddenSize)
        set("block_count", layers)
        set("feed_forward_length", intermediateSize)
        set("attention.head_count", heads)
        set("attention.head_count_kv", keyValueHeads)
        set("attention.key_length", headDimension)
        set("attention.value_length", headDimension)
        metadata["llama.attention.layer_norm_rms_epsilon"] = .float32(Float(normEpsilon))
        if let window = slidingWindow, let value = UInt32(exactly: window) {
            metadata["llama.attention.sliding_window"] = .uint32(value)
        }
        set("rope.dimension_count", headDimension)
        metadata["llama.rope.freq_base"] = .float32(Float(ropeTheta))
        set("vocab_size", vocabularySize)
    }
}
