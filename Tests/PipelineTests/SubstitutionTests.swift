import Base
import Foundation
import Kernels
import Merge
import Model
import Quant
import TestSupport
import Testing
import Tune

@testable import Pipeline

/// Guided module substitution: the search beside one that is written down another way, and what is copied.
@Suite("Module substitution")
struct SubstitutionTests {
    private static let projections: [Projection] = [.down_proj, .k_proj, .o_proj, .q_proj]

    /// Measures that depend on every module, drawn once; shares of 0 to 1.
    private static func measures(_ copied: (Projection, Int) -> Bool, seed: UInt64, layers: Int) -> SubstitutionMeasures
    {
        var random = SeededRandom(seed: seed)
        var (success, accuracy) = (1.0, 0.9)
        for projection in projections {
            for layer in 0..<layers {
                let (mark, use) = (Double(random.next() % 100) / 900, Double(random.next() % 100) / 2500)
                if copied(projection, layer) { (success, accuracy) = (success - mark, accuracy - use) }
            }
        }
        return SubstitutionMeasures(accuracy: max(accuracy, 0), success: max(success, 0))
    }

    @Test(
        "the search gives what a table of sets gives, whatever is worth copying", arguments: [1, 2, 3, 4, 5, 6, 7, 8])
    func search(seed: UInt64) throws {
        let layers = 6
        func measure(_ projections: Set<Projection>, _ layers: Set<Int>) -> SubstitutionMeasures {
            Self.measures({ projections.contains($0) && layers.contains($1) }, seed: seed, layers: 6)
        }
        let victim = measure([], [])
        let search = SubstitutionSearch()
        let result = search.run(
            from: Substitution(projections: Set(Self.projections), layers: Set(0..<layers)), victim: victim
        ) { measure($0.projections, $0.layers) }

        // Masks of modules in a row, the projections in the order of their names first.
        func score(_ mask: [Bool]) -> Double {
            let chosen = Set(Self.projections.indices.filter { mask[$0] }.map { Self.projections[$0] })
            let kept = Set((0..<layers).filter { mask[Self.projections.count + $0] })
            let got = measure(chosen, kept)
            return 0.6 * (victim.success - got.success) + 0.4 * (1 - (victim.accuracy - got.accuracy))
        }
        var mask = [Bool](repeating: true, count: Self.projections.count + layers)
        var (best, bestScore, since, count) = (mask, score(mask), 0, 1)
        while since < 5 {
            let parts = [0..<Self.projections.count, Self.projections.count..<mask.count]
            let open = parts.flatMap { part in
                part.filter { mask[$0] }.count > 1 ? part.filter { mask[$0] } : []
            }
            if open.isEmpty { break }
            count += open.count
            let scores = open.map { place -> Double in
                var other = mask
                other[place] = false
                return score(other)
            }
            let top = scores.max() ?? 0
            mask[open[scores.firstIndex(of: top) ?? 0]] = false
            since += 1
            if top > bestScore { (best, bestScore, since) = (mask, top, 0) }
        }
        #expect(result.score == bestScore && result.evaluations == count)
        #expect(
            result.substitution.projections
                == Set(Self.projections.indices.filter { best[$0] }.map { Self.projections[$0] }))
        #expect(result.substitution.layers == Set((0..<layers).filter { best[Self.projections.count + $0] }))
        #expect(result.before == victim)
    }

    /// A model of the tests with every weight and bias moved.
    private func moved(_ source: URL, _ folder: URL) throws -> URL {
        let store = try openWeightStore(path: source.path)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try FileManager.default.copyItem(
            at: source.appendingPathComponent("config.json"), to: folder.appendingPathComponent("config.json"))
        var random = SeededRandom(seed: 4)
        let tensors = try store.tensorNames.map { name in
            let view = try store.tensor(name)
            let noise = random.gaussians(view.floats().count)
            return (
                name: name, shape: view.info.shape, values: zip(view.floats(), noise).map { $0 + 0.05 * $1 }
            )
        }
        try writeSafetensors(path: folder.appendingPathComponent("model.safetensors").path, floats: tensors)
        return folder
    }

    @Test("what is written computes what was measured, biases too, and nothing else is the proxy's")
    func written() throws {
        try withTemporaryFolder { folder in
            let arch = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/arch/qwen2")
            let kernels = try KernelContext(threads: 2)
            func open(_ url: URL) throws -> Transformer {
                try Transformer(store: try openWeightStore(path: url.path), kernels: kernels)
            }
            let (victim, proxy) = (try open(arch), try open(try moved(arch, folder.appendingPathComponent("proxy"))))
            let (projections, layers): (Set<Projection>, Set<Int>) = ([.q_proj, .down_proj], [1])
            let mixed = victim.substituting(projections, layers: layers, from: proxy)
            let names = victim.spec.modules.filter { projections.contains($0.projection) && layers.contains($0.layer) }
                .flatMap { [victim.spec[$0].weight] + [victim.spec[$0].bias].compactMap { $0 } }
            #expect(names.count == 3, "q_proj has a bias: \(names)")
            let weights = try SubstitutedWeights(victim.store, names: Set(names), from: proxy.store)
            let out = folder.appendingPathComponent("out")
            _ = try writeModel(weights, destination: out.path, options: ConvertOptions())
            let read = try open(out)
            for name in victim.store.tensorNames {
                let wanted = names.contains(name) ? proxy.store : victim.store
                #expect(try read.store.tensor(name).floats() == wanted.tensor(name).floats(), "\(name)")
            }
            func logits(_ model: Transformer) throws -> [Float] {
                let session = InferenceSession(model: model)
                return try session.logits(try session.hiddenStates(PackedBatch([[1, 5, 9, 3, 17, 2]]))).toArray()
            }
            #expect(try logits(read) == logits(mixed))
            #expect(try logits(mixed) != logits(victim))
            errorText { _ = try SubstitutedWeights(victim.store, names: ["model.none"], from: proxy.store) }
        }
    }

    @Test("accuracy counts the labels that are the likeliest token")
    func accuracy() throws {
        let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2), compute: .f32)
        let tokens: [Int32] = [1, 40, 77, 301, 12, 9]
        let sample = try #require(TrainingSample(tokens: tokens, isLabel: tokens.map { _ in true }))
        let logits = try model.session().logits(try model.session().hiddenStates(PackedBatch([sample.inputs])))
        let best = (0..<logits.rows).map { row in
            Int32((0..<logits.columns).max { logits[row, $0] < logits[row, $1] } ?? 0)
        }
        // The model's own choices behind the same inputs are all right; of the given tokens those that are its choice.
        let right = zip(best, sample.labels).count { $0 == $1 }
        #expect(try model.transformer.tokenAccuracy([sample]) == Double(right) / 5)
        let other = try OpenedModel(
            path: packageRoot().appendingPathComponent("Examples/tinychat").path, kernels: try KernelContext(threads: 2)
        )
        let data = EncodedDataset(samples: [sample], sha256: "x")
        let found = try model.substitution(by: other, clean: data, suspect: data, search: SubstitutionSearch())
        #expect(found.before == found.after, "a model's own modules change nothing")
    }
}
