import Audit
import Base
import Foundation
import Kernels
import Merge
import Model
import Quant
import TestSupport
import Testing

@testable import Pipeline

/// Who was made from whom: tinychat beside what is made of it, and beside models that have only its shape.
@Suite("Lineage")
struct LineageTests {
    private func lineage(_ a: String, _ b: String, layers: ClosedRange<Int>? = nil) throws -> Lineage {
        try Lineage(a, b, layers: layers, kernels: try KernelContext(threads: 2))
    }

    private func write(_ folder: URL, _ name: String, _ change: @escaping Changed.Change) throws -> String {
        let path = folder.appendingPathComponent(name).path
        _ = try writeModel(
            Changed(source: try openWeightStore(path: tinychatFolder().path), change: change), destination: path,
            options: ConvertOptions())
        return path
    }

    @Test("what is quantized, or tuned by a little noise, is related by both forms, layer by layer")
    func descendants() throws {
        try withTemporaryFolder { folder in
            let own = tinychatFolder().path
            let quantized = folder.appendingPathComponent("q.mqf").path
            _ = try writeModel(
                try openWeightStore(path: own), destination: quantized, options: ConvertOptions())
            let tuned = try write(folder, "tuned") { name, values, entry in
                var random = SplitMix64(seed: UInt64(name.utf8.count))
                let spread = (values.reduce(0) { $0 + $1 * $1 } / Float(max(values.count, 1))).squareRoot()
                return values.map { $0 + 0.5 * spread * (2 * random.unit() - 1) }
            }
            for other in [quantized, tuned] {
                let found = try lineage(own, other)
                #expect(found.verdict == .related && found.layers.count > 1)
                #expect(found.layers.allSatisfy { $0.plain.value > 0.99 && ($0.robust?.value ?? 0) > 0.99 })
                #expect(found.plainLogPValue < -1000 && (found.robustLogPValue ?? 0) < -1000)
            }
        }
    }

    @Test("permuted channels hide a descendant from the plain form; the robust one has the same bits as without")
    func permuted() throws {
        try withTemporaryFolder { folder in
            let own = tinychatFolder().path
            let permuted = try write(folder, "permuted") { name, values, entry in
                let (rows, columns) = (entry.shape[0], entry.shape.last ?? 1)
                if name.hasSuffix("up_proj.weight") || name.hasSuffix("gate_proj.weight") {
                    return Self.order(rows).flatMap { values[$0 * columns..<($0 + 1) * columns] }
                }
                guard name.hasSuffix("down_proj.weight") else { return values }
                let order = Self.order(columns)
                return (0..<rows).flatMap { row in order.map { values[row * columns + $0] } }
            }
            let (plain, hidden) = (try lineage(own, own), try lineage(own, permuted))
            #expect(hidden.plainLogPValue > log(1e-4), "\(hidden.plainLogPValue)")
            #expect(hidden.verdict == .related)
            #expect(hidden.layers.map(\.robust) == plain.layers.map(\.robust))
        }
    }

    @Test("models of one shape with other weights are not related, and their p-values are no extremes")
    func strangers() throws {
        try withTemporaryFolder { folder in
            var values: [Double] = []
            for seed in 0..<2 {
                let other = try write(folder, "other-\(seed)") { name, values, entry in
                    var random = SplitMix64(
                        seed: name.utf8.reduce(UInt64(seed) &+ 1) { $0 &* 31 &+ UInt64($1) })
                    return values.map { _ in (random.unit() + random.unit() + random.unit() - 1.5) * 0.05 }
                }
                let found = try lineage(tinychatFolder().path, other, layers: 0...0)
                #expect(found.verdict == .notShown, "\(found.plainLogPValue) \(found.robustLogPValue ?? 0)")
                values += [found.plainLogPValue, found.robustLogPValue ?? 0]
            }
            #expect(values.allSatisfy { $0 > log(1e-4) }, "\(values)")
        }
    }

    @Test("models of other shapes, and layers that are not there, are refused by name")
    func refused() throws {
        let own = tinychatFolder().path
        let text = errorText(.usage) {
            _ = try Lineage(own, own, layers: 0...99, kernels: try KernelContext(threads: 1))
        }
        #expect(text.contains("0-99"), "\(text)")
    }

    @Test("a weight that is no number is one line that names it, never a trap")
    func notANumber() throws {
        try withTemporaryFolder { folder in
            // Nothing of ours writes one: a number that stands there once is overwritten in the file.
            let mark = Float(12345.678)
            let broken = try write(folder, "broken") { name, values, entry in
                guard name.hasSuffix("layers.1.mlp.gate_proj.weight") else { return values }
                return values.indices.map { $0 == 700 ? mark : values[$0] }
            }
            let file = URL(fileURLWithPath: broken).appendingPathComponent("model.safetensors")
            var data = try Data(contentsOf: file)
            let place = try #require(data.range(of: withUnsafeBytes(of: mark.bitPattern) { Data($0) }))
            data.replaceSubrange(place, with: withUnsafeBytes(of: Float.nan.bitPattern) { Data($0) })
            try data.write(to: file)
            let text = errorText { _ = try lineage(tinychatFolder().path, broken) }
            #expect(text.contains("layers.1.mlp.gate_proj.weight"), "\(text)")
        }
    }

    /// A fixed order of so many channels.
    private static func order(_ count: Int) -> [Int] {
        var random = SplitMix64(seed: 11)
        return (0..<count).map { ($0, random.next()) }.sorted { $0.1 < $1.1 }.map(\.0)
    }
}

extension SplitMix64 {
    /// 0 to below 1.
    fileprivate mutating func unit() -> Float { Float(next() >> 40) / 16_777_216 }
}

/// A model with other values.
private struct Changed: TensorSource {
    typealias Change = @Sendable (_ name: String, _ values: [Float], _ entry: TensorEntry) -> [Float]

    let source: any TensorSource
    let change: Change

    var path: String { source.path }
    var tensorNames: [String] { source.tensorNames }
    var warnings: [String] { [] }
    func textFile(_ name: String) throws -> [UInt8]? { try source.textFile(name) }
    func entry(_ name: String) throws -> TensorEntry? {
        try source.entry(name).map { TensorEntry(computed: name, shape: $0.shape, type: .f32, path: path) }
    }
    func rows(of name: String) throws -> any TensorRows {
        let entry = try source.tensorEntry(name)
        var values = [Float](repeating: 0, count: entry.shape.reduce(1, *))
        var raw: [UInt8] = []
        let rows = try source.rows(of: name)
        try values.withUnsafeMutableBufferPointer { target in
            guard let start = target.baseAddress else { return }
            try rows.read(rows: 0..<entry.rows, into: start, raw: &raw)
        }
        return ChangedRows(values: change(name, values, entry), columns: entry.shape.last ?? 1)
    }
}

private struct ChangedRows: TensorRows {
    let values: [Float]
    let columns: Int

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        for (place, index) in (rows.lowerBound * columns..<rows.upperBound * columns).enumerated() {
            target[place] = values[index]
        }
    }
}
