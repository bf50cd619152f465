import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("MQF reader")
struct MQFFileTests {
    /// The error's text without the path in front.
    private func refusal(_ bytes: [UInt8]) throws -> String {
        try withTemporaryFolder { folder in
            let path = try write(bytes, to: folder)
            return errorText { try MQFFile(path: path).verify() }.replacingOccurrences(of: path, with: "F")
        }
    }

    private func expect(
        _ prefix: String, sourceLocation: SourceLocation = #_sourceLocation, _ change: (inout MQFSample) -> Void
    ) throws {
        var sample = MQFSample.full
        change(&sample)
        let text = try refusal(sample.bytes)
        #expect(text.hasPrefix(prefix), "\(text)", sourceLocation: sourceLocation)
    }

    @Test("a file that was put together after docs/reference/format.md reads as it says")
    func reads() throws {
        try withTemporaryFolder { folder in
            let bytes = MQFSample.full.bytes
            let path = try write(bytes, to: folder)
            #expect(MQFFile.isMQF(path: path))
            let file = try MQFFile(path: path)
            try file.verify()
            #expect(file.version == 1)
            #expect(file.metadata.keys == ["general.name"])
            #expect(file.files.map(\.name) == ["config.json"])
            #expect(file.metadata.string("general.name") == "tiny")
            #expect(try file.textFile("config.json") == Array("{}".utf8))
            #expect(try file.textFile("tokenizer.json") == nil)
            #expect(file.tensorNames == ["a", "b"])
            #expect(try file.tensor("a").floats() == [1, -2, 0.5])
            #expect(try file.tensor("a").info.rows == 1)
            let b = try file.tensor("b")
            #expect(b.info.shape == [2, 32])
            #expect(b.floats(rows: 0..<1) == (0..<32).map { 0.5 * Float($0) })
            #expect(b.floats(rows: 1..<2) == (0..<32).map { -Float($0) })
            #expect(b.floats() == b.floats(rows: 0..<1) + b.floats(rows: 1..<2))
            #expect(b.floats(rows: 1..<1) == [])
            #expect(file.hasTensor("a"))
            #expect(!file.hasTensor("c"))
            #expect(errorText { _ = try file.tensor("c") } == "\(path): there is no tensor 'c'")
            #expect(try file.sha256() == sha256Hex(bytes))
            let store = try openWeightStore(path: path)
            #expect(store.tensorNames == ["a", "b"])
        }
    }

    @Test("the header's rules")
    func header() throws {
        try expect("F is not an MQF file: it does not begin with 'MQF1'") { $0.magic = Array("MQF2".utf8) }
        #expect(try refusal(Array("MQF1abc".utf8)) == "F: 7 bytes are too few for an MQF header of 64")
        try expect("F has MQF version 2, expected 1; convert the model again") { $0.version = 2 }
        try expect("F has 8736 bytes, its header says 8737; the copy is cut or was extended") { $0.fileLength = 8737 }
        try expect("F: the file length is 18446744073709551615, too large") { $0.fileLength = .max }
        try expect("F: metadata at 65 + ") { $0.metadataOffset = 65 }
        try expect("F: metadata at 64 + ") { $0.directoryOffset = 64 }
        try expect("F: metadata at 64 + ") { $0.metadataLength = .max }
        try expect("F: metadata at 64 + ") { $0.directoryLength = .max }
        try expect("F: the header's reserved field is 1, expected 0") { $0.reserved = 1 }
        var bytes = MQFSample.full.bytes
        bytes[56] = 1
        #expect(try refusal(bytes) == "F: the header is damaged (CRC32C); copy or convert the file again")
        bytes = MQFSample.full.bytes
        bytes[70] ^= 1
        #expect(try refusal(bytes) == "F: metadata is damaged (CRC32C); copy or convert the file again")
        bytes = MQFSample.full.bytes
        bytes[64 + MQFSample.full.metadata.bytes.count] ^= 1
        #expect(try refusal(bytes) == "F: directory is damaged (CRC32C); copy or convert the file again")
    }

    @Test("the metadata's rules")
    func metadata() throws {
        try expect("F: metadata: 4294967295 metadata keys cannot fit into ") { $0.keyCount = .max }
        try expect("F: metadata: metadata key 2 needs ") {
            $0.metadata.u64(20)
            $0.metadata.u64(0)
            $0.metadata.u64(0)
            $0.pairs = 3
        }
        try expect("F: metadata: 8 bytes are left over") { $0.metadata.u64(0) }
        try expect("F: metadata: metadata key 'general.name' occurs twice") {
            $0.metadata.string("general.name")
            $0.metadata.u32(0)
            $0.metadata.u8(1)
            $0.pairs = 3
        }
        try expect("F: metadata: metadata key 'mqf.file.config.json' occurs twice") {
            $0.metadata.string("mqf.file.config.json")
            $0.metadata.u32(8)
            $0.metadata.string("{}")
            $0.pairs = 3
        }
        try expect("F: metadata: the value of metadata key 'mqf.file.a' needs 9 bytes, 8 are left") {
            $0.metadata.string("mqf.file.a")
            $0.metadata.u32(9)
            $0.metadata.u32(0)
            $0.metadata.u64(9)
            $0.metadata.u64(0)
            $0.pairs = 3
        }
        try expect("F: metadata: the value of metadata key 'x' is not valid UTF-8") {
            $0.metadata.string("x")
            $0.metadata.u32(8)
            $0.metadata.string([0x80])
            $0.pairs = 3
        }
    }

    @Test("the directory's rules")
    func directory() throws {
        try expect("F: directory: 1000000 tensors cannot fit into ") { $0.tensorCount = 1_000_000 }
        try expect("F: directory: 1 bytes are left over") { $0.directoryTail = [0] }
        try expect("F: directory: the name of tensor 0 is empty") { $0.tensors[0].name = [] }
        try expect("F: directory: the name of tensor 0 is 1025 bytes long, at most 1024 are allowed") {
            $0.tensors[0].name = [UInt8](repeating: 97, count: 1025)
        }
        try expect("F: directory: the name of tensor 0 is not valid UTF-8") { $0.tensors[0].name = [0xC0, 0xAF] }
        try expect("F: directory: tensor 'a' occurs twice") { $0.tensors[1].name = $0.tensors[0].name }
        try expect("F: directory: tensor 'a' has the unknown type 4; known are 0 f32, 1 f16") { $0.tensors[0].type = 4 }
        try expect("F: directory: tensor 'a' has 3 dimensions, expected 1 or 2") { $0.tensors[0].shape = [1, 1, 3] }
        try expect("F: directory: tensor 'a' has 0 dimensions, expected 1 or 2") { $0.tensors[0].shape = [] }
        try expect("F: directory: tensor 'b' has one dimension and type q8_0, expected a plain type") {
            $0.tensors[1].shape = [64]
        }
        try expect("F: directory: tensor 'b': the shape [2, 33] is not possible for type q8_0") {
            $0.tensors[1].shape = [2, 33]
        }
        try expect("F: directory: tensor 'a': the shape [0] is not possible for type f32") { $0.tensors[0].shape = [0] }
        try expect("F: directory: tensor 'b': the shape [4611686018427387904, 32] is not possible") {
            $0.tensors[1].shape = [1 << 62, 32]
        }
        try expect("F: directory: a dimension of tensor 'a' is 18446744073709551615, too large") {
            $0.tensors[0].shape = [.max]
        }
        try expect("F: directory: tensor 'a': 16 bytes, expected 12 for shape [3] of type f32") {
            $0.tensors[0].length = 16
        }
        // Overlap, a hole, a place that is not aligned, a place behind the end, and sums that overflow.
        for offset: UInt64 in [4096, 12288, 8200, 1 << 40, UInt64(Int.max) - 100] {
            try expect("F: directory: tensor 'b' has 544 bytes at \(offset); expected it at the next multiple of 4096")
            {
                $0.tensors[1].offset = offset
            }
        }
        try expect("F: directory: the last tensor ends at 8736, the file at 8737") { $0.fileTail = [0] }
    }

    @Test("verify finds damaged tensors and padding")
    func verify() throws {
        var bytes = MQFSample.full.bytes
        bytes[4097] ^= 4
        #expect(try refusal(bytes) == "F: tensor 'a' is damaged (CRC32C); copy or convert the file again")
        bytes = MQFSample.full.bytes
        bytes[5000] = 1
        #expect(try refusal(bytes) == "F: the padding before tensor 'b' is not zero")
    }

    // Of the long runs of padding every 16th byte must do.
    @Test("every flipped byte and every cut is an error")
    func corrupted() throws {
        try withTemporaryFolder { folder in
            let bytes = MQFSample.full.bytes
            let path = try write(bytes, to: folder)
            let front = 64 + MQFSample.full.metadata.bytes.count + MQFSample.full.directory.count
            let isPadding = { (i: Int) in (front..<4096).contains(i) || (4108..<8192).contains(i) }
            let flips = { (i: Int) -> [UInt8] in isPadding(i) && i % 16 != 0 ? [] : [1 << UInt8(i % 8)] }
            try forEachFlip(of: path, bytes, in: 0..<bytes.count, flips: flips) { i in
                #expect(throws: MeraserError.self, "flip at \(i)") { try MQFFile(path: path).verify() }
            }
            try MQFFile(path: path).verify()
            for count in bytes.indices.reversed() where !isPadding(count) || count % 16 == 0 {
                #expect(truncate(path, off_t(count)) == 0)
                #expect(throws: MeraserError.self, "cut at \(count)") { _ = try MQFFile(path: path) }
            }
        }
    }

    @Test("changes that get past the checksums: an error, or a file that is safe to use")
    func forged() throws {
        try withTemporaryFolder { folder in
            let bytes = MQFSample.full.bytes
            let end = 64 + MQFSample.full.metadata.bytes.count + MQFSample.full.directory.count
            var opened = 0
            for i in 0..<end {
                for flip: UInt8 in [0x01, 0x80] {
                    var flipped = bytes
                    flipped[i] ^= flip
                    guard let forged = mqfWithRightChecksums(flipped) else { continue }
                    guard let file = try? MQFFile(path: write(forged, to: folder)) else { continue }
                    opened += 1
                    for tensor in file.tensors {
                        #expect(tensor.offset + tensor.byteCount <= bytes.count)
                        let floats = try file.tensor(tensor.name).floats()
                        #expect(floats.count == tensor.elementCount)
                    }
                }
            }
            // Names, the string values and the CRCs of tensors may be anything.
            #expect(opened > 20)
        }
    }

    @Test("scales that are infinite or NaN give numbers, not crashes")
    func hostileScales() throws {
        try withTemporaryFolder { folder in
            var sample = MQFSample.full
            for i in 0..<544 { sample.tensors[1].data[i] = 0xFF }
            let file = try MQFFile(path: write(sample.bytes, to: folder))
            try file.verify()
            let floats = try file.tensor("b").floats()
            #expect(floats.allSatisfy { !$0.isFinite })
        }
    }
}
