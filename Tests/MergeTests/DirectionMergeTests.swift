import Base
import Foundation
import Merge
import Quant
import TestSupport
import Testing

/// Model Stock, NuSLERP and the Karcher mean beside their formulas in double precision; the bits are those of mergekit in
/// MergeGoldenTests.
private func withModels(
    _ names: [String], _ body: (URL, [String: MergeFolders.Tensors]) throws -> Void
) throws {
    try withTemporaryFolder { folder in
        let base = MergeFolders.tensors(seed: 1)
        var models = ["base": base]
        for (i, name) in names.enumerated() {
            models[name] = MergeFolders.variation(of: base, seed: UInt64(i + 2), scale: 0.04 * Float(i + 1))
        }
        for (name, tensors) in models { try MergeFolders.write(folder.appendingPathComponent(name), tensors) }
        try body(folder, models)
    }
}

private func same(_ x: UnsafeRawBufferPointer, _ y: UnsafeRawBufferPointer) -> Bool {
    guard let (a, b) = x.baseAddress.flatMap({ a in y.baseAddress.map { (a, $0) } }) else { return false }
    return memcmp(a, b, x.count) == 0
}

private typealias Vector = [Double]

private func dot(_ x: Vector, _ y: Vector) -> Double { zip(x, y).reduce(0) { $0 + $1.0 * $1.1 } }
private func length(_ x: Vector) -> Double { dot(x, x).squareRoot() }
private func plus(_ x: Vector, _ y: Vector, _ factor: Double = 1) -> Vector { zip(x, y).map { $0 + factor * $1 } }
private func times(_ factor: Double, _ x: Vector) -> Vector { x.map { factor * $0 } }

/// The vectors of a tensor: itself, its rows or its columns; `function` maps those of all models to one.
private func byVector(
    _ tensors: [(shape: [Int], values: [Float])], rows: Bool, columns: Bool, _ function: ([Vector]) -> Vector
) -> [Float] {
    let (shape, all) = (tensors[0].shape, tensors.map { $0.values.map(Double.init) })
    guard shape.count == 2, rows || columns else { return function(all).map { Float($0) } }
    var result = [Float](repeating: 0, count: all[0].count)
    for k in 0..<(rows ? shape[0] : shape[1]) {
        let places = (0..<(rows ? shape[1] : shape[0])).map { rows ? k * shape[1] + $0 : $0 * shape[1] + k }
        for (place, value) in zip(places, function(all.map { values in places.map { values[$0] } })) {
            result[place] = Float(value)
        }
    }
    return result
}

@Test(
    "model_stock goes towards the average as far as the differences agree",
    arguments: [(2, false), (3, false), (3, true), (4, true)])
func modelStockFollowsAgreement(count: Int, filterWise: Bool) throws {
    let names = (0..<count).map { "m\($0)" }
    try withModels(names) { folder, models in
        let list = names.map { "{\"model\": \"FOLDER/\($0)\"}" }.joined(separator: ", ")
        let store = try MergeFolders.merge(
            """
            {"merge_method": "model_stock", "base_model": "FOLDER/base", "models": [\(list)],
             "parameters": {"filter_wise": \(filterWise)}}
            """, in: folder)
        for name in store.tensorNames {
            let tensors = try (names + ["base"]).map { try #require(models[$0]?[name]) }
            let want = byVector(tensors, rows: filterWise, columns: false) { vectors in
                let base = vectors[count]
                let offsets = vectors[..<count].map { plus($0, base, -1) }
                var cosines: [Double] = []
                for i in 0..<count {
                    for j in i + 1..<count {
                        cosines.append(dot(offsets[i], offsets[j]) / length(offsets[i]) / length(offsets[j]))
                    }
                }
                let cosine = cosines.reduce(0, +) / Double(cosines.count)
                let t = Double(count) * cosine / (1 + Double(count - 1) * cosine)
                let average = times(1 / Double(count), vectors[..<count].reduce(times(0, base)) { plus($0, $1) })
                return plus(times(t, average), base, 1 - t)
            }
            expectClose(try store.tensor(name).floats(), want, absolute: 2e-6, name)
        }
    }
}

@Test(
    "nuslerp goes along an arc, of the whole tensor, of rows or of columns, with and without a base",
    arguments: [("true", "false"), ("false", "false"), ("false", "true")], [true, false])
func nuslerpFollowsArcs(flags: (flatten: String, rowWise: String), hasBase: Bool) throws {
    try withModels(["a", "b"]) { folder, models in
        let store = try MergeFolders.merge(
            """
            {"merge_method": "nuslerp", \(hasBase ? "\"base_model\": \"FOLDER/base\"," : "")
             "models": [{"model": "FOLDER/a", "parameters": {"weight": 0.6}},
                        {"model": "FOLDER/b", "parameters": {"weight": 0.2}}],
             "parameters": {"nuslerp_flatten": \(flags.flatten), "nuslerp_row_wise": \(flags.rowWise)}}
            """, in: folder)
        for name in store.tensorNames {
            let tensors = try ["a", "b", "base"].map { try #require(models[$0]?[name]) }
            // mergekit's "row wise" takes vectors along the first dimension: columns of ours.
            let want = byVector(
                tensors, rows: flags.flatten == "false" && flags.rowWise == "false", columns: flags.rowWise == "true"
            ) { vectors in
                let zero = hasBase ? vectors[2] : times(0, vectors[2])
                let (x, y) = (plus(vectors[0], zero, -1), plus(vectors[1], zero, -1))
                let cosine = dot(x, y) / length(x) / length(y)
                let theta = acos(cosine)
                return plus(zero, times(1 / sin(theta), plus(times(sin(0.75 * theta), x), y, sin(0.25 * theta))))
            }
            expectClose(try store.tensor(name).floats(), want, absolute: 2e-6, name)
        }
    }
}

@Test("nuslerp mixes parallel vectors straight, and weights that add up to nothing halve the way")
func nuslerpOfParallelVectors() throws {
    try withTemporaryFolder { folder in
        let one: MergeFolders.Tensors = ["w.weight": ([4, 8], (0..<32).map { Float($0) - 7.5 })]
        let two: MergeFolders.Tensors = ["w.weight": ([4, 8], (0..<32).map { 2 * (Float($0) - 7.5) })]
        try MergeFolders.write(folder.appendingPathComponent("a"), one)
        try MergeFolders.write(folder.appendingPathComponent("b"), two)
        let store = try MergeFolders.merge(
            """
            {"merge_method": "nuslerp", "models": [{"model": "FOLDER/a", "parameters": {"weight": 1}},
             {"model": "FOLDER/b", "parameters": {"weight": -1}}], "parameters": {"nuslerp_flatten": false}}
            """, in: folder)
        expectClose(
            try store.tensor("w.weight").floats(), (0..<32).map { 1.5 * (Float($0) - 7.5) }, absolute: 4e-6, "w")
    }
}

@Test("karcher finds the point whose tangents to all models add up to nothing, times the mean length")
func karcherBalances() throws {
    try withModels(["a", "b"]) { folder, models in
        let store = try MergeFolders.merge(
            """
            {"merge_method": "karcher", "parameters": {"max_iter": 30, "tol": 1e-6},
             "models": [{"model": "FOLDER/base"}, {"model": "FOLDER/a"}, {"model": "FOLDER/b"}]}
            """, in: folder)
        for name in store.tensorNames {
            let vectors = try ["base", "a", "b"].map { try #require(models[$0]?[name]).values.map(Double.init) }
            let point = try store.tensor(name).floats().map(Double.init)
            let mean = vectors.reduce(0) { $0 + length($1) } / 3
            #expect(abs(length(point) / mean - 1) < 1e-5, "\(name): \(length(point)) and \(mean)")
            let unit = times(1 / length(point), point)
            let tangents = vectors.map { vector -> Vector in
                let direction = times(1 / length(vector), vector)
                let cosine = min(dot(direction, unit), 1)
                let theta = acos(cosine)
                return theta < 1e-9 ? times(0, unit) : times(theta / sin(theta), plus(direction, unit, -cosine))
            }
            let sum = tangents.reduce(times(0, unit)) { plus($0, $1) }
            #expect(length(sum) < 1e-4 * tangents.map(length).reduce(0, +) + 1e-5, "\(name): \(length(sum))")
        }
    }
}

@Test("methods by direction and della do not depend on the number of threads or pieces, to the bit")
func threadsChangeNoDirection() throws {
    try withTemporaryFolder { folder in
        // More than a piece, in rows that no piece ends with.
        let (rows, columns) = (1100, 1001)
        for (seed, name) in ["base", "a", "b"].enumerated() {
            var values = [Float](repeating: 0, count: rows * columns)
            var state = UInt32(seed + 1)
            for i in values.indices {
                state = state &* 1_664_525 &+ 1_013_904_223
                values[i] = Float(state >> 8)
            }
            try MergeFolders.write(
                folder.appendingPathComponent(name), ["w.weight": ([rows, columns], values)], type: .bf16)
        }
        for (number, head) in [
            "\"model_stock\", \"base_model\": \"FOLDER/base\", \"parameters\": {\"filter_wise\": true}",
            "\"model_stock\", \"base_model\": \"FOLDER/base\"", "\"karcher\"",
            "\"nuslerp\", \"parameters\": {\"weight\": 1, \"nuslerp_flatten\": false, \"nuslerp_row_wise\": true}",
            "\"della\", \"base_model\": \"FOLDER/base\", \"parameters\": {\"weight\": 1, \"density\": 0.5}",
        ].enumerated() {
            let recipe =
                "{\"merge_method\": \(head), \"models\": [{\"model\": \"FOLDER/a\"}, {\"model\": \"FOLDER/b\"}]}"
            let one = try MergeFolders.merge(recipe, in: folder, threads: 1, out: "one\(number)").tensor("w.weight")
            let three = try MergeFolders.merge(recipe, in: folder, threads: 3, out: "three\(number)")
                .tensor("w.weight")
            #expect(one.bytes.count == three.bytes.count && same(one.bytes, three.bytes), "\(head)")
            #expect(Set(one.bytes.prefix(2000)).count > 20, "\(head)")
        }
    }
}
