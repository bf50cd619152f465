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
    /// All tensors of the model, in the order in which a forward pass meets them; of a tied head, none.
    public var tensors: [TensorSpec] {
        var tensors = [TensorSpec(name: embedding, shape: embeddingShape, role: .embedding)]
        for layer in layers { tensors += layer.tensors }
        tensors.append(finalNorm.tensor)
        if !head.isTied { tensors += head.linear.tensors(role: .head) }
        return tensors
    }
}

extension LayerSpec {
    fileprivate var tensors: [TensorSpec] {
        var tensors = [inputNorm.tensor]
        for linear in [attention.q, attention.k, attention.v, attention.o] { tensors += linear.tensors(role: .matrix) }
        tensors += [attention.qNorm, attention.kNorm, postAttentionNorm].compactMap { $0?.tensor }
        for linear in [mlp.gate, mlp.up, mlp.down] { tensors += linear.tensors(role: .matrix) }
        return tensors
    }
}

extension LinearSpec {
    fileprivate func tensors(role: TensorRole) -> [TensorSpec] {
        [TensorSpec(name: weight, shape: [rows, columns], role: role)]
            + (bias.map { [TensorSpec(name: $0, shape: [rows], role: .vector)] } ?? [])
    }
}

extension NormSpec {
    fileprivate var tensor: TensorSpec { TensorSpec(name: name, shape: [width], role: .vector) }
}
