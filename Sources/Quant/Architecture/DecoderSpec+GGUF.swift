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
        switch finalNorm.kind {
        case .rms, .rmsOffset: set("attention.layer_norm_rms_epsilon", finalNorm.eps)
        case .layer: set("attention.layer_norm_epsilon", finalNorm.eps)
        }
        if window > 0 { set("attention.sliding_window", window) }
        // The first layer that has positions: those of a layer type apart are in config.json, which decides.
        if let rotary = layers.lazy.compactMap(\.attention.rotary).first {
            set("rope.dimension_count", rotary.width)
            set("rope.freq_base", Float(rotary.theta))
        }
        set("vocab_size", vocabSize)
    }
}
