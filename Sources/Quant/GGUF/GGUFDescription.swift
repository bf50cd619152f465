import Base

/// What a GGUF file says of a model: metadata and factors of rotary frequencies.
///
/// There is one description of GGUF's keys, and it is the reader's: every key that the model could have is offered,
/// those that the architecture asks for are written, and what the reader then makes of the file must be the model.
struct GGUFDescription: Sendable {
    /// The architecture's keys, and `general.architecture`.
    let metadata: Metadata
    /// Tensors beside the model's own.
    let vectors: [(name: String, values: [Float])]
    /// What llama.cpp computes otherwise, in a line each.
    let warnings: [String]

    /// Describes a model whose tensors are those; `path` is its name for errors.
    ///
    /// Errors (`badInput`): an architecture that llama.cpp does not run, or a switch that GGUF has no key for.
    init(_ spec: DecoderSpec, tensors: [TensorDeclaration], path: String) throws {
        try spec.requireLlamaCpp(path: path)
        let vectors = spec.ggufFactors
        let infos = try GGUFTensorPlan(tensors, layout: GGUFLayout(spec), vectors: vectors, path: path).infos
        var metadata = Metadata()
        metadata["general.architecture"] = .string(spec.ggufArchitecture)
        spec.addGGUFKeys(to: &metadata)
        func config() throws -> GGUFConfig {
            try GGUFConfig(
                metadata, tensors: infos,
                ropeFactors: Dictionary(vectors.map { ($0.name, $0.values) }, uniquingKeysWith: { $1 }),
                file: "\(path) as a GGUF file")
        }
        for key in try config().unaskedKeys() { metadata["\(spec.ggufArchitecture).\(key)"] = nil }
        let read = try DecoderSpec(
            config: ConfigReader(json: try config().json(vocabulary: nil), file: "\(path) as a GGUF file"))
        if let difference = spec.difference(from: read) {
            throw MeraserError.badInput(
                "\(path): a GGUF file of \(spec.ggufArchitecture) cannot say this model's \(difference); llama.cpp would "
                    + "compute something else")
        }
        let window = spec.layers.map(\.attention.window).max() ?? 0
        let keepsWindows =
            spec.llamaCpp == .whole
            && spec.layers.map(\.attention.window) == read.layers.map(\.attention.window)
        warnings =
            window == 0 || keepsWindows
            ? []
            : [
                "llama.cpp has no sliding window for \(spec.architecture): in texts of more than \(window) tokens it sees what "
                    + "the model does not"
            ]
        (self.metadata, self.vectors) = (metadata, vectors)
    }
}

extension DecoderSpec {
    /// What llama.cpp makes of the architecture's files.
    fileprivate var llamaCpp: LlamaCppSupport {
        Architectures.all.first { $0.name == architecture }?.llamaCpp ?? .none
    }

    /// Throws `badInput` for an architecture that llama.cpp does not run; `path` is the model's name.
    func requireLlamaCpp(path: String) throws {
        if llamaCpp == .none { throw MeraserError.badInput("\(path): llama.cpp does not run \(architecture)") }
    }

    /// Adds every key under the architecture's name that this model has a value for, whether its architecture has it or
    /// not.
    fileprivate func addGGUFKeys(to metadata: inout Metadata) {
        addMetadata(to: &metadata)
        func set(_ key: String, _ value: MetadataValue?) {
            if let value { metadata["\(ggufArchitecture).\(key)"] = value }
        }
        func set(_ key: String, _ value: Float?) { set(key, value.map { .float32($0) }) }
        let attention = layers[0].attention
        set("attention.scale", attention.scale)
        set("attn_logit_softcapping", attention.softCap)
        set("embedding_scale", embedding.scale)
        switch head.output {
        case .plain: break
        case .scaled(let factor): set("logit_scale", 1 / factor)
        case .softCapped(let cap): set("final_logit_softcapping", cap)
        }
        if case .sequential(_, _, let multiplier) = layers[0].wiring { set("residual_scale", multiplier) }
        set("use_parallel_residual", .bool(layers[0].wiring.isParallel))
        let isSliding = layers.map { $0.attention.window > 0 }
        if isSliding.contains(true) {
            set("attention.sliding_window_pattern", Self.pattern(isSliding))
            set("rope.freq_base_swa", layers.first { $0.attention.window > 0 }?.rotary.map { Float($0.theta) })
        }
        guard let rotary = mainRotary else { return }
        set("rope.freq_base", Float(rotary.theta))
        addScaling(rotary.scaling, set)
    }

    /// Keys of the scaling of rotary frequencies.
    private func addScaling(_ scaling: RotaryScaling, _ set: (String, MetadataValue?) -> Void) {
        func context(_ count: Int) { set("rope.scaling.original_context_length", .uint32(UInt32(clamping: count))) }
        func type(_ name: String, _ factor: Double? = nil) {
            set("rope.scaling.type", .string(name))
            set("rope.scaling.factor", factor.map { .float32(Float($0)) })
        }
        switch scaling {
        case .none: break
        case .linear(let factor):
            type("linear", factor)
            // The positions that it was trained on, which the factor stretches.
            set("context_length", .uint32(UInt32(clamping: Int((Double(maxPositionEmbeddings) / factor).rounded()))))
        case .llama3(_, _, _, let original): context(Int(original))
        case .dynamic(let factor, _): type("dynamic", factor)
        case .yarn(let factor, _, _, let attentionFactor, let origin):
            type("yarn", factor)
            context(origin.context)
            if attentionFactor != origin.attentionFactor {
                set("rope.scaling.yarn_attn_factor", .float32(Float(attentionFactor)))
            }
            set("rope.scaling.yarn_beta_fast", .float32(Float(origin.betaFast)))
            set("rope.scaling.yarn_beta_slow", .float32(Float(origin.betaSlow)))
        case .longrope(_, _, let original, let attentionFactor):
            type("longrope")
            context(original)
            set("rope.scaling.attn_factor", .float32(Float(attentionFactor)))
        }
    }

    /// The tensors that say a scaling for which there are no keys.
    fileprivate var ggufFactors: [(name: String, values: [Float])] {
        guard let rotary = mainRotary else { return [] }
        switch rotary.scaling {
        case .llama3(let factor, let low, let high, let original):
            let factors = GGUFKeys.llama3Factors(
                pairs: rotary.width / 2, theta: rotary.theta, factor: factor, low: low, high: high, original: original)
            return [("rope_freqs.weight", factors.map { Float($0) })]
        case .longrope(let short, let long, _, _):
            return [
                ("rope_factors_long.weight", long.map { Float($0) }),
                ("rope_factors_short.weight", short.map { Float($0) }),
            ]
        case .none, .linear, .dynamic, .yarn: return []
        }
    }

    /// The rotary positions of the layers that see everything.
    private var mainRotary: RotarySpec? {
        (layers.first { $0.attention.window == 0 && $0.rotary != nil } ?? layers.first { $0.rotary != nil })?.rotary
    }

    /// Which layers have a window: a period whose last layer has none (0: all have one), else a flag for each.
    private static func pattern(_ isSliding: [Bool]) -> MetadataValue {
        func isPeriod(_ period: Int) -> Bool {
            isSliding.indices.allSatisfy { isSliding[$0] == ($0 % period < period - 1) }
        }
        if !isSliding.contains(false) { return .uint32(0) }
        let period =
            isSliding.indices.dropFirst(2).first(where: isPeriod) ?? (isPeriod(isSliding.count) ? isSliding.count : nil)
        return period.map { .uint32(UInt32($0)) } ?? .array(.bool(isSliding))
    }

    /// What of this model another one has otherwise, but for windows; nil: nothing that changes a number.
    fileprivate func difference(from other: DecoderSpec) -> String? {
        let (mine, theirs) = (layers.map(\.attention), other.layers.map(\.attention))
        let checks: [(String, Bool)] = [
            ("number of layers", layers.count == other.layers.count),
            (
                "layers without rotary positions (no_rope_layers)",
                mine.map { $0.rotary == nil } == theirs.map { $0.rotary == nil }
            ),
            ("rotary positions (rope_theta, rope_scaling)", mine.map(\.rotary) == theirs.map(\.rotary)),
            ("factor on scores (query_pre_attn_scalar)", mine.map(\.scale) == theirs.map(\.scale)),
            ("cap of scores (attn_logit_softcapping)", mine.map(\.softCap) == theirs.map(\.softCap)),
            (
                "heads (head_dim, num_key_value_heads)",
                mine.map { [$0.heads, $0.keyValueHeads, $0.headDim] }
                    == theirs.map { [$0.heads, $0.keyValueHeads, $0.headDim] }
            ),
            (
                "projections of the attention (attention_bias)",
                mine.map(\.input) == theirs.map(\.input) && mine.map(\.output) == theirs.map(\.output)
            ),
            (
                "norms of queries and keys",
                mine.map { [$0.qNorm, $0.kNorm] } == theirs.map { [$0.qNorm, $0.kNorm] }
            ),
            ("activation (hidden_act)", layers.map(\.mlp.activation) == other.layers.map(\.mlp.activation)),
            ("MLP (intermediate_size, mlp_bias)", layers.map(\.mlp) == other.layers.map(\.mlp)),
            ("norms and residuals of the layers", layers.map(\.wiring) == other.layers.map(\.wiring)),
            ("last norm", finalNorm == other.finalNorm), ("output head", head == other.head),
            ("embedding", embedding == other.embedding && embeddingShape == other.embeddingShape),
            ("context (max_position_embeddings)", maxPositionEmbeddings == other.maxPositionEmbeddings),
        ]
        return checks.first { !$0.1 }?.0
    }
}

extension LayerSpec {
    fileprivate var rotary: RotarySpec? { attention.rotary }
}
