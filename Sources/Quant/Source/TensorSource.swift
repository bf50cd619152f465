import Base

/// What a source says about one of its tensors, whose bytes have not been read.
public struct TensorEntry: Sendable, Equatable {
    /// Hugging Face's name.
    public let name: String
    /// One dimension, or two: rows, columns.
    public let shape: [Int]
    /// The type of ours that holds the same numbers: the tensor's own, where it is one; nil: none does.
    public let exactType: TensorType?
    /// Bytes that it has in the source.
    public let byteCount: Int
    /// The file that it lies in, for messages.
    public let path: String

    /// An entry whose values the reader has checked.
    public init(name: String, shape: [Int], exactType: TensorType?, byteCount: Int, path: String) {
        self.name = name
        self.shape = shape
        self.exactType = exactType
        self.byteCount = byteCount
        self.path = path
    }

    /// Rows; 1 for a tensor of one dimension.
    public var rows: Int { shape.count == 2 ? shape[0] : 1 }
    /// Elements of a row.
    public var columns: Int { shape.last ?? 1 }
    /// Elements.
    public var elementCount: Int { rows * columns }
}

/// Weights of a model under Hugging Face's names, with its text files: what a conversion asks about before it reads any
/// number. A safetensors folder, a GGUF file, or weights that are computed. Thread-safe.
public protocol TensorSource: TextFileSource {
    /// The names of all tensors.
    var tensorNames: [String] { get }
    /// What is odd about it, in a line each.
    var warnings: [String] { get }
    /// What there is under that name; nil if there is nothing. Error (`badInput`): a type that is not read.
    func entry(_ name: String) throws -> TensorEntry?
    /// True where the weights were quantized by another program: converted without a `type`, they keep their types.
    var isQuantized: Bool { get }
}

extension TensorSource {
    /// None.
    public var warnings: [String] { [] }
    /// False: plain types.
    public var isQuantized: Bool { false }
}

/// A source whose rows can be asked for in any order, by several threads at once.
protocol RowSource: TensorSource {
    /// Reads those rows of a tensor as fp32, row-major, into `target`; `raw` is working memory of the caller.
    /// Errors: the file has become shorter.
    func read(
        _ entry: TensorEntry, rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws
    /// Reads those rows of a tensor whose `exactType` is tiled, as tiles of that type; they begin at a multiple of 16.
    /// Errors: the file has become shorter.
    func readTiles(
        _ entry: TensorEntry, rows: Range<Int>, into target: UnsafeMutableRawBufferPointer, raw: inout [UInt8]) throws
}

extension SafetensorsFolder: TensorSource {
    /// What there is under that name. Errors (`badInput`) as `tensor`.
    public func entry(_ name: String) throws -> TensorEntry? {
        guard hasTensor(name) else { return nil }
        let view = try tensor(name)
        return TensorEntry(
            name: name, shape: view.info.shape, exactType: view.info.type, byteCount: view.info.byteCount,
            path: view.file.path)
    }
}
