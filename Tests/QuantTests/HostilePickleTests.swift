import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("Pickles that do anything else than build tensors")
struct HostilePickleTests {
    private typealias P = PyTorchBytes

    private func open(_ bytes: [UInt8], in folder: URL) throws -> PyTorchFile {
        try PyTorchFile(path: try write(bytes, to: folder, "m.bin"))
    }

    private func refusal(_ file: PyTorchBytes) throws -> String {
        try withTemporaryFolder { folder in
            errorText { _ = try open(file.bytes, in: folder) }.replacingOccurrences(of: folder.path, with: "D")
        }
    }

    @Test("a file as torch.save writes it opens, whatever the strides")
    func opens() throws {
        for (shape, strides, offset, wanted) in [
            ([2, 3], [3, 1], 0, [0, 1, 2, 3, 4, 5]), ([3, 2], [1, 3], 0, [0, 3, 1, 4, 2, 5]),
            ([2, 2], [3, 1], 1, [1, 2, 4, 5]), ([2], [3], 2, [2, 5]), ([1, 3], [77, 2], 1, [1, 3, 5]),
        ] as [([Int], [Int], Int, [Float])] {
            try withTemporaryFolder { folder in
                let file = try open(P(shape: shape, strides: strides, offset: offset).bytes, in: folder)
                let tensor = try #require(file.tensors[Array("w".utf8)])
                var (values, raw) = ([Float](repeating: 0, count: wanted.count), [UInt8]())
                let rows = try tensor.entry().rows
                try values.withUnsafeMutableBufferPointer {
                    try tensor.read(rows: 0..<rows, into: #require($0.baseAddress), raw: &raw)
                }
                #expect(values == wanted, "\(shape) \(strides) \(offset)")
            }
        }
    }

    @Test("functions and classes that build no tensor are refused by name, before anything is called")
    func globals() throws {
        for (module, name) in [
            ("os", "system"), ("posix", "system"), ("builtins", "eval"), ("builtins", "getattr"),
            ("subprocess", "Popen"),
            ("torch", "load"), ("torch.storage", "_load_from_bytes"), ("torch._utils", "_rebuild_tensor_v3"),
            ("torch", "QInt8Storage"), ("collections", "OrderedDict\u{1B}[31m"), ("", ""),
        ] {
            let call = P.global(module, name) + P.text("touch /tmp/x") + [0x85] + Array("R.".utf8)
            let text = try refusal(P(pickle: [0x80, 2] + call))
            #expect(
                text.hasPrefix("D/m.bin: data.pkl: the global '\(module).\(name)".escapingControlCharacters()),
                "\(text)")
            let stacked = P.text(module) + P.text(name) + [0x93] + Array("R.".utf8)
            #expect(try refusal(P(pickle: [0x80, 4] + stacked)).contains("builds no tensor and is not called"))
        }
        // What may be named may not be called in another way.
        for pickle in [
            P.global("torch", "FloatStorage") + Array(")R.".utf8), Array("N)R.".utf8), P.text("x") + Array(")R.".utf8),
            P.global("collections", "OrderedDict") + Array("N\u{85}R.".utf8), Array("})R.".utf8),
            P.global("collections", "OrderedDict") + [0x4E, 0x85] + Array("R.".utf8),
            P.global("torch._utils", "_rebuild_tensor_v2") + Array(")R.".utf8),
            P.global("torch._utils", "_rebuild_parameter") + Array(")R.".utf8),
            P.global("collections", "OrderedDict") + Array("}b.".utf8), Array("}Nb.".utf8), Array("NQ.".utf8),
        ] { #expect(try refusal(P(pickle: pickle)).hasPrefix("D/m.bin: data.pkl: ")) }
    }

    @Test("every other step is refused by its name")
    func steps() throws {
        for (code, name) in [
            (0x81, "NEWOBJ"), (0x92, "NEWOBJ_EX"), (0x69, "INST"), (0x6F, "OBJ"), (0x50, "PERSID"), (0x82, "EXT1"),
            (0x8B, "LONG4"), (0x5D, "EMPTY_LIST"), (0x96, "BYTEARRAY8"), (0x49, "INT"), (0xFE, "number 254"),
        ] as [(UInt8, String)] {
            #expect(
                try refusal(P(pickle: [0x80, 2, code] + Array("x\ny\n.".utf8))).contains("the step \(name) builds no"))
        }
        for (value, what) in [
            ("N", "holds no dictionary"), ("}K\u{1}Ns", "no name of a tensor"), ("}X\u{1}\0\0\0wNs", "no tensor"),
        ] {
            #expect(try refusal(P(pickle: Array(value.utf8) + Array(".".utf8))).contains(what))
        }
    }

    @Test("nesting, memos, stacks and lengths of any size end in one line")
    func sizes() throws {
        let many = 1_100_000
        for pickle in [
            [0x4E] + [UInt8](repeating: 0x85, count: many) + [0x2E],  // tuples in tuples
            [UInt8](repeating: 0x28, count: many) + [0x2E],  // marks
            [0x28] + [UInt8](repeating: 0x4E, count: 100_000) + Array("t.".utf8),
            [0x4E] + (0..<20_000).flatMap { [0x72] + P.little(UInt32.max - UInt32($0)) } + [0x2E],  // a huge memo
            [0x4E, 0x6A, 0xFF, 0xFF, 0xFF, 0xFF, 0x2E], [0x58, 0xFF, 0xFF, 0xFF, 0xFF, 0x41], [0x8C, 0xFF, 0x41],
            [0x8A, 200] + [UInt8](repeating: 1, count: 200) + [0x2E], [0x63] + [UInt8](repeating: 0x41, count: 10_000),
            [0x75], [0x74], [0x73], [0x71, 0], [0x68, 0], [0x62], [0x52], [0x51], [0x87], [0x28, 0x75, 0x2E], [0x2E],
            [],
        ] as [[UInt8]] { #expect(try refusal(P(pickle: pickle)).hasPrefix("D/m.bin: data.pkl")) }
    }

    @Test("a tensor lies inside its storage, or is refused with its numbers")
    func places() throws {
        for (shape, strides, offset) in [
            ([2, 3], [3, 1], 1), ([3, 3], [3, 1], 0), ([2, 3], [4, 1], 0), ([2, 3], [3, 1], -1), ([2, -3], [3, 1], 0),
            ([2, 3], [3, -1], 0), ([2, 3], [3], 0), ([.max, .max], [0, 0], 0), ([2, 4], [0, 1], 0), ([7], [0], 0),
            ([2, 3], [.max, 1], 0), ([2, 2], [1, .max], 0), ([2, 3], [3, 1], .max), ([1 << 62, 4], [1, 1], 0),
        ] {
            let text = try refusal(P(shape: shape, strides: strides, offset: offset))
            #expect(text.hasPrefix("D/m.bin: tensor 'w' "), "\(text)")
        }
        for count in [5, 7, 0, -1, .max, 1 << 61] {
            let text = try refusal(P(count: count))
            #expect(text.contains(count < 0 ? "not that of a storage" : "of which the file has 24 bytes"), "\(text)")
        }
        #expect(try refusal(P(storage: "HalfStorage")).contains("storage of 6 float16, of which the file has 24"))
        var missing = P()
        missing.members = []
        #expect(try refusal(missing).contains("lies in the storage '0', which is not in the file"))
    }

    @Test("archives that torch.save does not write")
    func archives() throws {
        var file = P()
        file.method = 8
        #expect(try refusal(file).contains("compressed or encrypted"))
        file.method = 0
        file.members.append(("byteorder", Array("big".utf8)))
        #expect(try refusal(file).contains("not little-endian"))
        file.members = [("data/0", []), ("data/0", [])]
        #expect(try refusal(file).contains("is in it twice"))
        file.members = [("data.pkl", [])]
        #expect(try refusal(file).contains("twice"))
        try withTemporaryFolder { folder in
            let legacy = errorText { _ = try open([0x80, 2, 0x8A, 10, 0x6C], in: folder) }
            #expect(legacy.contains("before PyTorch 1.6"))
            #expect(
                errorText { _ = try open(Array("PK\u{3}\u{4}".utf8), in: folder) }.contains("incomplete or damaged"))
        }
    }

    @Test("cut at any byte it is one line; with any byte changed it is one line, or a file that opens")
    func damage() throws {
        let path = SourceSinkTests.pyTorch.appendingPathComponent("shards/pytorch_model-00001-of-00002.bin")
        let file = Array(try Data(contentsOf: path))
        let zip = try ZipArchive(try MappedFile(path: path.path))
        let name = try #require(zip.members.keys.first { $0.suffix(8).elementsEqual("data.pkl".utf8) })
        let place = try #require(zip.members[name])
        let pickle = Array(file[place.offset..<place.offset + place.byteCount])
        for count in 0..<pickle.count {
            let text = errorText {
                _ = try pickle[..<count].withUnsafeBytes { try PickleReader.tensors($0, label: "p") }
            }
            #expect(text.hasPrefix("p: "), "\(count): \(text)")
        }
        try withTemporaryFolder { folder in
            for count in 1..<file.count where count % 16 == 0 || count > file.count - 100 {
                _ = errorText { _ = try open(Array(file[..<count]), in: folder) }
            }
            let range = place.offset - 100..<place.offset + place.byteCount
            for index in Array(range) + Array(file.count - 1200..<file.count) {
                var changed = file
                changed[index] ^= [0x01, 0x80, 0xFF][index % 3]
                do { _ = try open(changed, in: folder) } catch let error as MeraserError {
                    #expect(error.kind == .badInput && !error.message.contains("\n"), "\(index): \(error)")
                }
            }
        }
    }
}
