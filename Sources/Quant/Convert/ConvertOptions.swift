import Base

/// How to convert a checkpoint.
public struct ConvertOptions: Sendable {
    /// The type of the matrices; nil: iq4_nl, but of a source that is quantized already each tensor's own type where
    /// MQF has it, else q8_0.
    public var type: TensorType?
    /// What `type` nil makes of a quantized tensor whose own type MQF lacks.
    public var substitute = TensorType.q8_0
    /// The type of the embedding; nil: as `type` says, and q8_0 where that is quantized.
    public var embedType: TensorType?
    /// The type of the output head; nil: as for the embedding. A tied head has the embedding's type.
    public var headType: TensorType?
    /// The types of single matrices by name, before all of these.
    public var assigned: [String: TensorType] = [:]
    /// How many threads to use, at least 1. What is written does not depend on it.
    public var threads = 1
    /// Of a Hugging Face folder: a safetensors file holds at most that many bytes of data.
    public var maximumShardByteCount = ShardedSafetensorsWriter.defaultShardByteCount
    /// Of a folder: texts that are written into it.
    public var documents: [Document] = []
    /// Without a `type`, every source keeps its types as one does that is quantized already.
    var keepsTypes = false
    /// Check and plan everything, write nothing.
    public var dryRun = false
    /// Replace a file that is there.
    public var overwrite = false

    /// The types of a source of plain weights are iq4_nl, and q8_0 for embedding and head; one thread.
    public init() {}

    /// The type of a tensor with that role and that many columns; `warning` is set if it is not what was asked for.
    ///
    /// - Parameter own: of a source that is quantized already, the type of ours that holds the tensor's numbers, if
    ///   any.
    func type(of tensor: TensorSpec, isTied: Bool, own: TensorType??) -> (type: TensorType, warning: String?) {
        let narrow = type ?? own.map { $0 ?? substitute } ?? .iq4_nl
        let wide = type == nil && own != nil || !narrow.isTiled ? narrow : .q8_0
        let wanted: TensorType
        switch tensor.role {
        case .vector: return (.f32, nil)
        case _ where assigned[tensor.name] != nil: wanted = assigned[tensor.name] ?? narrow
        case .matrix: wanted = narrow
        case .head: wanted = headType ?? wide
        case .embedding: wanted = embedType ?? (isTied ? headType : nil) ?? wide
        }
        guard let fallback = wanted.fallback(columns: tensor.shape[1]) else { return (wanted, nil) }
        let warning =
            "tensor '\(tensor.name)' has \(tensor.shape[1]) columns, no multiple of \(wanted.tileColumns): stored as "
            + "\(fallback.name) instead of \(wanted.name)"
        return (fallback, warning)
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
    /// The tensors that are written, in order.
    public let tensors: [TensorDeclaration]
    /// Weights, without padding.
    public let parameterCount: Int
    /// Bytes of the source's tensors that were used.
    public let sourceByteCount: Int
    /// Bytes of the MQF file, or of all tensors of a folder.
    public let byteCount: Int
    /// The files with the data; none in a dry run.
    public let fileNames: [String]
    /// What the user should know: tensors with another type than asked for, tensors that were left out, …
    public let warnings: [String]

    init(items: [RowPump.Item], byteCount: Int, fileNames: [String], warnings: [String]) {
        tensors = items.map(\.target)
        parameterCount = items.reduce(0) { $0 + $1.source.elementCount }
        sourceByteCount = items.reduce(0) { $0 + $1.source.byteCount }
        self.byteCount = byteCount
        self.fileNames = fileNames
        self.warnings = warnings
    }
}

extension TensorType {
    /// What stands for this type in a matrix of so many columns; nil where they make whole tiles. A super-block's type
    /// gives way to the smallest one of blocks of 32 with as many bits, as in llama-quantize.
    fileprivate func fallback(columns: Int) -> TensorType? {
        guard columns % tileColumns != 0 else { return nil }
        switch self {
        case .q4_k: return TensorType.q4_1.fallback(columns: columns) ?? .q4_1
        case .q5_k, .q6_k: return TensorType.q8_0.fallback(columns: columns) ?? .q8_0
        case .q4_0, .q4_1, .q8_0, .iq4_nl, .nf4, .f32, .f16, .bf16: return .bf16
        }
    }
}
