/// `GemmaForCausalLM`: Llama's layout with norms of 1 + w, embeddings times √hidden and a tied head.
struct GemmaArchitecture: Architecture {
    let name = "GemmaForCausalLM"
    let ggufName = "gemma"

    func spec(_ config: ConfigReader) throws -> DecoderSpec {
        var layout = try LlamaLayout(gemma: config)
        let activation = try config.activation("hidden_act", default: .geluTanh)
        // transformers reads `hidden_act`, as it always has; newer files repeat it.
        guard try config.activation("hidden_activation", default: activation) == activation else {
            throw config.error("hidden_activation", "is another activation than 'hidden_act', which transformers uses")
        }
        layout.activation = activation
        return try layout.spec(self)
    }
}

extension LlamaLayout {
    /// What all Gemmas have.
    init(gemma config: ConfigReader) throws {
        try self.init(config)
        normKind = .rmsOffset
        embeddingScale = Float(Double(hiddenSize).squareRoot())
        isTiedByDefault = true
        defaultHeadDim = 256
        let hasBias = try config.flag("attention_bias")
        attentionBiases = .init(queryKeyValue: hasBias, output: hasBias)
    }
}
