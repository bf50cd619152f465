import Foundation
import TestSupport
import Testing

@testable import Quant

@Suite("Converter: reading the source once")
struct SourceSegmentTests {
    @Test("segments tile a file, and those with rows are the tensors' rows in order")
    func tiling() throws {
        let infos = [
            TensorInfo(
                name: "b", type: .f32, shape: [70_000, 64], offset: 3_000_100, byteCount: 17_920_000, crc32c: nil),
            TensorInfo(
                name: "a", type: .bf16, shape: [5, 3_000_000], offset: 21_000_000, byteCount: 30_000_000, crc32c: nil),
            TensorInfo(name: "c", type: .f16, shape: [96], offset: 51_000_000, byteCount: 192, crc32c: nil),
        ]
        let items = [(index: 7, info: infos[1]), (index: 2, info: infos[0]), (index: 3, info: infos[2])]
        let segments = SourceSegment.cut(fileByteCount: 51_000_200, items: items)
        var end = 0
        var rows: [Int: Int] = [:]
        for segment in segments {
            #expect(segment.offset == end && segment.byteCount > 0)
            end += segment.byteCount
            guard let part = segment.rows else {
                #expect(segment.byteCount <= 2 << 20)
                continue
            }
            let info = try #require(items.first { $0.index == part.item }?.info)
            #expect(part.range.lowerBound == rows[part.item, default: 0] && part.range.lowerBound % 16 == 0)
            #expect(segment.offset == info.offset + part.range.lowerBound * (info.byteCount / info.rows))
            #expect(segment.byteCount == part.range.count * (info.byteCount / info.rows))
            rows[part.item] = part.range.upperBound
        }
        #expect(end == 51_000_200)
        #expect(rows == [2: 70_000, 7: 5, 3: 1])
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
