import CKernels
import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("Writing GGUF files")
struct GGUFWritingTests {
    @Test(
        "tiles become the very blocks that they were made of, whatever their bits",
        arguments: [
            TensorType.q8_0, .q4_0, .iq4_nl, .q4_1, .q4_k, .q5_k, .q6_k,
        ])
    func blocks(type: TensorType) throws {
        let ggml = try #require(GGMLType(rawValue: type.rawValue))
        var random = SeededRandom(seed: 5)
        let (rows, columns) = (37, 2 * type.tileColumns)
        let count = rows * (try #require(ggml.rowByteCount(columns: columns)))
        let blocks = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        var tiles = [UInt8](repeating: 0, count: try #require(type.byteCount(rows: rows, columns: columns)))
        mk_ggml_to_tiles(Int32(type.rawValue), blocks, Int64(rows), Int64(columns), &tiles)
        var back = [UInt8](repeating: 0xAA, count: count)
        mk_tiles_to_ggml(Int32(type.rawValue), tiles, Int64(rows), Int64(columns), &back)
        #expect(back == blocks)
    }

    /// The bytes of each tensor in a file, by name.
    private func tensors(_ path: String) throws -> [String: (type: GGMLType, bytes: Data)] {
        let (file, all) = (try GGUFFile(path: path), try Data(contentsOf: URL(fileURLWithPath: path)))
        return try Dictionary(
            file.tensors.map { info in
                let type = try #require(GGMLType(rawValue: info.typeID))
                let count = info.dimensions.reduce(1, *) / type.blockElements * type.blockBytes
                let start = file.dataOffset + info.offset
                return (info.name, (type, all[start..<start + count]))
            }, uniquingKeysWith: { first, _ in first })
    }

    /// Converts a GGUF file to MQF and that to a GGUF file, and compares every tensor; returns how many were equal.
    private func roundTrip(_ path: String, _ folder: URL) throws -> Int {
        _ = try convert(source: path, destination: folder.path + "/m.mqf", options: ConvertOptions())
        var options = ConvertOptions()
        options.threads = 2
        let report = try writeGGUF(
            try MQFFile(path: folder.path + "/m.mqf"), keys: Metadata(), destination: folder.path + "/back.gguf",
            options: options)
        let (wanted, got) = (try tensors(path), try tensors(folder.path + "/back.gguf"))
        #expect(report.tensors.count == wanted.count && Set(got.keys) == Set(wanted.keys))
        var equal = 0
        for (name, (type, bytes)) in wanted {
            guard case .exactly = type.reading else { continue }
            #expect(got[name]?.type == type && got[name]?.bytes == bytes, "\(name)")
            equal += 1
        }
        return equal
    }

    @Test("GGUF to MQF to GGUF is byte-identical in every tensor of a type that both have")
    func roundTrip() throws {
        try withTemporaryFolder { folder in
            let path = folder.path + "/m.gguf"
            try SmallGGUF().file.bytes.write(to: URL(fileURLWithPath: path))
            // All but ffn_down, which is q5_0.
            #expect(try roundTrip(path, folder) == SmallGGUF.types.count - 1)
        }
    }

    @Test(
        "so is a real model", .enabled(if: realModel() != nil, "SmolLM2 is not on this machine (tools/real_model.sh)"))
    func realRoundTrip() throws {
        try withTemporaryFolder { folder in
            let model = try #require(realModel())
            #expect(try roundTrip(model.path, folder) == 272)
        }
    }

    @Test("a file has the same bytes for any number of threads, and its tensors lie at multiples of 32")
    func threads() throws {
        try withTemporaryFolder { folder in
            let path = folder.path + "/m.gguf"
            try SmallGGUF().file.bytes.write(to: URL(fileURLWithPath: path))
            for threads in [1, 3] {
                var options = ConvertOptions()
                (options.threads, options.type) = (threads, .iq4_nl)
                _ = try writeGGUF(
                    openTensorSource(path: path), keys: Metadata(), destination: "\(folder.path)/\(threads).gguf",
                    options: options)
            }
            let files = try ["1", "3"].map {
                try Data(contentsOf: URL(fileURLWithPath: "\(folder.path)/\($0).gguf"))
            }
            #expect(files[0] == files[1])
            let file = try GGUFFile(path: folder.path + "/1.gguf")
            #expect(file.tensors.allSatisfy { $0.offset % 32 == 0 } && file.dataOffset % 32 == 0)
            #expect(file.metadata.int("general.file_type") == 25 && file.metadata.string("general.type") == "model")
            // The embedding is finer than the matrices, as in convert.
            #expect(file.tensors.first { $0.name == "token_embd.weight" }?.typeID == GGMLType.q8_0.rawValue)
        }
    }
}
