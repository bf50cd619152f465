import Base
import Foundation
import Quant
import TestSupport
import Testing

@Suite("GGUF reader")
struct GGUFFileTests {
    /// A file whose parts the tests spoil.
    struct Sample {
        var magic = "GGUF"
        var version: UInt32 = 3
        var tensorCount: UInt64?
        var keyCount: UInt64?
        var pairs: [(key: [UInt8], type: UInt32, value: [UInt8])] = []
        var tensors: [(name: String, dimensions: [UInt64], type: UInt32, offset: UInt64)] = []
        var data = 64

        var bytes: [UInt8] {
            var out = LittleEndianBytes(bytes: Array(magic.utf8))
            out.u32(version)
            out.u64(tensorCount ?? UInt64(tensors.count))
            out.u64(keyCount ?? UInt64(pairs.count))
            for pair in pairs {
                out.string(pair.key)
                out.u32(pair.type)
                out.bytes += pair.value
            }
            for tensor in tensors {
                out.string(tensor.name)
                out.u32(UInt32(tensor.dimensions.count))
                for dimension in tensor.dimensions { out.u64(dimension) }
                out.u32(tensor.type)
                out.u64(tensor.offset)
            }
            if !tensors.isEmpty { while out.bytes.count % 32 != 0 { out.u8(0) } }
            out.bytes += [UInt8](repeating: 0, count: tensors.isEmpty ? 0 : data)
            return out.bytes
        }

        mutating func pair(_ key: String, _ type: UInt32, _ build: (inout LittleEndianBytes) -> Void) {
            var value = LittleEndianBytes()
            build(&value)
            pairs.append((Array(key.utf8), type, value.bytes))
        }

        static var full: Sample {
            var sample = Sample()
            sample.pair("u8", 0) { $0.u8(255) }
            sample.pair("i8", 1) { $0.u8(255) }
            sample.pair("u16", 2) { $0.bytes += [1, 2] }
            sample.pair("i16", 3) { $0.bytes += [0xFE, 0xFF] }
            sample.pair("u32", 4) { $0.u32(0xFFFF_FFFF) }
            sample.pair("i32", 5) { $0.u32(0xFFFF_FFFF) }
            sample.pair("f32", 6) { $0.u32(Float(1.5).bitPattern) }
            sample.pair("bool", 7) { $0.u8(1) }
            sample.pair("string", 8) { $0.string("é") }
            sample.pair("u64", 10) { $0.u64(.max) }
            sample.pair("i64", 11) { $0.u64(.max) }
            sample.pair("f64", 12) { $0.u64(Double(-2.5).bitPattern) }
            sample.pair("strings", 9) {
                $0.u32(8)
                $0.u64(2)
                $0.string("a")
                $0.string("")
            }
            sample.pair("floats", 9) {
                $0.u32(6)
                $0.u64(1)
                $0.u32(Float(0.25).bitPattern)
            }
            sample.pair("flags", 9) {
                $0.u32(7)
                $0.u64(2)
                $0.bytes += [0, 1]
            }
            sample.tensors = [("a.weight", [4, 2], 0, 0), ("b.weight", [8], 0, 32)]
            return sample
        }
    }

    private func refusal(_ sample: Sample) throws -> String { try refusal(sample.bytes) }

    /// The error's text without the path in front.
    private func refusal(_ bytes: [UInt8]) throws -> String {
        try withTemporaryFolder { folder in
            let path = try write(bytes, to: folder)
            return errorText { _ = try GGUFFile(path: path) }.replacingOccurrences(of: path, with: "F")
        }
    }

    @Test("all value types, arrays and tensors read back")
    func full() throws {
        try withTemporaryFolder { folder in
            let path = try write(Sample.full.bytes, to: folder)
            #expect(GGUFFile.isGGUF(path: path))
            let file = try GGUFFile(path: path)
            let metadata = file.metadata
            #expect(file.version == 3)
            #expect(file.alignment == 32)
            #expect(metadata["u8"] == .uint8(255))
            #expect(metadata["i8"] == .int8(-1))
            #expect(metadata["u16"] == .uint16(0x0201))
            #expect(metadata["i16"] == .int16(-2))
            #expect(metadata["u32"] == .uint32(.max))
            #expect(metadata["i32"] == .int32(-1))
            #expect(metadata["f32"] == .float32(1.5))
            #expect(metadata["bool"] == .bool(true))
            #expect(metadata["string"] == .string("é"))
            #expect(metadata["u64"] == .uint64(.max))
            #expect(metadata["i64"] == .int64(-1))
            #expect(metadata["f64"] == .float64(-2.5))
            #expect(metadata["strings"] == .array(.string(["a", ""])))
            #expect(metadata["floats"] == .array(.float32([0.25])))
            #expect(metadata["flags"] == .array(.bool([false, true])))
            #expect(file.tensors.map(\.name) == ["a.weight", "b.weight"])
            #expect(file.tensors.map(\.dimensions) == [[4, 2], [8]])
            #expect(file.tensors.map(\.offset) == [0, 32])
            #expect(file.dataOffset % 32 == 0)
        }
    }

    @Test("wrong magic and versions are refused")
    func magicAndVersion() throws {
        #expect(try refusal(Array("GG".utf8)) == "F: the magic needs 4 bytes, 2 are left (at byte 0)")
        var sample = Sample.full
        sample.magic = "GGML"
        #expect(try refusal(sample) == "F is not a GGUF file: it does not begin with 'GGUF'")
        sample = .full
        sample.version = 1
        #expect(try refusal(sample) == "F: GGUF version 1 is not supported, expected 2 or 3")
        sample.version = 0x0300_0000
        #expect(try refusal(sample) == "F: big-endian GGUF files are not supported (version field 50331648)")
    }

    @Test("counts that cannot fit are refused before anything is allocated")
    func counts() throws {
        var sample = Sample.full
        sample.keyCount = 1 << 40
        #expect(try refusal(sample).hasPrefix("F: 1099511627776 metadata keys cannot fit into "))
        sample.keyCount = .max
        #expect(try refusal(sample).hasPrefix("F: the number of metadata keys is 18446744073709551615, too large"))
        sample = .full
        sample.tensorCount = 1 << 40
        #expect(try refusal(sample).hasPrefix("F: 1099511627776 tensors cannot fit into "))
        sample = Sample()
        sample.pair("a", 9) {
            $0.u32(4)
            $0.u64(1 << 30)
        }
        #expect(
            try refusal(sample).hasPrefix(
                "F: the value of metadata key 'a' claims 1073741824 elements, only 0 bytes are left"))
        sample = Sample()
        sample.pair("a", 8) { $0.u64(.max - 3) }
        #expect(try refusal(sample).hasPrefix("F: the length of the value of metadata key 'a' is 18446744073709551612"))
        sample = Sample()
        sample.pair("a", 8) { $0.u64(1 << 29) }
        #expect(try refusal(sample).contains("the value of metadata key 'a' needs 536870912 bytes, 0 are left"))
    }

    @Test("bad keys, types and values are refused")
    func values() throws {
        var sample = Sample.full
        sample.pair("u8", 0) { $0.u8(1) }
        #expect(try refusal(sample).hasPrefix("F: metadata key 'u8' occurs twice"))
        sample = Sample()
        sample.pair("", 10) { $0.u64(1) }
        #expect(try refusal(sample).hasPrefix("F: metadata key 0 is not printable ASCII"))
        sample = Sample()
        sample.pair("a\u{1B}", 0) { $0.u8(1) }
        #expect(try refusal(sample).hasPrefix("F: metadata key 0 is not printable ASCII"))
        sample = Sample()
        sample.pairs = [([0xFF], 0, [1])]
        #expect(try refusal(sample).hasPrefix("F: metadata key 0 is not valid UTF-8"))
        sample = Sample()
        sample.pair("a", 13) { $0.u64(1) }
        #expect(try refusal(sample).hasPrefix("F: the value of metadata key 'a' has type 13; types 0 to 12 are known"))
        sample = Sample()
        sample.pair("a", 7) { $0.bytes += [2, 0] }
        #expect(
            try refusal(sample).hasPrefix(
                "F: the value of metadata key 'a' is a boolean with the byte 2, expected 0 or 1"))
        sample = Sample()
        sample.pair("a", 8) { $0.string([0xC3, 0x28]) }
        #expect(try refusal(sample).hasPrefix("F: the value of metadata key 'a' is not valid UTF-8"))
        sample = Sample()
        sample.pair("a", 9) {
            $0.u32(9)
            $0.u64(1)
        }
        #expect(try refusal(sample).hasPrefix("F: the value of metadata key 'a' is an array of arrays"))
        for alignment: UInt32 in [0, 24, 1 << 31] {
            sample = .full
            sample.pair("general.alignment", 4) { $0.u32(alignment) }
            #expect(try refusal(sample).contains("expected a power of two"))
        }
    }

    @Test("bad tensor lists are refused")
    func tensors() throws {
        func expect(_ prefix: String, _ change: (inout Sample) -> Void) throws {
            var sample = Sample.full
            change(&sample)
            let text = try refusal(sample)
            #expect(text.hasPrefix(prefix), "\(text)")
        }
        try expect("F: tensor 'a.weight' occurs twice") { $0.tensors[1].name = "a.weight" }
        try expect("F: the name of tensor 1 is empty") { $0.tensors[1].name = "" }
        try expect("F: the name of tensor 1 is 64 bytes long, at most 63 are allowed") {
            $0.tensors[1].name = String(repeating: "x", count: 64)
        }
        try expect("F: tensor 'a.weight' has 0 dimensions, expected 1 to 4") { $0.tensors[0].dimensions = [] }
        try expect("F: tensor 'a.weight' has 5 dimensions, expected 1 to 4") {
            $0.tensors[0].dimensions = [1, 1, 1, 1, 1]
        }
        for dimensions: [UInt64] in [[0], [1 << 40, 1 << 40]] {
            try expect("F: the dimensions of tensor 'a.weight' are zero or overflow") {
                $0.tensors[0].dimensions = dimensions
            }
        }
        for offset: UInt64 in [0, 33, 64, 1 << 62] {
            let text =
                "F: tensor 'b.weight' begins at \(offset) of 64 data bytes; expected a multiple of 32 behind the tensor "
                + "before it"
            try expect(text) { $0.tensors[1].offset = offset }
        }
    }

    @Test("every flipped byte and every cut: an error or a file that opens, never a crash")
    func corrupted() throws {
        try withTemporaryFolder { folder in
            let bytes = Sample.full.bytes
            let path = try write(bytes, to: folder)
            let headerCount = bytes.count - 64
            try forEachFlip(of: path, bytes, in: 0..<headerCount, flips: { _ in [0x01, 0x80] }) { i in
                let file = try? GGUFFile(path: path)
                if i < 4 { #expect(file == nil) }
            }
            _ = try GGUFFile(path: path)
            for count in (0..<headerCount).reversed() {
                #expect(truncate(path, off_t(count)) == 0)
                #expect(throws: MeraserError.self, "cut at \(count)") { _ = try GGUFFile(path: path) }
            }
        }
    }

    @Test(
        "llama.cpp's vocabulary files are read",
        .enabled(if: sharedFolder() != nil, "the shared folder with llama.cpp's vocabularies is not here"))
    func vocabularies() throws {
        let folder = try #require(sharedFolder()).appendingPathComponent("vocab")
        for (name, model, tokens) in [
            ("llama-spm", "llama", 32_000), ("llama-bpe", "gpt2", 128_256), ("phi-3", "llama", 32_064),
        ] {
            let file = try GGUFFile(path: folder.appendingPathComponent("ggml-vocab-\(name).gguf").path)
            #expect(file.metadata.string("tokenizer.ggml.model") == model)
            #expect(file.metadata.strings("tokenizer.ggml.tokens")?.count == tokens)
            #expect(file.metadata.ints("tokenizer.ggml.token_type")?.count == tokens)
            #expect(file.tensors.isEmpty)
        }
    }
}
