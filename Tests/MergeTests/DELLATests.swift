import Foundation
import Merge
import Quant
import TestSupport
import Testing

/// DELLA's shares by rank; the bits are those of mergekit in MergeGoldenTests.
@Test("della keeps the larger differences of a row more often, from density - epsilon to density + epsilon")
func dellaKeepsByRank() throws {
    try withTemporaryFolder { folder in
        let (rows, columns) = (4000, 11)
        var random = SeededRandom(seed: 4)
        // Each row has the magnitudes 1 to 11 in an order of its own.
        var values: [Float] = []
        for _ in 0..<rows {
            var row = (1...columns).map { Float($0) * (random.next() % 2 == 0 ? 1 : -1) }
            for i in row.indices.reversed() { row.swapAt(i, Int(random.next() % UInt64(i + 1))) }
            values += row
        }
        let shape = [rows, columns]
        let zero: MergeFolders.Tensors = ["w.weight": (shape, [Float](repeating: 0, count: values.count))]
        try MergeFolders.write(folder.appendingPathComponent("base"), zero)
        try MergeFolders.write(folder.appendingPathComponent("a"), ["w.weight": (shape, values)])
        let got = try MergeFolders.merge(
            """
            {"merge_method": "della_linear", "base_model": "FOLDER/base", "parameters": {"rescale": false},
             "models": [{"model": "FOLDER/a", "parameters": {"weight": 1, "density": 0.5, "epsilon": 0.2}}]}
            """, in: folder
        ).tensor("w.weight").floats()
        for magnitude in 1...columns {
            let kept = values.indices.count { abs(values[$0]) == Float(magnitude) && got[$0] == values[$0] }
            let share = 0.3 + 0.4 * Double(magnitude - 1) / Double(columns - 1)
            // Five standard deviations.
            let deviation = (share * (1 - share) * Double(rows)).squareRoot()
            #expect(abs(Double(kept) - share * Double(rows)) < 5 * deviation, "\(magnitude): \(kept)")
        }
        #expect(values.indices.allSatisfy { got[$0] == 0 || got[$0] == values[$0] })
    }
}

@Test("della gives the differences their L1 norm back and divides by the weights; della_linear does not divide")
func dellaDefaults() throws {
    try withTemporaryFolder { folder in
        var random = SeededRandom(seed: 6)
        let shape = [60, 50]
        let values = random.gaussians(3000)
        let zero: MergeFolders.Tensors = ["w.weight": (shape, [Float](repeating: 0, count: 3000))]
        try MergeFolders.write(folder.appendingPathComponent("base"), zero)
        try MergeFolders.write(folder.appendingPathComponent("a"), ["w.weight": (shape, values)])
        func l1(_ method: String) throws -> Double {
            try MergeFolders.merge(
                """
                {"merge_method": "\(method)", "base_model": "FOLDER/base",
                 "models": [{"model": "FOLDER/a", "parameters": {"weight": 0.5, "density": 0.4}}]}
                """, in: folder, out: method
            ).tensor("w.weight").floats().reduce(0) { $0 + Double(abs($1)) }
        }
        let whole = values.reduce(0) { $0 + Double(abs($1)) }
        #expect(abs(try l1("della") / whole - 1) < 1e-5)
        #expect(abs(try l1("della_linear") / whole - 0.5) < 1e-5)
    }
}

/// What a recipe says about two models beside a base, and the words of the error.
private let refused: [(method: String, own: String, shared: String, words: [String])] = [
    ("della", "\"weight\": 1, \"density\": 0.9", "", ["epsilon", "0.15", "density"]),
    ("della", "\"weight\": 1, \"density\": 0.1", "", ["epsilon", "density - epsilon"]),
    ("della", "\"weight\": 1, \"gamma\": 0.1", "", ["gamma", "della"]),
    ("dare_ties", "\"weight\": 1, \"epsilon\": 0.1", "", ["epsilon", "dare_ties"]),
    ("model_stock", "\"weight\": 1", "", ["weight", "model_stock"]),
    ("nuslerp", "\"weight\": 1, \"density\": 1", "", ["density", "nuslerp"]),
    ("nuslerp", "\"weight\": 1", "\"nuslerp_row_wise\": true", ["nuslerp_row_wise", "nuslerp_flatten: false"]),
    ("nuslerp", "\"weight\": 1", "\"filter_wise\": true", ["filter_wise", "nuslerp"]),
    ("karcher", "", "\"max_iter\": 2.5", ["max_iter", "whole number"]),
    ("karcher", "", "\"max_iter\": 100000", ["max_iter", "1000"]),
    ("karcher", "", "\"tol\": -1", ["tol", "negative"]),
    ("karcher", "", "\"weight\": 1", ["weight", "karcher"]),
]

@Test("a parameter that a method does not use, or cannot, is refused by name", arguments: refused.indices)
func refusesParameters(index: Int) throws {
    let (method, own, shared, words) = refused[index]
    try withTemporaryFolder { folder in
        for (seed, name) in ["base", "a", "b"].enumerated() {
            try MergeFolders.write(folder.appendingPathComponent(name), MergeFolders.tensors(seed: UInt64(seed + 1)))
        }
        let text = errorText {
            _ = try MergeFolders.merge(
                """
                {"merge_method": "\(method)", "base_model": "FOLDER/base", "parameters": {\(shared)}, "models": [
                  {"model": "FOLDER/a", "parameters": {\(own)}}, {"model": "FOLDER/b", "parameters": {\(own)}}]}
                """, in: folder)
        }
        for word in words { #expect(text.contains(word), "\(text)") }
        #expect(!FileManager.default.fileExists(atPath: folder.appendingPathComponent("out").path))
    }
}

@Test("methods that take a certain number of models say so")
func countsModels() throws {
    for (method, models, word) in [
        ("nuslerp", ["b"], "two models beside the base, not 1"), ("nuslerp", ["b", "c", "d"], "not 3"),
        ("model_stock", ["b"], "two models or more beside the base, not 1"),
    ] {
        let list = models.map { "{\"model\": \"\($0)\"}" }.joined(separator: ", ")
        let recipe = "{\"merge_method\": \"\(method)\", \"base_model\": \"a\", \"models\": [\(list)]}"
        let text = errorText { _ = try MergeFolders.recipe(recipe, in: URL(fileURLWithPath: "/")) }
        #expect(text.contains(word), "\(text)")
    }
}
