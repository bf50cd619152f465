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
    /// Where its bytes begin in that file, for the order of reading; 0 for weights that are computed.
    public let offset: Int

    /// An entry whose values the reader has checked.
    public init(
        name: String, shape: [Int], exactType: TensorType?, byteCount: Int, path: String, offset: Int = 0
    ) {
        self.name = name
        self.shape = shape
        self.exactType = exactType
        self.byteCount = byteCount
        self.path = path
        self.offset = offset
    }

    /// An entry of weights that are computed, of that plain type and a shape that the caller has checked.
    public init(computed name: String, shape: [Int], type: TensorType, path: String) {
        precondition(!type.isTiled, "\(type.name) is no plain type")
        self.init(
            name: name, shape: shape, exactType: type, byteCount: Quant.byteCount(of: type, shape: shape) ?? 0,
            path: path)
    }

    /// Rows; 1 for a tensor of one dimension.
    public var rows: Int { shape.count == 2 ? shape[0] : 1 }
    /// Elements of a row.
    public var columns: Int { shape.last ?? 1 }
    /// Elements.
    public var elementCount: Int { rows * columns }  // bounded: readers check the bytes
    /// The type of a file of plain numbers that loses nothing of it: its own, f32 for a quantized one.
    public var plainType: TensorType { exactType.flatMap { $0.isTiled ? nil : $0 } ?? .f32 }
}

/// Weights of a model under Hugging Face's names, with its text files: what every writer of models reads, whatever the
/// weights come from. Files are `StoredSource`; merged, pruned and fused weights are computed while they are read.
/// Thread-safe.
public protocol TensorSource: TextFileSource {
    /// The names of all tensors.
    var tensorNames: [String] { get }
    /// What is odd about it, in a line each.
    var warnings: [String] { get }
    /// What there is under that name; nil if there is nothing. Error (`badInput`): a type or shape that is not read.
    func entry(_ name: String) throws -> TensorEntry?
    /// Gets a tensor ready: its rows. Of computed weights that may read all of the tensor.
    /// Errors (`badInput`): there is none of that name, and as `entry`.
    func rows(of name: String) throws -> any TensorRows
    /// True where the weights were quantized by another program: converted without a `type`, they keep their types.
    var isQuantized: Bool { get }
    /// What a file that is made of it records of how its weights came about.
    var provenance: Provenance { get throws }
}

/// What a file records of how its weights came about.
public struct Provenance: Sendable, Equatable {
    /// The identity of the weights that they were made from; nil: there is none.
    public let sourceSHA256: String?
    /// More keys.
    public let metadata: Metadata

    /// That identity and those keys.
    public init(sourceSHA256: String? = nil, metadata: Metadata = Metadata()) {
        (self.sourceSHA256, self.metadata) = (sourceSHA256, metadata)
    }
}

extension TensorSource {
    /// None.
    public var warnings: [String] { [] }
    /// False: plain types.
    public var isQuantized: Bool { false }
    /// Nothing.
    public var provenance: Provenance { Provenance() }
}

/// A source that lies in files as it is.
public protocol StoredSource: TensorSource {
    /// The identity of the weights, 64 hex digits: what a file that is made of them records. The first call may read all.
    func sha256() throws -> String
    /// Reads everything and compares it with the checksums that the format has. Error: `badInput` naming what is damaged.
    func verify() throws
    /// The same source for somebody who reads every tensor once, in the order of the bytes: what `sha256` needs is then
    /// hashed on the way, where the format allows it.
    func readOnce() -> any StoredSource
}

extension StoredSource {
    /// Itself.
    public func readOnce() -> any StoredSource { self }
    /// Its own identity.
    public var provenance: Provenance { get throws { Provenance(sourceSHA256: try sha256()) } }
}

/// The rows of one tensor, which can be asked for in any order by several threads at once.
public protocol TensorRows: Sendable {
    /// Those rows as fp32, row-major, into `target`; `raw` is working memory of the caller. Computed weights need not be
    /// rounded to the entry's type yet. Errors: the file has become shorter.
    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws
    /// Those rows of a tensor whose `exactType` is tiled, as tiles of that type; they begin at a multiple of 16.
    /// Errors: the file has become shorter.
    func readTiles(rows: Range<Int>, into target: UnsafeMutableRawBufferPointer, raw: inout [UInt8]) throws
}

extension TensorRows {
    /// A caller's bug: the type is not tiled.
    public func readTiles(rows: Range<Int>, into target: UnsafeMutableRawBufferPointer, raw: inout [UInt8]) throws {
        preconditionFailure("\(Self.self) has no tiles")
    }
}

extension TensorSource {
    /// What there is under that name. Errors (`badInput`): nothing, and as `entry`.
    public func tensorEntry(_ name: String) throws -> TensorEntry {
        guard let entry = try entry(name) else {
            throw MeraserError.badInput("\(path): there is no tensor \(quoted(name))")
        }
        return entry
    }
}
