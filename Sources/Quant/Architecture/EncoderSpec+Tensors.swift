extension EncoderSpec {
    /// All tensors of the model, in the order in which a forward pass meets them. The small tables of positions and types
    /// count as vectors: their rows are added to every token.
    public var tensors: [TensorSpec] {
        let prefix = family.rawValue
        var tensors: [TensorSpec] = []
        func vector(_ name: String, _ count: Int) {
            tensors.append(TensorSpec(name: name, shape: [count], role: .vector))
        }
        func norm(_ name: String) {
            vector(name + ".weight", hiddenSize)
            vector(name + ".bias", hiddenSize)
        }
        func affine(_ name: String, _ rows: Int, _ columns: Int, role: TensorRole = .matrix) {
            tensors.append(TensorSpec(name: name + ".weight", shape: [rows, columns], role: role))
            vector(name + ".bias", rows)
        }
        func table(_ name: String, _ rows: Int, role: TensorRole = .vector) {
            let name = "\(prefix).embeddings.\(name)_embeddings.weight"
            tensors.append(TensorSpec(name: name, shape: [rows, hiddenSize], role: role))
        }
        table("word", vocabSize, role: .embedding)
        table("position", maxPositionEmbeddings)
        table("token_type", typeVocabSize)
        norm("\(prefix).embeddings.LayerNorm")
        for layer in 0..<numHiddenLayers {
            let layer = "\(prefix).encoder.layer.\(layer)"
            for name in ["query", "key", "value"] { affine("\(layer).attention.self.\(name)", hiddenSize, hiddenSize) }
            affine("\(layer).attention.output.dense", hiddenSize, hiddenSize)
            norm("\(layer).attention.output.LayerNorm")
            affine("\(layer).intermediate.dense", intermediateSize, hiddenSize)
            affine("\(layer).output.dense", hiddenSize, intermediateSize)
            norm("\(layer).output.LayerNorm")
        }
        affine(family == .bert ? "bert.pooler.dense" : "classifier.dense", hiddenSize, hiddenSize)
        affine(family == .bert ? "classifier" : "classifier.out_proj", labels.count, hiddenSize, role: .head)
        return tensors
    }

    /// Adds GGUF's keys for BERT, which both families have.
    func addMetadata(to metadata: inout Metadata) {
        func set(_ key: String, _ value: Int) { metadata["bert." + key] = .uint32(UInt32(value)) }
        set("context_length", maxPositionEmbeddings)
        set("embedding_length", hiddenSize)
        set("block_count", numHiddenLayers)
        set("feed_forward_length", intermediateSize)
        set("attention.head_count", numAttentionHeads)
        metadata["bert.attention.layer_norm_epsilon"] = .float32(layerNormEps)
        metadata["bert.attention.causal"] = .bool(false)
        set("vocab_size", vocabSize)
    }
}
