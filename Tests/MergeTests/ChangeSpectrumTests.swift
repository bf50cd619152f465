import Base
import Foundation
import Merge
import Quant
import TestSupport
import Testing

@Suite("What was done to a model, as singular values") struct ChangeSpectrumTests {
    /// Orthonormal vectors of that length.
    private func orthonormal(_ count: Int, _ length: Int, _ random: inout SeededRandom) -> [[Float]] {
        var vectors: [[Double]] = []
        while vectors.count < count {
            var vector = random.gaussians(length).map(Double.init)
            for other in vectors {
                let product = zip(vector, other).reduce(0) { $0 + $1.0 * $1.1 }
                vector = zip(vector, other).map { $0 - product * $1 }
            }
            let norm = vector.reduce(0) { $0 + $1 * $1 }.squareRoot()
            vectors.append(vector.map { $0 / norm })
        }
        return vectors.map { $0.map(Float.init) }
    }

    @Test("an adapter's are those that its factors were made with, in whatever basis these are written")
    func adapter() throws {
        try withTemporaryFolder { folder in
            var random = SeededRandom(seed: 4)
            let (rank, rows, columns) = (3, 10, 7)
            let singular: [Float] = [5, 2, 0.5]
            let (left, right) = (orthonormal(rank, rows, &random), orthonormal(rank, columns, &random))
            // A rotated and sheared basis between the factors: B = U S M⁻¹, A = M Vᵀ with a triangular M.
            let m: [[Float]] = [[2, 1, 3], [0, 1, -1], [0, 0, 4]]
            let inverse: [[Float]] = [[0.5, -0.5, -0.5], [0, 1, 0.25], [0, 0, 0.25]]
            var (a, b) = ([Float](repeating: 0, count: rank * columns), [Float](repeating: 0, count: rows * rank))
            for i in 0..<rank {
                for k in 0..<rank {
                    for c in 0..<columns { a[i * columns + c] += m[i][k] * right[k][c] }
                    for r in 0..<rows { b[r * rank + i] += left[k][r] * singular[k] * inverse[k][i] }
                }
            }
            let factors = AdapterFile.Factors(path: "model.layers.0.mlp.up_proj", a: a, b: b, rank: rank)
            let path = folder.appendingPathComponent("adapter").path
            let config = PEFTConfig(r: rank, loraAlpha: 6, targets: .names(["up_proj"]))
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            try AdapterFile.write(
                folder: path, config: config, factors: [factors], saved: [], provenance: AdapterProvenance())
            let file = try AdapterFile(path: path)
            let scale = Double(file.modules[0].scale)
            let spectrum = try #require(ChangeSpectrum.ofAdapter(file, count: 2).first)
            #expect(spectrum.module == factors.path && spectrum.values.count == 2)
            for (value, expected) in zip(spectrum.values, singular) {
                #expect(abs(value / (scale * Double(expected)) - 1) < 1e-5, "\(spectrum.values)")
            }
            #expect(abs(spectrum.energy / (scale * scale * 29.25) - 1) < 1e-5)
            #expect(abs(try #require(spectrum.concentration(of: 2)) - 25.0 / 29) < 1e-5)
            #expect(spectrum.concentration(of: 3) == nil)
        }
    }

    @Test("a difference's are those of what was added to the base, of the matrices that differ alone")
    func difference() throws {
        try withTemporaryFolder { folder in
            let base = MergeFolders.tensors(seed: 1, layers: 2)
            var tuned = base
            var random = SeededRandom(seed: 9)
            let name = try #require(
                base.keys.sorted().first { $0.contains("layers") && base[$0]?.shape.count == 2 })
            let shape = try #require(base[name]).shape
            let (left, right) = (orthonormal(2, shape[0], &random), orthonormal(2, shape[1], &random))
            for (k, value) in [Float(3), 1].enumerated() {
                for r in 0..<shape[0] {
                    for c in 0..<shape[1] { tuned[name]?.values[r * shape[1] + c] += value * left[k][r] * right[k][c] }
                }
            }
            try MergeFolders.write(folder.appendingPathComponent("base"), base)
            try MergeFolders.write(folder.appendingPathComponent("tuned"), tuned)
            let found = try ChangeSpectrum.ofDifference(
                model: folder.appendingPathComponent("tuned").path, base: folder.appendingPathComponent("base").path,
                count: 2, threads: 2)
            #expect(found.map { $0.module + ".weight" } == [name])
            #expect(abs(found[0].values[0] - 3) < 1e-3 && abs(found[0].values[1] - 1) < 1e-3, "\(found)")
            #expect(abs(found[0].energy - 10) < 1e-2)
        }
    }
}
