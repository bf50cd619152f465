extension DecoderSpec {
    /// Adds GGUF's keys of the architecture, `llama.context_length` and so on. The layers are described by the lowest.
    func addMetadata(to metadata: inout Metadata) {
        let (attention, mlp) = (layers[0].attention, layers[0].mlp)
        let window = layers.map(\.attention.window).max() ?? 0
        func set(_ key: String, _ value: Int) {
            metadata["\(ggufArchitecture).\(key)"] =
                UInt32(exactly: value).map { .uint32($0) } ?? .uint64(UInt64(value))
        }
        func set(_ key: String, _ value: Float) { metadata["\(ggufArchitecture).\(key)"] = .float32(value) }
        set("context_length", maxPositionEmbeddings)
        set("embedding_length", hiddenSize)
        set("block_count", layers.count)
        set("feed_forward_length", mlp.width)
        set("attention.head_count", attention.heads)
        set("attention.head_count_kv", attention.keyValueHeads)
        set("attention.key_length", attention.headDim)
        set("attention.value_length", attention.headDim)
        set("attention.layer_norm_rms_epsilon", layers[0].inputNorm.eps)
        if window > 0 { set("attention.sliding_window", window) }
        set("rope.dimension_count", attention.rotary.width)
        set("rope.freq_base", Float(attention.rotary.theta))
        set("vocab_size", vocabSize)
    }
}
