/// What GPT-NeoX and GPT-J have in common: as many keys as queries, LayerNorms, and an MLP without a gate.
struct PlainShape {
    /// The keys of config.json.
    enum Keys {
        case neoX
        case gptJ
    }

    let hiddenSize: Int
    let heads: Int
    let headDim: Int
    let layerCount: Int
    let context: Int
    let vocabSize: Int
    private let mlpWidth: Int
    private let eps: Float

    init(_ config: ConfigReader, _ keys: Keys) throws {
        let isNeoX = keys == .neoX
        hiddenSize = try config.int(isNeoX ? "hidden_size" : "n_embd", 1...65_536)
        heads = try config.int(isNeoX ? "num_attention_heads" : "n_head", 1...1_024)
        layerCount = try config.int(isNeoX ? "num_hidden_layers" : "n_layer", 1...1_024)
        context = try config.int(isNeoX ? "max_position_embeddings" : "n_positions", 1...16_777_216, default: 2048)
        vocabSize = try config.int("vocab_size", 1...4_194_304)
        mlpWidth = try config.int(
            isNeoX ? "intermediate_size" : "n_inner", 1...1_048_576, default: isNeoX ? nil : 4 * hiddenSize)
        eps = Float(try config.number(isNeoX ? "layer_norm_eps" : "layer_norm_epsilon", 1e-30...1, default: 1e-5))
        headDim = try config.headDim(explicit: nil, hiddenSize: hiddenSize, heads: heads)
        guard headDim * heads == hiddenSize else {
            throw config.error("head_dim", "is \(headDim), expected the hidden size shared out over \(heads) heads")
        }
    }

    func norm(_ path: String) -> NormSpec {
        NormSpec(paths: [path], width: hiddenSize, eps: eps, kind: .layer(hasBias: true))
    }

    func mlp(_ up: String, _ down: String, _ activation: Activation) -> MLPSpec {
        MLPSpec(
            input: .plain(up: LinearSpec(path: up, rows: mlpWidth, columns: hiddenSize, hasBias: true)),
            activation: activation,
            down: LinearSpec(path: down, rows: hiddenSize, columns: mlpWidth, hasBias: true))
    }
}
