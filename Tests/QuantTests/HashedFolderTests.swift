import Base
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Quant

@Suite("Reading a folder once")
struct HashedFolderTests {
    @Test("a file that is read by several threads in any order, with gaps, has the hash that it has")
    func digest() throws {
        try withTemporaryFolder { folder in
            var random = SeededRandom(seed: 8)
            let bytes = (0..<3_000_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            let path = try write(bytes, to: folder, "f")
            for threads in [1, 2, 5] {
                let digest = FileDigest(try MappedFile(path: path))
                let pieces = (0..<40).shuffled()
                try forEachInParallel(count: 30, threads: threads) { index in
                    let range = pieces[index] * 70_000..<(pieces[index] + 1) * 70_000
                    var piece = [UInt8](repeating: 0, count: range.count)
                    try piece.withUnsafeMutableBytes { try digest.read(into: $0, at: range.lowerBound) }
                    #expect(piece.elementsEqual(bytes[range]))
                }
                #expect(try digest.finish() == sha256Hex(bytes))
            }
        }
    }

    /// Writes the checkpoint's tensors, and one that no architecture has, to three shards.
    private func writeShards(_ checkpoint: TinyCheckpoint, to folder: URL) throws {
        try checkpoint.write(to: folder)
        try FileManager.default.removeItem(at: folder.appendingPathComponent("model.safetensors"))
        var tensors = checkpoint.tensors
        tensors["model.extra"] = ([3, 5], Array(repeating: 0.5, count: 15))
        var map: [String] = []
        let sorted = tensors.sorted { $0.key < $1.key }
        for shard in 0..<3 {
            let name = "model-\(shard).safetensors"
            let part = sorted.enumerated().filter { $0.offset % 3 == shard }.map(\.element)
            let writer = try SafetensorsWriter(
                path: folder.appendingPathComponent(name).path,
                tensors: part.map { TensorDeclaration(name: $0.key, type: .f32, shape: $0.value.shape) },
                overwrite: true)
            for (tensor, value) in part {
                try value.values.withUnsafeBytes { try writer.write(tensor, $0) }
                map.append("\"\(tensor)\": \"\(name)\"")
            }
            try writer.finish()
        }
        try Data("{\"weight_map\": {\(map.joined(separator: ", "))}}".utf8)
            .write(to: folder.appendingPathComponent("model.safetensors.index.json"))
    }

    @Test("shards give the tensors of a single file for any number of threads, and the hash that sha256sum gives")
    func shards() throws {
        try withTemporaryFolder { folder in
            let whole = folder.appendingPathComponent("whole")
            let shards = folder.appendingPathComponent("shards")
            for url in [whole, shards] {
                try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
            }
            let checkpoint = TinyCheckpoint()
            try checkpoint.write(to: whole)
            try writeShards(checkpoint, to: shards)
            var options = ConvertOptions()
            let single = folder.appendingPathComponent("single.mqf").path
            _ = try convert(source: whole.path, destination: single, options: options)
            let want = try MQFFile(path: single)
            let identity = try SafetensorsFolder(path: shards.path).sha256()
            var digests: Set<String> = []
            for threads in [1, 2, 7] {
                options.threads = threads
                options.overwrite = true
                let path = folder.appendingPathComponent("shards.mqf").path
                let report = try convert(source: shards.path, destination: path, options: options)
                #expect(report.warnings.contains { $0.contains("model.extra") })
                let file = try MQFFile(path: path)
                try file.verify()
                #expect(file.metadata.string("mqf.source.sha256") == identity)
                for name in want.tensorNames {
                    let (got, expected) = (try file.tensor(name), try want.tensor(name))
                    #expect(got.bytes.elementsEqual(expected.bytes), "\(name)")
                }
                digests.insert(try file.sha256())
            }
            #expect(digests.count == 1)
        }
    }
}
