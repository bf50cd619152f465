/// What a tensor is for, which decides its type.
public enum TensorRole: Sendable, Equatable {
    case embedding
    case head
    case matrix
    case vector
}

/// A tensor that a checkpoint must have.
public struct TensorSpec: Sendable, Equatable {
    /// Hugging Face's name.
    public let name: String
    /// One dimension, or two: rows, columns.
    public let shape: [Int]
    /// What it is for.
    public let role: TensorRole

    /// A tensor of that name, shape and role.
    public init(name: String, shape: [Int], role: TensorRole) {
        self.name = name
        self.shape = shape
        self.role = role
    }
}

extension DecoderSpec {
    /// All tensors of the model, in the order in which a forward pass meets them; of a tied head only the bias.
    public var tensors: [TensorSpec] {
        var tensors = [TensorSpec(name: embedding.weight, shape: embeddingShape, role: .embedding)]
        for layer in layers { tensors += layer.tensors }
        tensors += finalNorm.tensors
        tensors += head.linear.tensors(role: .head).filter { !head.isTied || $0.name != head.linear.weight }
        return tensors
    }
}

extension LayerSpec {
    fileprivate var tensors: [TensorSpec] {
        let norms = [wiring.attentionNorm, attention.qNorm, attention.kNorm, wiring.attentionOutputNorm]
        func matrices(_ projections: [Projection]) -> [TensorSpec] {
            projections.compactMap { self[$0] }.flatMap { $0.tensors(role: .matrix) }
        }
        var tensors = norms[0]?.tensors ?? []
        tensors += matrices([.q_proj, .k_proj, .v_proj, .qkv_proj, .o_proj])
        tensors += (norms.dropFirst() + [wiring.mlpNorm]).compactMap { $0 }.flatMap(\.tensors)
        tensors += matrices([.gate_proj, .up_proj, .gate_up_proj, .down_proj])
        return tensors + (wiring.mlpOutputNorm?.tensors ?? [])
    }
}

extension LinearSpec {
    fileprivate func tensors(role: TensorRole) -> [TensorSpec] {
        [TensorSpec(name: weight, shape: [rows, columns], role: role)]
            + (bias.map { [TensorSpec(name: $0, shape: [rows], role: .vector)] } ?? [])
    }
}

extension NormSpec {
    fileprivate var tensors: [TensorSpec] {
        (weights + biases).map { TensorSpec(name: $0, shape: [width], role: .vector) }
    }
}
