import Base
import Foundation
import Merge
import Quant
import TestSupport
import Testing

private let layer0 = "model.layers.0.self_attn.q_proj"
private let layer1 = "model.layers.1.mlp.up_proj"

/// An adapter of Gaussian factors on those modules of 12 × 20.
private func write(
    _ folder: URL, seed: UInt64, rank: Int, alpha: Double, modules: [String], rsLoRA: Bool = false,
    base: String? = nil, parents: [String] = [], columns: Int = 20
) throws -> AdapterFile {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    var random = SeededRandom(seed: seed)
    let factors = modules.map {
        AdapterFile.Factors(
            path: $0, a: random.gaussians(rank * columns), b: random.gaussians(12 * rank), rank: rank)
    }
    let config = PEFTConfig(r: rank, loraAlpha: alpha, useRSLoRA: rsLoRA, targets: .names(modules))
    try AdapterFile.write(
        folder: folder.path, config: config, factors: factors,
        provenance: AdapterProvenance(baseSHA256: base, parents: parents))
    return try AdapterFile(path: folder.path)
}

/// weight · scale · B · A in double precision, with the sum of the magnitudes of all products.
private func delta(
    _ adapter: AdapterFile, _ path: String, weight: Double
) throws -> (values: [Double], magnitude: [Double]) {
    var values = [Double](repeating: 0, count: 12 * 20)
    var magnitude = values
    for module in adapter.modules where module.path == path {
        let (a, b) = (try module.a.floats(), try module.b.floats())
        let scale = try adapter.config.exactScale(of: path) * weight
        for row in 0..<12 {
            for k in 0..<module.rank {
                for column in 0..<20 {
                    let term = scale * Double(b[row * module.rank + k]) * Double(a[k * 20 + column])
                    values[row * 20 + column] += term
                    magnitude[row * 20 + column] += abs(term)
                }
            }
        }
    }
    return (values, magnitude)
}

private func recipe(_ terms: [(String, Double)]) throws -> AdapterRecipe {
    let list = terms.map { "{\"adapter\": \"\($0.0)\", \"parameters\": {\"weight\": \($0.1)}}" }
    let text = "{\"merge_method\": \"linear\", \"adapters\": [\(list.joined(separator: ","))]}"
    return try AdapterRecipe(try JSONValue.parse(Array(text.utf8), file: "r"), file: "r")
}

@Test("a weighted sum of adapters is one adapter with the sum of their ΔW, whatever their ranks and scales")
func addsAdapters() throws {
    try withTemporaryFolder { folder in
        let sha = String(repeating: "a", count: 64)
        let a = try write(
            folder.appendingPathComponent("a"), seed: 1, rank: 4, alpha: 6, modules: [layer0, layer1], base: sha)
        let b = try write(
            folder.appendingPathComponent("b"), seed: 2, rank: 3, alpha: 5, modules: [layer1], rsLoRA: true, base: sha,
            parents: [a.sha256])
        let out = folder.appendingPathComponent("out").path
        let report = try mergeAdapters(
            try recipe([(a.path, 0.7), (b.path, -1.3)]), destination: out, overwrite: false)
        #expect(report.moduleCount == 2 && report.rank == 7)
        let sum = try AdapterFile(path: out)
        #expect(sum.provenance.baseSHA256 == sha && sum.provenance.parents.isEmpty)
        for path in [layer0, layer1] {
            let got = try delta(sum, path, weight: 1)
            let (x, y) = (try delta(a, path, weight: 0.7), try delta(b, path, weight: -1.3))
            for i in got.values.indices {
                // B is rounded once: half a unit of 2⁻²³ on every product.
                let bound = (x.magnitude[i] + y.magnitude[i]) * 0x1p-24 * 1.0001
                #expect(abs(got.values[i] - x.values[i] - y.values[i]) <= bound)
            }
        }
    }
}

@Test("scaling by powers of two and negating are exact, to the bit")
func negatesExactly() throws {
    try withTemporaryFolder { folder in
        let a = try write(folder.appendingPathComponent("a"), seed: 1, rank: 4, alpha: 8, modules: [layer0])
        let out = folder.appendingPathComponent("out").path
        _ = try mergeAdapters(try recipe([(a.path, -1)]), destination: out, overwrite: false)
        let minus = try AdapterFile(path: out)
        #expect(try delta(minus, layer0, weight: 1).values == (try delta(a, layer0, weight: -1).values))
    }
}

@Test("adapters that do not belong together are refused, and nothing is left behind")
func refusesForeignAdapters() throws {
    try withTemporaryFolder { folder in
        let (one, two) = (String(repeating: "1", count: 64), String(repeating: "2", count: 64))
        func adapter(_ name: String, base: String?, parents: [String] = [], columns: Int = 20) throws -> String {
            try write(
                folder.appendingPathComponent(name), seed: 3, rank: 2, alpha: 2, modules: [layer0], base: base,
                parents: parents, columns: columns
            ).path
        }
        let first = try adapter("first", base: one)
        let cases = [
            (try adapter("base", base: two), "another base"),
            (try adapter("parents", base: one, parents: [two]), "on top of other adapters"),
            (try adapter("shape", base: one, columns: 24), "[12, 24]"),
        ]
        let out = folder.appendingPathComponent("out").path
        for (other, words) in cases {
            let error = try #require(throws: MeraserError.self) {
                try mergeAdapters(try recipe([(first, 1), (other, 1)]), destination: out, overwrite: false)
            }
            #expect(error.kind == .badInput && error.message.contains(words), "\(error.message)")
            #expect(!FileManager.default.fileExists(atPath: out))
        }
        let wrong = Array("{\"merge_method\": \"ties\", \"adapters\": [{\"adapter\": \"x\"}]}".utf8)
        let error = try #require(throws: MeraserError.self) {
            try AdapterRecipe(try JSONValue.parse(wrong, file: "r"), file: "r")
        }
        #expect(error.message.contains("ties"))
    }
}
