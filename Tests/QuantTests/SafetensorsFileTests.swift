import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("Safetensors reader")
struct SafetensorsFileTests {
    /// A file of that header and that many bytes of data, 0, 1, 2, …
    private func file(_ header: String, data: Int, length: UInt64? = nil) -> [UInt8] {
        var out = LittleEndianBytes()
        out.u64(length ?? UInt64(header.utf8.count))
        out.bytes += header.utf8
        out.bytes += (0..<data).map { UInt8(truncatingIfNeeded: $0) }
        return out.bytes
    }

    private let full = """
        {"__metadata__":{"format":"pt","x":""},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[16,28]},\
        "a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"i":{"dtype":"I64","shape":[],"data_offsets":[28,36]},\
        "empty":{"dtype":"F32","shape":[0,7],"data_offsets":[16,16]},\
        "odd":{"dtype":"F4","shape":[4],"data_offsets":[36,38]}}
        """

    /// The error's text without the path in front.
    private func refusal(_ bytes: [UInt8]) throws -> String {
        try withTemporaryFolder { folder in
            let path = try write(bytes, to: folder)
            return errorText { _ = try SafetensorsFile(path: path) }.replacingOccurrences(of: path, with: "F")
        }
    }

    private func refusal(_ header: String, data: Int) throws -> String { try refusal(file(header, data: data)) }

    @Test("names, dtypes, shapes and places read as they are written")
    func reads() throws {
        try withTemporaryFolder { folder in
            let file = try SafetensorsFile(path: write(file(full, data: 38), to: folder))
            #expect(file.entries.map(\.name) == ["a", "empty", "b", "i", "odd"])
            #expect(file.metadata.map(\.key) == ["format", "x"])
            #expect(file.metadata.map(\.value) == ["pt", ""])
            let start = 8 + full.utf8.count
            let b = try file.tensor("b")
            #expect(
                b.info
                    == TensorInfo(
                        name: "b", type: .bf16, shape: [2, 3], offset: start + 16, byteCount: 12, crc32c: nil))
            // The bytes 16, 17, … are the bf16 numbers 0x1110, 0x1312, …
            let bits: [UInt32] = [0x1110, 0x1312, 0x1514, 0x1716, 0x1918, 0x1B1A]
            #expect(b.floats() == bits.map { Float(bitPattern: $0 << 16) })
            #expect(try file.integers("i") == [0x23_22_21_20_1F_1E_1D_1C])
        }
    }

    @Test("dtypes and shapes that cannot be computed with are refused when they are asked for")
    func unsupported() throws {
        try withTemporaryFolder { folder in
            let file = try SafetensorsFile(path: write(file(full, data: 38), to: folder))
            let path = file.path
            func text(_ name: String) -> String { errorText { _ = try file.tensor(name) } }
            #expect(text("i") == "\(path): tensor 'i' has dtype I64, expected F32, F16 or BF16")
            #expect(text("odd") == "\(path): tensor 'odd' has dtype F4, expected F32, F16 or BF16")
            #expect(
                text("empty")
                    == "\(path): tensor 'empty' has shape [0, 7], expected one or two dimensions of at least 1")
            #expect(text("none") == "\(path): there is no tensor 'none'")
            #expect(
                errorText { _ = try file.integers("a") } == "\(path): tensor 'a' has dtype F32, expected I32 or I64")
        }
    }

    @Test("names that differ only in composition are two tensors")
    func composition() throws {
        let header = """
            {"\u{E9}":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"e\u{301}":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}
            """
        try withTemporaryFolder { folder in
            let file = try SafetensorsFile(path: write(file(header, data: 2), to: folder))
            #expect(file.entry("\u{E9}")?.offset == 8 + header.utf8.count)
            #expect(file.entry("e\u{301}")?.offset == 9 + header.utf8.count)
        }
    }

    @Test("the header's rules")
    func header() throws {
        #expect(try refusal([1, 2, 3]) == "F: the header's length needs 8 bytes, 3 are left (at byte 0)")
        #expect(
            try refusal(file("{}", data: 0, length: 100_000_001))
                == "F is no safetensors file: its header would have 100000001 bytes, at most 100000000 are allowed")
        #expect(
            try refusal(file("{}", data: 0, length: .max)).hasPrefix("F: the header's length is 18446744073709551615"))
        #expect(try refusal(file("{}", data: 0, length: 3)) == "F: the header needs 3 bytes, 2 are left (at byte 8)")
        #expect(try refusal(" {}", data: 0) == "F is no safetensors file: its header does not begin with '{'")
        #expect(try refusal("", data: 0) == "F is no safetensors file: its header does not begin with '{'")
        #expect(try refusal("{\"a\":", data: 0).hasPrefix("F (header):1:6: invalid JSON: "))
        #expect(try refusal("{}x", data: 0).hasPrefix("F (header):1:3: invalid JSON: "))
        #expect(
            try refusal("{\"__metadata__\":1}", data: 0).contains("'__metadata__' is an integer, expected an object"))
        #expect(
            try refusal("{\"__metadata__\":{\"a\":1}}", data: 0)
                == "F: '__metadata__.a' is an integer, expected a string")
        #expect(try refusal("{}", data: 1) == "F: 1 bytes follow the last tensor")
        let twice = "{\"a\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]},\"a\":{}}"
        #expect(try refusal(twice, data: 1).contains("duplicate key 'a'"))
    }

    @Test("the rules of entries")
    func entries() throws {
        func entry(_ text: String, data: Int = 8) throws -> String { try refusal("{\"a\":\(text)}", data: data) }
        #expect(try entry("1") == "F: tensor 'a': the header has an integer for it, expected an object")
        #expect(
            try entry("{\"dtype\":\"F32\",\"shape\":[2],\"offsets\":[0,8]}")
                == "F: tensor 'a': unknown key 'offsets' in the header, expected dtype, shape and data_offsets")
        #expect(try entry("{\"shape\":[2],\"data_offsets\":[0,8]}") == "F: tensor 'a': 'dtype' is missing or no string")
        for shape in ["1", "[-1]", "[1.5]", "[\"2\"]", "[9223372036854775808]"] {
            #expect(
                try entry("{\"dtype\":\"F32\",\"shape\":\(shape),\"data_offsets\":[0,8]}")
                    == "F: tensor 'a': 'shape' is missing or no array of non-negative integers")
        }
        for offsets in ["[8]", "[8,0]", "[-1,8]", "[0,4,8]", "null"] {
            #expect(
                try entry("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":\(offsets)}")
                    == "F: tensor 'a': 'data_offsets' is missing or no pair of a begin and an end")
        }
        #expect(
            try entry("{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}", data: 7)
                == "F: tensor 'a': its data ends at 8 of 7 bytes of data; the file is incomplete")
        #expect(
            try entry("{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}")
                == "F: tensor 'a': 8 bytes, expected 12 for shape [3] of dtype F32")
        #expect(
            try entry("{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}")
                == "F: tensor 'a': 8 bytes, expected an impossible number for shape [4294967296, 4294967296] of dtype F32"
        )
        #expect(try refusal("{\"\":{}}", data: 0) == "F: a tensor's name is empty")
    }

    @Test("holes and overlaps are refused")
    func tiling() throws {
        func two(_ a: String, _ b: String) throws -> String {
            let header = """
                {"a":{"dtype":"U8","shape":[4],"data_offsets":\(a)},"b":{"dtype":"U8","shape":[4],"data_offsets":\(b)}}
                """
            return try refusal(header, data: 12)
        }
        let text = "tensors overlap or leave a hole"
        #expect(try two("[0,4]", "[5,9]") == "F: tensor 'b' begins at byte 5 of the data, expected 4: \(text)")
        #expect(try two("[0,4]", "[3,7]") == "F: tensor 'b' begins at byte 3 of the data, expected 4: \(text)")
        #expect(try two("[0,4]", "[0,4]").hasSuffix("begins at byte 0 of the data, expected 4: \(text)"))
        #expect(try two("[4,8]", "[8,12]") == "F: tensor 'a' begins at byte 4 of the data, expected 0: \(text)")
        #expect(try two("[0,4]", "[4,8]") == "F: 4 bytes follow the last tensor")
    }

    @Test("every flipped byte of the header and every cut: an error, or a file that is safe to use")
    func corrupted() throws {
        try withTemporaryFolder { folder in
            let bytes = file(full, data: 38)
            let path = try write(bytes, to: folder)
            try forEachFlip(of: path, bytes, in: 0..<bytes.count, flips: { _ in [0x01, 0x04, 0x80] }) { i in
                guard let file = try? SafetensorsFile(path: path) else { return }
                for entry in file.entries {
                    #expect(entry.offset + entry.byteCount <= bytes.count, "flip at \(i)")
                    if let view = try? file.tensor(entry.name) {
                        let floats = view.floats()
                        #expect(floats.count == view.info.elementCount, "flip at \(i)")
                    }
                }
            }
            for count in bytes.indices.reversed() {
                #expect(truncate(path, off_t(count)) == 0)
                #expect(throws: MeraserError.self, "cut at \(count)") { _ = try SafetensorsFile(path: path) }
            }
        }
    }
}
