import Base
import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("MQF writer")
struct MQFWriterTests {
    private var metadata: Metadata {
        var metadata = Metadata()
        metadata["a"] = .uint8(1)
        metadata["b"] = .int8(-1)
        metadata["c"] = .uint16(500)
        metadata["d"] = .int16(-500)
        metadata["e"] = .uint32(70_000)
        metadata["f"] = .int32(-70_000)
        metadata["g"] = .float32(.infinity)
        metadata["h"] = .bool(true)
        metadata["i"] = .string("e\u{301}\0")
        metadata["j"] = .uint64(.max)
        metadata["k"] = .int64(.min)
        metadata["l"] = .float64(-0.0)
        metadata["m"] = .array(.string(["", "x"]))
        metadata["n"] = .array(.uint8([1, 2]))
        metadata["o"] = .array(.int8([-1]))
        metadata["p"] = .array(.uint16([1]))
        metadata["q"] = .array(.int16([-1]))
        metadata["r"] = .array(.uint32([1]))
        metadata["s"] = .array(.int32([-1]))
        metadata["t"] = .array(.float32([0.5]))
        metadata["u"] = .array(.bool([true, false]))
        metadata["v"] = .array(.uint64([1]))
        metadata["w"] = .array(.int64([-1]))
        metadata["x"] = .array(.float64([0.25]))
        metadata["y"] = .array(.float32([]))
        return metadata
    }

    @Test("gives the bytes that docs/reference/format.md describes")
    func bytes() throws {
        try withTemporaryFolder { folder in
            let sample = MQFSample.full
            var metadata = Metadata()
            metadata["general.name"] = .string("tiny")
            metadata["mqf.file.config.json"] = .string("{}")
            let path = folder.appendingPathComponent("a.mqf").path
            let writer = try MQFWriter(
                path: path, metadata: metadata,
                tensors: [
                    TensorDeclaration(name: "a", type: .f32, shape: [3]),
                    TensorDeclaration(name: "b", type: .q8_0, shape: [2, 32]),
                ])
            // Pieces in any order.
            try sample.tensors[1].data[100...].withUnsafeBytes { try writer.write(tensor: 1, at: 100, $0) }
            try sample.tensors[0].data.withUnsafeBytes { try writer.write(tensor: 0, at: 0, $0) }
            try sample.tensors[1].data[..<100].withUnsafeBytes { try writer.write(tensor: 1, at: 0, $0) }
            try writer.finish()
            let written = try Data(contentsOf: URL(fileURLWithPath: path))
            #expect(Array(written) == sample.bytes)
        }
    }

    @Test("metadata of every type reads back")
    func metadataRoundTrip() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("a.mqf").path
            try MQFWriter(path: path, metadata: metadata, tensors: []).finish()
            let file = try MQFFile(path: path)
            try file.verify()
            #expect(file.metadata == metadata)
            #expect(file.metadata.keys == metadata.keys)
            #expect(file.metadata.string("i").map { Array($0.utf8) } == [0x65, 0xCC, 0x81, 0])
            #expect(file.tensors.isEmpty)
        }
    }

    @Test("names and shapes that a reader would refuse are refused")
    func refused() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("a.mqf").path
            func text(_ tensors: [TensorDeclaration]) -> String {
                errorText { _ = try MQFWriter(path: path, metadata: Metadata(), tensors: tensors) }
            }
            let tensor = TensorDeclaration(name: "a", type: .f32, shape: [3])
            #expect(text([tensor, tensor]) == "\(path): tensor 'a' occurs twice")
            #expect(
                text([TensorDeclaration(name: "", type: .f32, shape: [3])])
                    == "\(path): tensor '' needs a name of 1 to 1024 bytes")
            for (type, shape) in [
                (TensorType.q4_0, [32]), (.q4_0, [4, 31]), (.f32, []), (.f32, [1, 2, 3]), (.f32, [0]),
            ] {
                #expect(
                    text([TensorDeclaration(name: "a", type: type, shape: shape)])
                        == "\(path): tensor 'a' cannot have shape \(shape) with type \(type.name)")
            }
            let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            #expect(left == [])
        }
    }

    @Test("a full disk is one line, and nothing is left")
    func fullDisk() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("a.mqf").path
            let text = errorText(.runtime) {
                let writer = try MQFWriter(
                    path: path, metadata: Metadata(), tensors: [TensorDeclaration(name: "a", type: .f32, shape: [100])],
                    overwrite: false, maximumByteCount: 4200)
                try [UInt8](repeating: 1, count: 400).withUnsafeBytes { try writer.write(tensor: 0, at: 0, $0) }
                try writer.finish()
            }
            #expect(text == "cannot write \(path): the disk is full; free some space or choose another disk")
            let left = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            #expect(left == [])
        }
    }
}
