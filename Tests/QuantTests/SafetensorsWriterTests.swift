import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("Safetensors writer")
struct SafetensorsWriterTests {
    @Test("tensors read back; the layout is that of the reference implementation")
    func roundTrip() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("a.safetensors").path
            let writer = try SafetensorsWriter(
                path: path,
                tensors: [
                    TensorDeclaration(name: "h", type: .bf16, shape: [3]),
                    TensorDeclaration(name: "z\"\n", type: .f32, shape: [2, 2]),
                    TensorDeclaration(name: "b", type: .f32, shape: [1]),
                ], metadata: ["note": "a\\b"])
            let z: [Float] = [1, 2, 3, 4]
            try z[..<1].withUnsafeBytes { try writer.write("z\"\n", $0) }
            try [Float(9)].withUnsafeBytes { try writer.write("b", $0) }
            try z[1...].withUnsafeBytes { try writer.write("z\"\n", $0) }
            try [UInt16(0x3F80), 0xC000, 0].withUnsafeBytes { try writer.write("h", $0) }
            try writer.finish()
            let file = try SafetensorsFile(path: path)
            // Larger dtypes first, then by name; data on a multiple of 8.
            #expect(file.entries.map(\.name) == ["b", "z\"\n", "h"])
            #expect(file.entries[0].offset % 8 == 0)
            #expect(file.metadata.map(\.key) == ["format", "note"])
            #expect(file.metadata.map(\.value) == ["pt", "a\\b"])
            let (readZ, readH) = (try file.tensor("z\"\n").floats(), try file.tensor("h").floats())
            #expect(readZ == z)
            #expect(readH == [1, -2, 0])
        }
    }

    @Test("integers lie in front of the smaller dtypes and read back")
    func integers() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("a.safetensors").path
            let writer = try SafetensorsWriter(
                path: path, tensors: [TensorDeclaration(name: "a", type: .f32, shape: [1])],
                integers: [("ids", [1, -2, 1 << 40])])
            try [Float(9)].withUnsafeBytes { try writer.write("a", $0) }
            try writer.finish()
            let file = try SafetensorsFile(path: path)
            #expect(file.entries.map(\.name) == ["ids", "a"])
            #expect(file.entry("ids")?.dtype == "I64" && file.entry("ids")?.shape == [3])
            let (ids, a) = (try file.integers("ids"), try file.tensor("a").floats())
            #expect(ids == [1, -2, 1 << 40] && a == [9])
        }
    }

    @Test("nothing is left when the writer is dropped; what does not fit into the format is refused")
    func refused() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("a.safetensors").path
            let a = TensorDeclaration(name: "a", type: .f32, shape: [1])
            _ = try SafetensorsWriter(path: path, tensors: [a])
            #expect(
                errorText { _ = try SafetensorsWriter(path: path, tensors: [a, a]) }
                    == "\(path): tensor 'a' occurs twice")
            let tiled = TensorDeclaration(name: "q", type: .q8_0, shape: [16, 32])
            #expect(
                errorText { _ = try SafetensorsWriter(path: path, tensors: [tiled]) }
                    == "\(path): tensor 'q' with shape [16, 32] and type q8_0 does not fit into safetensors, expected f32, "
                    + "f16 or bf16 and one or two dimensions")
            let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            #expect(left == [])
        }
    }

    @Test("a model is shared out over shards in order, with an index", arguments: [1_000, 24, 8])
    func shards(maximum: Int) throws {
        try withTemporaryFolder { folder in
            let tensors = (0..<5).map { TensorDeclaration(name: "t\($0)", type: .f32, shape: [3]) }
            let writer = try ShardedSafetensorsWriter(
                folder: folder.path, tensors: tensors, maximumShardByteCount: maximum)
            for i in (0..<5).reversed() {
                try [Float(i), 0, 1].withUnsafeBytes { try writer.write("t\(i)", $0) }
            }
            try writer.finish()
            let store = try SafetensorsFolder(path: folder.path)
            #expect(store.tensorNames == tensors.map(\.name))
            for i in 0..<5 {
                let values = try store.tensor("t\(i)").floats()
                #expect(values == [Float(i), 0, 1])
            }
            let counts = store.files.map(\.entries.count)
            let names = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
            switch maximum {
            case 1_000:
                #expect(names == ["model.safetensors"])
            case 24:
                #expect(counts == [2, 2, 1])
                #expect(names.first == "model-00001-of-00003.safetensors")
                #expect(names.last == "model.safetensors.index.json")
            default:
                #expect(counts == [1, 1, 1, 1, 1])
            }
        }
    }
}
