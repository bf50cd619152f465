import Foundation
import Merge
import Quant
import TestSupport
import Testing

private let fixtures = Bundle.module.resourceURL?.appendingPathComponent("Fixtures")

/// Integers whose differences are units in the last place.
private func ordered(_ bytes: UnsafeRawBufferPointer, size: Int) -> [Int] {
    stride(from: 0, to: bytes.count, by: size).map { offset in
        if size == 4 {
            let bits = Int(Int32(bitPattern: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
            return bits < 0 ? -(bits & 0x7FFF_FFFF) : bits
        }
        let bits = Int(Int16(bitPattern: bytes.loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
        return bits < 0 ? -(bits & 0x7FFF) : bits
    }
}

/// The recipes of the fixture, without the end of their names.
private let goldenNames: [String] = {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: fixtures?.path ?? "")) ?? []
    return names.filter { $0.hasSuffix("32.json") || $0.hasSuffix("16.json") }.map { String($0.dropLast(5)) }.sorted()
}()

@Test("every method gives mergekit's bits (those with sines in f32 but for them)", arguments: goldenNames)
func mergesAsMergekit(name: String) throws {
    let fixtures = try #require(fixtures)
    try withTemporaryFolder { folder in
        for model in ["base", "a", "b"] {
            let target = folder.appendingPathComponent(model)
            try FileManager.default.createDirectory(at: target, withIntermediateDirectories: true)
            try FileManager.default.copyItem(
                at: fixtures.appendingPathComponent("\(model).safetensors"),
                to: target.appendingPathComponent("model.safetensors"))
            try FileManager.default.copyItem(
                at: fixtures.appendingPathComponent("config.json"), to: target.appendingPathComponent("config.json"))
        }
        let recipe = try String(contentsOf: fixtures.appendingPathComponent("\(name).json"), encoding: .utf8)
        let got = try MergeFolders.merge(recipe, in: folder)
        let want = try openWeightStore(path: fixtures.appendingPathComponent("\(name).safetensors").path)
        #expect(got.tensorNames == want.tensorNames)
        let hasSines = recipe.contains("slerp") || recipe.contains("karcher")
        let isInexact = hasSines && name.hasSuffix("32")
        // nuslerp and karcher take all three models here, slerp the first two.
        let models = recipe.contains("\"slerp\"") ? ["base", "a"] : ["base", "a", "b"]
        let inputs = try models.map { try openWeightStore(path: folder.appendingPathComponent($0).path) }
        for tensor in want.tensorNames {
            let (mine, golden) = (try got.tensor(tensor), try want.tensor(tensor))
            #expect(mine.info.shape == golden.info.shape && mine.info.type == golden.info.type)
            let size = try #require(mine.info.type.elementByteCount)
            if isInexact {
                // torch's sines and arc cosine are not correctly rounded: four operations that may be off by a unit in the
                // last place of a factor.
                let terms = try inputs.map { try $0.tensor(tensor).floats() }
                let (got, want) = (mine.floats(), golden.floats())
                for i in got.indices {
                    let size = terms.reduce(0) { $0 + abs($1[i]) }
                    #expect(abs(got[i] - want[i]) <= (models.count == 2 ? 0x1p-22 : 0x1p-21) * size, "\(tensor) \(i)")
                }
            } else {
                let worst =
                    zip(ordered(mine.bytes, size: size), ordered(golden.bytes, size: size))
                    .map { abs($0 - $1) }.max() ?? 0
                #expect(worst == 0, "\(tensor): \(worst) units in the last place")
            }
        }
    }
}

@Test("the fixture has every method")
func fixtureIsComplete() {
    #expect(goldenNames.count == 25)
}
