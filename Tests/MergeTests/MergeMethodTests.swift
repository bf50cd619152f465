import Base
import Foundation
import Merge
import Quant
import TestSupport
import Testing

/// base, a and b in a folder, in f32, and the same tensors in memory.
private func withModels(
    _ body: (URL, _ base: MergeFolders.Tensors, _ a: MergeFolders.Tensors, _ b: MergeFolders.Tensors) throws -> Void
) throws {
    try withTemporaryFolder { folder in
        let base = MergeFolders.tensors(seed: 1)
        let a = MergeFolders.variation(of: base, seed: 2)
        let b = MergeFolders.variation(of: base, seed: 3)
        for (name, tensors) in [("base", base), ("a", a), ("b", b)] {
            try MergeFolders.write(folder.appendingPathComponent(name), tensors)
        }
        try body(folder, base, a, b)
    }
}

/// Compares a merged model with `expected`, a function of name and layer, in double precision.
private func expectMerged(
    _ store: any WeightStore, _ base: MergeFolders.Tensors, tolerance: Double = 1e-6,
    _ expected: (String) throws -> [Double]
) throws {
    #expect(Set(store.tensorNames) == Set(base.keys))
    for name in base.keys.sorted() {
        let want = try expected(name).map { Float($0) }
        expectClose(try store.tensor(name).floats(), want, absolute: tolerance, name)
    }
}

private func doubles(_ tensors: MergeFolders.Tensors, _ name: String) throws -> [Double] {
    try #require(tensors[name]).values.map(Double.init)
}

@Test("linear is the weighted mean, and a gradient gives every layer its weight")
func linearMean() throws {
    try withModels { folder, base, a, b in
        let store = try MergeFolders.merge(
            """
            {"merge_method": "linear", "models": [
              {"model": "FOLDER/a", "parameters": {"weight": [1, 2, 4]}},
              {"model": "FOLDER/b", "parameters": {"weight": [{"filter": "up_proj", "value": 3}, {"value": 1}]}}]}
            """, in: folder)
        try expectMerged(store, base) { name in
            let layer = name.hasPrefix("model.layers.") ? Int(name.split(separator: ".")[2]) : nil
            let wa = [1.0, 2, 4][layer ?? 0]
            let wb = name.contains("up_proj") ? 3.0 : 1
            return zip(try doubles(a, name), try doubles(b, name)).map { ($0 * wa + $1 * wb) / (wa + wb) }
        }
    }
}

@Test("slerp turns from the base to the other model, and mixes straight where both are parallel")
func slerpTurns() throws {
    try withModels { folder, base, a, _ in
        var parallel = base
        parallel["model.norm.weight"]?.values = try #require(base["model.norm.weight"]).values.map { $0 * 3 }
        for name in a.keys where name != "model.norm.weight" { parallel[name] = a[name] }
        try MergeFolders.write(folder.appendingPathComponent("p"), parallel)
        let store = try MergeFolders.merge(
            """
            {"merge_method": "slerp", "base_model": "FOLDER/base", "parameters": {"t": 0.25},
             "models": [{"model": "FOLDER/p"}, {"model": "FOLDER/base"}]}
            """, in: folder)
        try expectMerged(store, base) { name in
            let (x, y) = (try doubles(base, name), try doubles(parallel, name))
            func norm(_ v: [Double]) -> Double { v.reduce(0) { $0 + $1 * $1 }.squareRoot() }
            let dot = zip(x, y).reduce(0) { $0 + $1.0 * $1.1 } / norm(x) / norm(y)
            if name == "model.norm.weight" {
                #expect(abs(dot) > 0.9995)
                return zip(x, y).map { 0.75 * $0 + 0.25 * $1 }
            }
            let theta = acos(dot)
            return zip(x, y).map { (sin(0.75 * theta) * $0 + sin(0.25 * theta) * $1) / sin(theta) }
        }
    }
}

@Test("task arithmetic adds lambda times the weighted differences")
func taskArithmeticAdds() throws {
    try withModels { folder, base, a, b in
        let store = try MergeFolders.merge(
            """
            {"merge_method": "task_arithmetic", "base_model": "FOLDER/base", "parameters": {"lambda": 0.5},
             "models": [{"model": "FOLDER/a", "parameters": {"weight": 0.7}},
                        {"model": "FOLDER/b", "parameters": {"weight": -0.4}}]}
            """, in: folder)
        try expectMerged(store, base) { name in
            let x = try doubles(base, name)
            return zip(zip(try doubles(a, name), try doubles(b, name)), x).map { pair, base in
                base + 0.5 * (0.7 * (pair.0 - base) - 0.4 * (pair.1 - base))
            }
        }
    }
}

/// TIES by the letter of the formula: trim, elect, mean of those that agree.
private func tiesReference(_ base: [Float], _ models: [[Float]], weights: [Float], densities: [Double]) -> [Double] {
    var deltas: [[Float]] = []
    for (model, density) in zip(models, densities) {
        var delta = zip(model, base).map { $0 - $1 }
        let keep = max(1, Int(density * Double(delta.count)))
        let order = delta.indices.sorted { (abs(delta[$0]), $1) > (abs(delta[$1]), $0) }
        for i in order[keep...] { delta[i] = 0 }
        deltas.append(delta)
    }
    return base.indices.map { i in
        let terms = zip(deltas, weights).map { $0[i] * $1 }
        let sign: Float = terms.reduce(0, +) >= 0 ? 1 : -1
        let agreeing = terms.indices.filter { terms[$0] * sign > 0 }
        guard !agreeing.isEmpty else { return Double(base[i]) }
        let sum = agreeing.reduce(0.0) { $0 + Double(terms[$1]) }
        return Double(base[i]) + sum / agreeing.reduce(0.0) { $0 + Double(weights[$1]) }
    }
}

@Test("ties keeps the largest differences, elects a sign and takes the mean of those that agree")
func tiesAgree() throws {
    try withModels { folder, base, a, b in
        let store = try MergeFolders.merge(
            """
            {"merge_method": "ties", "base_model": "FOLDER/base", "models": [
              {"model": "FOLDER/a", "parameters": {"weight": 0.7, "density": 0.4}},
              {"model": "FOLDER/b", "parameters": {"weight": 0.5, "density": 0.7}}]}
            """, in: folder)
        try expectMerged(store, base) { name in
            let x = try #require(base[name]).values
            let others = [try #require(a[name]).values, try #require(b[name]).values]
            return tiesReference(x, others, weights: [0.7, 0.5], densities: [0.4, 0.7])
        }
    }
}

@Test("of equal magnitudes ties keeps the first, across the pieces that threads work on")
func tiesKeepsTheFirst() throws {
    try withTemporaryFolder { folder in
        let count = (1 << 20) + 4096  // more than one piece
        let zero: MergeFolders.Tensors = ["w.weight": ([count / 1024, 1024], Array(repeating: 0, count: count))]
        let one: MergeFolders.Tensors = [
            "w.weight": ([count / 1024, 1024], (0..<count).map { $0 % 2 == 0 ? 0.5 : -0.5 })
        ]
        try MergeFolders.write(folder.appendingPathComponent("base"), zero, type: .bf16)
        try MergeFolders.write(folder.appendingPathComponent("a"), one, type: .bf16)
        let density = (Double(1 << 20) + 100.5) / Double(count)
        let store = try MergeFolders.merge(
            """
            {"merge_method": "ties", "base_model": "FOLDER/base", "models": [
              {"model": "FOLDER/a", "parameters": {"weight": 1, "density": \(density)}}]}
            """, in: folder)
        let got = try store.tensor("w.weight").floats()
        let kept = (1 << 20) + 100
        #expect(got[..<kept].allSatisfy { $0 != 0 } && got[kept...].allSatisfy { $0 == 0 })
    }
}

@Test("dare keeps about its share, gives the rest its L1 norm back, and the mask depends on seed, tensor and model")
func dareThins() throws {
    try withTemporaryFolder { folder in
        let count = 400 * 500
        var random = SeededRandom(seed: 5)
        let shape = [400, 500]
        let base: MergeFolders.Tensors = [
            "a.weight": (shape, Array(repeating: 0, count: count)),
            "b.weight": (shape, Array(repeating: 0, count: count)),
        ]
        let values = random.gaussians(count)
        let other: MergeFolders.Tensors = ["a.weight": (shape, values), "b.weight": (shape, values)]
        for (name, tensors) in [("base", base), ("x", other), ("y", other)] {
            try MergeFolders.write(folder.appendingPathComponent(name), tensors)
        }
        func merged(_ model: String, density: Double, rescale: Bool, out: String) throws -> any WeightStore {
            try MergeFolders.merge(
                """
                {"merge_method": "dare_linear", "base_model": "FOLDER/base", "parameters": {"rescale": \(rescale)},
                 "models": [{"model": "FOLDER/\(model)", "parameters": {"weight": 1, "density": \(density)}}]}
                """, in: folder, out: out)
        }
        let plain = try merged("x", density: 0.3, rescale: false, out: "plain")
        let got = try plain.tensor("a.weight").floats()
        let kept = got.indices.filter { got[$0] != 0 }
        // Five standard deviations of a binomial share.
        #expect(abs(Double(kept.count) - 0.3 * Double(count)) < 5 * (0.21 * Double(count)).squareRoot())
        #expect(kept.allSatisfy { got[$0] == values[$0] })
        #expect(try plain.tensor("b.weight").floats() != got)
        // Neighbours are kept independently.
        let pairs = kept.filter { $0 + 1 < count && got[$0 + 1] != 0 }.count
        #expect(abs(Double(pairs) - 0.09 * Double(count)) < 5 * (0.09 * Double(count)).squareRoot())

        let rescaled = try merged("x", density: 0.3, rescale: true, out: "rescaled").tensor("a.weight").floats()
        func l1(_ v: [Float]) -> Double { v.reduce(0) { $0 + Double(abs($1)) } }
        #expect(abs(l1(rescaled) / l1(values) - 1) < 1e-5)
        #expect(rescaled.indices.filter { rescaled[$0] != 0 } == kept)
    }
}

@Test("the result does not depend on the number of threads, to the bit", arguments: ["ties", "dare_ties", "slerp"])
func threadsChangeNothing(method: String) throws {
    try withTemporaryFolder { folder in
        let count = 3 << 20
        var random = SeededRandom(seed: 9)
        for name in ["base", "a"] {
            let tensors: MergeFolders.Tensors = [
                "w.weight": ([count / 1024, 1024], (0..<count).map { _ in Float(random.next() >> 40) * 0x1p-24 })
            ]
            try MergeFolders.write(folder.appendingPathComponent(name), tensors, type: .bf16)
        }
        let parameters = method == "slerp" ? "\"t\": 0.3" : "\"weight\": 1, \"density\": 0.5, \"rescale\": true"
        let recipe = """
            {"merge_method": "\(method)", "base_model": "FOLDER/base", "models": [{"model": "FOLDER/a"},
             {"model": "FOLDER/base"}], "parameters": {\(parameters)}}
            """
        let one = try MergeFolders.merge(recipe, in: folder, threads: 1, out: "one").tensor("w.weight")
        let three = try MergeFolders.merge(recipe, in: folder, threads: 3, out: "three").tensor("w.weight")
        #expect(Array(one.bytes) == Array(three.bytes))
    }
}

@Test("passthrough stacks layers under new numbers and says so in config.json")
func passthroughStacks() throws {
    try withModels { folder, _, a, b in
        let store = try MergeFolders.merge(
            """
            {"merge_method": "passthrough", "slices": [
              {"sources": [{"model": "FOLDER/a", "layer_range": [0, 2]}]},
              {"sources": [{"model": "FOLDER/b", "layer_range": [1, 3], "parameters": {"scale": 2}}]}]}
            """, in: folder)
        func same(_ name: String, _ source: MergeFolders.Tensors, _ from: String, _ factor: Float = 1) throws {
            let want = try #require(source[from]).values.map { $0 * factor }
            #expect(try store.tensor(name).floats() == want, "\(name)")
        }
        let part = "mlp.up_proj.weight"
        try same("model.embed_tokens.weight", a, "model.embed_tokens.weight")
        try same("model.layers.1.\(part)", a, "model.layers.1.\(part)")
        try same("model.layers.2.\(part)", b, "model.layers.1.\(part)", 2)
        try same("model.layers.3.\(part)", b, "model.layers.2.\(part)", 2)
        try same("model.norm.weight", b, "model.norm.weight", 2)
        let config = try JSONValue.parse(try #require(try store.textFile("config.json")), file: "config.json")
        #expect(config["num_hidden_layers"]?.int == 4)
    }
}
