import Foundation

/// An MQF file put together byte by byte after docs/reference/format.md, apart from the writer, whose parts the tests spoil. CRCs and
/// lengths are right unless a test says otherwise.
struct MQFSample {
    struct Tensor {
        var name: [UInt8]
        var type: UInt32
        var shape: [UInt64]
        var offset: UInt64
        var length: UInt64
        var data: [UInt8]
        var rank: UInt32?
    }

    var magic = Array("MQF1".utf8)
    var version: UInt32 = 1
    var fileLength: UInt64?
    var keyCount: UInt32?
    var tensorCount: UInt32?
    var metadataOffset: UInt64 = 64
    var directoryOffset: UInt64?
    var metadataLength: UInt32?
    var directoryLength: UInt32?
    var reserved: UInt32 = 0
    var metadata = LittleEndianBytes()
    var pairs: UInt32 = 0
    var tensors: [Tensor] = []
    var directoryTail: [UInt8] = []
    var fileTail: [UInt8] = []

    /// Two keys and two tensors: `a` f32 [3], `b` q8_0 [2, 32] with row 0 = 0.5 · column, row 1 = −1 · column.
    static var full: MQFSample {
        var sample = MQFSample()
        sample.metadata.string("general.name")
        sample.metadata.u32(8)
        sample.metadata.string("tiny")
        sample.metadata.string("mqf.file.config.json")
        sample.metadata.u32(8)
        sample.metadata.string("{}")
        sample.pairs = 2
        var a = LittleEndianBytes()
        for value: Float in [1, -2, 0.5] { a.u32(value.bitPattern) }
        var b = [UInt8](repeating: 0, count: 544)
        (b[0], b[1]) = (0x00, 0x38)  // 0.5
        (b[2], b[3]) = (0x00, 0xBC)  // -1
        for column in 0..<32 {
            for row in 0..<2 { b[32 + 64 * (column / 4) + 4 * row + column % 4] = UInt8(column) }
        }
        sample.tensors = [
            Tensor(name: Array("a".utf8), type: 0, shape: [3], offset: 4096, length: 12, data: a.bytes),
            Tensor(name: Array("b".utf8), type: 8, shape: [2, 32], offset: 8192, length: 544, data: b),
        ]
        return sample
    }

    var directory: [UInt8] {
        var out = LittleEndianBytes()
        for tensor in tensors {
            out.string(tensor.name)
            out.u32(tensor.type)
            out.u32(tensor.rank ?? UInt32(tensor.shape.count))
            for dimension in tensor.shape { out.u64(dimension) }
            out.u64(tensor.offset)
            out.u64(tensor.length)
            out.u32(referenceCRC32C(tensor.data))
        }
        return out.bytes + directoryTail
    }

    var bytes: [UInt8] {
        let directory = directory
        var data: [UInt8] = []
        let start = 64 + metadata.bytes.count + directory.count
        for tensor in tensors {
            while (start + data.count) % 4096 != 0 { data.append(0) }
            data += tensor.data
        }
        data += fileTail
        var header = LittleEndianBytes(bytes: magic)
        header.u32(version)
        header.u64(fileLength ?? UInt64(start + data.count))
        header.u32(keyCount ?? pairs)
        header.u32(tensorCount ?? UInt32(tensors.count))
        header.u64(metadataOffset)
        header.u64(directoryOffset ?? UInt64(64 + metadata.bytes.count))
        header.u32(metadataLength ?? UInt32(metadata.bytes.count))
        header.u32(directoryLength ?? UInt32(directory.count))
        header.u32(referenceCRC32C(metadata.bytes))
        header.u32(referenceCRC32C(directory))
        header.u32(reserved)
        header.u32(referenceCRC32C(header.bytes))
        return header.bytes + metadata.bytes + directory + data
    }
}

/// Writes the CRCs of header, metadata and directory anew, so that a change inside them gets past the checksums. Nil if the
/// lengths in the header do not allow it.
func mqfWithRightChecksums(_ file: [UInt8]) -> [UInt8]? {
    var file = file
    func u32(_ i: Int) -> Int { (0..<4).reduce(0) { $0 | Int(file[i + $1]) << (8 * $1) } }
    func put(_ i: Int, _ value: UInt32) { for j in 0..<4 { file[i + j] = UInt8(truncatingIfNeeded: value >> (8 * j)) } }
    let metadataEnd = 64 + u32(40)
    let directoryEnd = metadataEnd + u32(44)
    guard directoryEnd <= file.count else { return nil }
    put(48, referenceCRC32C(file[64..<metadataEnd]))
    put(52, referenceCRC32C(file[metadataEnd..<directoryEnd]))
    put(60, referenceCRC32C(file[..<60]))
    return file
}
