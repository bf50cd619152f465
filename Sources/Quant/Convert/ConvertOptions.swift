/// How to convert a checkpoint.
public struct ConvertOptions: Sendable {
    /// The type of the matrices; nil: iq4_nl, but of a source that is quantized already each tensor's own type where MQF has
    /// it, else q8_0.
    public var type: TensorType?
    /// The type of the embedding; nil: as `type` says, and q8_0 where that is quantized.
    public var embedType: TensorType?
    /// The type of the output head; nil: as for the embedding. A tied head has the embedding's type.
    public var headType: TensorType?
    /// How many threads to use, at least 1. The file does not depend on it.
    public var threads = 1
    /// Check and plan everything, write nothing.
    public var dryRun = false
    /// Replace a file that is there.
    public var overwrite = false

    /// The types of a source of plain weights are iq4_nl, and q8_0 for embedding and head; one thread.
    public init() {}

    /// The type of a tensor with that role and that many columns; `warning` is set if it is not what was asked for.
    ///
    /// - Parameter own: of a source that is quantized already, the type of ours that holds the tensor's numbers, if any.
    func type(of tensor: TensorSpec, isTied: Bool, own: TensorType??) -> (type: TensorType, warning: String?) {
        let narrow = type ?? own.map { $0 ?? .q8_0 } ?? .iq4_nl
        let wide = type == nil && own != nil || !narrow.isTiled ? narrow : .q8_0
        let wanted: TensorType
        switch tensor.role {
        case .vector: return (.f32, nil)
        case .matrix: wanted = narrow
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
