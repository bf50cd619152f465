import Base

/// The weights of a model as bitsandbytes' NF4 leaves them, computed while they are read: the matrices of its layers are
/// rounded, embedding, output head and vectors stay as they are. What is read counts as bf16, the type that bitsandbytes
/// computes in. Scales are not quantized a second time.
public struct NF4Weights: TensorSource {
    private let source: any TensorSource
    private let rounded: Set<String>

    /// Those of that source. Error (`badInput`): a config.json that says no model.
    public init(_ source: any TensorSource) throws {
        self.source = source
        rounded = Set(try ModelSpec(config: ConfigReader(of: source)).tensors.filter { $0.role == .matrix }.map(\.name))
    }

    /// The source's.
    public var path: String { source.path }
    /// The source's.
    public var tensorNames: [String] { source.tensorNames }
    /// The source's.
    public var warnings: [String] { source.warnings }
    /// The source's.
    public func textFile(_ name: String) throws -> [UInt8]? { try source.textFile(name) }

    /// What there is under that name.
    public func entry(_ name: String) throws -> TensorEntry? {
        try source.entry(name).map { TensorEntry(computed: name, shape: $0.shape, type: .bf16, path: $0.path) }
    }

    /// The rows of that tensor, rounded if it is a matrix of a layer.
    public func rows(of name: String) throws -> any TensorRows {
        let rows = try source.rows(of: name)
        guard rounded.contains(name) else { return rows }
        return NF4Rows(base: rows, entry: try source.tensorEntry(name))
    }
}

/// The rows of one matrix, rounded in blocks that may begin and end within other rows.
private struct NF4Rows: TensorRows {
    let base: any TensorRows
    let entry: TensorEntry

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        let (columns, block) = (entry.columns, NF4.blockSize)
        let (first, end) = (rows.lowerBound * columns, rows.upperBound * columns)  // bounded: inside the tensor
        let start = first / block * block  // bounded: at most first
        let stop = min((end + block - 1) / block * block, entry.elementCount)  // bounded: at most a block more
        let wide = start / columns..<(stop + columns - 1) / columns
        var numbers = [Float](repeating: 0, count: wide.count * columns)  // bounded: those rows and a block
        let offset = start - wide.lowerBound * columns  // bounded: at most start
        try numbers.withUnsafeMutableBufferPointer { all in
            guard let memory = all.baseAddress else { return }
            try base.read(rows: wide, into: memory, raw: &raw)
            NF4.round(UnsafeMutableBufferPointer(rebasing: all[offset..<offset + stop - start]))
            target.update(from: memory + offset + first - start, count: end - first)
        }
    }
}
