import Foundation
import Merge
import Quant
import TestSupport
import Testing

/// Breadcrumbs beside sorting in double precision; the bits are those of mergekit in MergeGoldenTests.
@Test(
    "breadcrumbs leave out the largest differences, and the smallest as far as the density asks",
    arguments: [(0.8, 0.2), (0.5, 0.1), (0.9, 0.3), (0.3, 0)])
func breadcrumbsAreABand(density: Double, gamma: Double) throws {
    try withTemporaryFolder { folder in
        let base = MergeFolders.tensors(seed: 1)
        let a = MergeFolders.variation(of: base, seed: 2)
        for (name, tensors) in [("base", base), ("a", a)] {
            try MergeFolders.write(folder.appendingPathComponent(name), tensors)
        }
        let store = try MergeFolders.merge(
            """
            {"merge_method": "breadcrumbs", "base_model": "FOLDER/base", "models": [
              {"model": "FOLDER/a", "parameters": {"weight": 1, "density": \(density), "gamma": \(gamma)}}]}
            """, in: folder)
        for name in base.keys.sorted() {
            let (x, y) = (try #require(base[name]).values, try #require(a[name]).values)
            let differences = zip(x, y).map { $1 - $0 }
            let kept = Int(density * Double(x.count))
            let smallest = max(0, x.count - kept - Int(gamma * Double(x.count)))
            // Equal magnitudes stay in their order: the first is the smaller one.
            let order = x.indices.sorted { (abs(differences[$0]), $0) < (abs(differences[$1]), $1) }
            let stay = Set(order[smallest..<smallest + kept])
            let want = x.indices.map { stay.contains($0) ? x[$0] + differences[$0] : x[$0] }
            #expect(try store.tensor(name).floats() == want, "\(name)")
        }
    }
}

@Test("a gamma that no method reads, or that is no share, is refused by name")
func gammaIsChecked() throws {
    try withTemporaryFolder { folder in
        for name in ["base", "a"] {
            try MergeFolders.write(folder.appendingPathComponent(name), MergeFolders.tensors(seed: 1))
        }
        for (method, gamma, what) in [("ties", 0.2, "gamma"), ("breadcrumbs", 1.5, "'gamma' is 1.5, expected 0 to 1")] {
            let text = errorText {
                _ = try MergeFolders.merge(
                    """
                    {"merge_method": "\(method)", "base_model": "FOLDER/base", "models": [
                      {"model": "FOLDER/a", "parameters": {"weight": 1, "density": 0.5, "gamma": \(gamma)}}]}
                    """, in: folder)
            }
            #expect(text.contains(what), "\(text)")
        }
    }
}
