/// How to convert a checkpoint.
public struct ConvertOptions: Sendable {
    /// The type of the matrices.
    public var type = TensorType.iq4_nl
    /// The type of the embedding; nil: q8_0 if `type` is quantized, else `type`.
    public var embedType: TensorType?
    /// The type of the output head; nil: q8_0 if `type` is quantized, else `type`. A tied head has the embedding's type.
    public var headType: TensorType?
    /// How many threads to use, at least 1. The file does not depend on it.
    public var threads = 1
    /// Check and plan everything, write nothing.
    public var dryRun = false
    /// Replace a file that is there.
    public var overwrite = false

    /// iq4_nl with q8_0 for embedding and head, on one thread.
    public init() {}

    /// The type of a tensor with that role and that many columns; `warning` is set if it is not what was asked for.
    func type(of tensor: TensorSpec, isTied: Bool) -> (type: TensorType, warning: String?) {
        let wide = type.isTiled ? TensorType.q8_0 : type
        let wanted: TensorType
        switch tensor.role {
        case .vector: return (.f32, nil)
        case .matrix: wanted = type
        case .head: wanted = headType ?? wide
        case .embedding: wanted = embedType ?? (isTied ? headType : nil) ?? wide
        }
        guard wanted.isTiled, tensor.shape[1] % TensorType.tileColumns != 0 else { return (wanted, nil) }
        let warning =
            "tensor '\(tensor.name)' has \(tensor.shape[1]) columns, no multiple of \(TensorType.tileColumns): stored as "
            + "bf16 instead of \(wanted.name)"
        return (.bf16, warning)
    }
}

/// How far a conversion is.
public struct ConvertProgress: Sendable {
    /// Bytes of the source's tensors that are converted.
    public let doneBytes: Int
    /// Bytes of the source's tensors in all.
    public let totalBytes: Int
}

/// What a conversion did, or what it would do.
public struct ConvertReport: Sendable {
    /// The tensors of the MQF file in order.
    public let tensors: [TensorDeclaration]
    /// Weights, without padding.
    public let parameterCount: Int
    /// Bytes of the source's tensors that were used.
    public let sourceByteCount: Int
    /// Bytes of the MQF file.
    public let byteCount: Int
    /// What the user should know: tensors with another type than asked for, tensors that were left out, …
    public let warnings: [String]
}
