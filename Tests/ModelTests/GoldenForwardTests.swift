import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

/// Logits and greedy continuations of PyTorch + Transformers in fp32 (shared/reference/README.md), whose own noise is
/// 9e-6 absolute. Each instruction set that this CPU has must agree.
@Suite struct GoldenForwardTests {
    static let fixtures = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures")
    static let tolerance = 5e-5

    static func session(_ folder: URL, isa: String? = nil) throws -> InferenceSession {
        let store = try openWeightStore(path: folder.path)
        return InferenceSession(model: try Transformer(store: store, kernels: try KernelContext(threads: 2, isa: isa)))
    }

    static func logits(_ session: InferenceSession, _ ids: [Int32]) throws -> [Float] {
        var result: [Float] = []
        try session.forEachLogits(of: try session.hiddenStates(PackedBatch([ids]))) { result += $1.toArray() }
        return result
    }

    @Test("tinychat's logits agree with PyTorch on every path", arguments: KernelContext.availableISANames)
    func tinychatLogits(isa: String) throws {
        let golden = try GoldenFile(Self.fixtures.appendingPathComponent("tinychat/logits.safetensors"))
        let session = try Self.session(tinychatFolder(), isa: isa)
        for prompt in 0..<5 {
            let got = try Self.logits(session, try golden.ints("prompt\(prompt).ids"))
            expectClose(
                got, try golden.floats("prompt\(prompt).logits"), absolute: Self.tolerance, "\(isa) prompt \(prompt)")
        }
    }

    @Test("300 tokens: logits of every tenth position agree", arguments: KernelContext.availableISANames)
    func longLogits(isa: String) throws {
        let golden = try GoldenFile(Self.fixtures.appendingPathComponent("tinychat/logits300.safetensors"))
        let session = try Self.session(tinychatFolder(), isa: isa)
        let all = try Self.logits(session, try golden.ints("ids"))
        let vocabulary = session.model.spec.vocabSize
        let got = stride(from: 0, to: 300, by: 10).flatMap { all[$0 * vocabulary..<($0 + 1) * vocabulary] }
        expectClose(got, try golden.floats("logits_every_10th"), absolute: Self.tolerance, isa)
    }

    @Test("greedy continuations of the five prompts are equal, batched or alone")
    func greedy() throws {
        let file = Self.fixtures.appendingPathComponent("tinychat/greedy.json")
        let rows = try #require(try JSONValue.parse(Array(Data(contentsOf: file)), file: file.path).array)
        func ids(_ row: JSONValue, _ key: String) throws -> [Int32] {
            try row.array(key, in: file.path).map { Int32(try #require($0.int)) }
        }
        let session = try Self.session(tinychatFolder())
        let requests = try rows.map { GenerationRequest(prompt: try ids($0, "ids")) }
        for batchSize in [1, 3, 8] {
            let options = GenerationOptions(maxNewTokens: 48, stopTokens: [2], batchSize: batchSize)
            for (row, generation) in zip(rows, try session.generate(requests, options: options)) {
                var expected = try ids(row, "generated_ids")
                if expected.last == 2 { expected.removeLast() }
                #expect(generation.tokens == expected, "batch size \(batchSize)")
            }
        }
    }

    @Test(
        "tiny random models of other shapes agree", arguments: ["llama3", "llama_ragged", "mistral", "qwen2", "qwen3"])
    func architectures(name: String) throws {
        let folder = Self.fixtures.appendingPathComponent("arch/\(name)")
        let golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
        let ids = try golden.ints("ids")
        for isa in KernelContext.availableISANames {
            let session = try Self.session(folder, isa: isa)
            expectClose(
                try Self.logits(session, ids), try golden.floats("logits"), absolute: Self.tolerance, "\(name) \(isa)")
            let generated = try session.generate(
                [GenerationRequest(prompt: Array(ids.prefix(12)))], options: GenerationOptions(maxNewTokens: 16))
            #expect(generated[0].tokens == (try golden.ints("greedy_from_first_12")))
        }
    }

    /// Names of the small models of other architectures, with golden values of every one (tools/check_architectures.py).
    static let smallNames = [
        "gemma", "gemma2", "gemma3", "gpt_neox", "gptj", "granite", "olmo2", "phi3", "smollm3", "stablelm",
        "starcoder2",
    ]

    @Test("small models of other architectures agree on every path", arguments: smallNames)
    func small(name: String) throws {
        let folder = Self.fixtures.appendingPathComponent("small/\(name)")
        let golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
        try Self.expectGolden(folder, golden, greedy: "greedy_from_first_8", prompt: 8, name)
    }

    @Test(
        "the fifteen models of ../shared agree on every path",
        .enabled(if: sharedFolder() != nil, "needs ../shared (reference/arch)"))
    func shared() throws {
        let root = try #require(sharedFolder()).appendingPathComponent("reference/arch")
        let names = try FileManager.default.contentsOfDirectory(atPath: root.path)
        #expect(names.count >= 15)
        for name in names {
            let folder = root.appendingPathComponent(name)
            let golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
            try Self.expectGolden(folder, golden, greedy: "greedy_from_first_12", prompt: 12, name)
        }
    }

    private static func expectGolden(
        _ folder: URL, _ golden: GoldenFile, greedy: String, prompt: Int, _ name: String
    ) throws {
        let ids = try golden.ints("ids")
        let tokens = try golden.ints(greedy)
        for isa in KernelContext.availableISANames {
            let session = try session(folder, isa: isa)
            expectClose(try logits(session, ids), try golden.floats("logits"), absolute: tolerance, "\(name) \(isa)")
            // Some configs name a stop token that the continuation reaches.
            let generated = try session.generate(
                [GenerationRequest(prompt: Array(ids.prefix(prompt)))],
                options: GenerationOptions(maxNewTokens: tokens.count, stopTokens: []))
            #expect(generated[0].tokens == tokens, "\(name) \(isa)")
        }
    }

    @Test("other wirings: logits do not depend on the batch, on pieces, on a cache or on threads, to the bit")
    func wirings() throws {
        for name in Self.smallNames {
            let folder = Self.fixtures.appendingPathComponent("small/\(name)")
            let ids = try GoldenFile(folder.appendingPathComponent("golden.safetensors")).ints("ids")
            let model = try Transformer(
                store: try openWeightStore(path: folder.path), kernels: try KernelContext(threads: 1))
            let session = InferenceSession(model: model)
            let whole = try Self.logits(session, ids)
            let vocabulary = model.spec.vocabSize
            // In a batch with others, in pieces through a cache, and the last row alone.
            let others = [Array(ids.reversed()), ids, Array(ids.prefix(3))]
            var packed: [Float] = []
            try session.forEachLogits(of: try session.hiddenStates(PackedBatch(others))) { packed += $1.toArray() }
            func expect(_ isSame: Bool, _ what: String) { #expect(isSame, "\(name): \(what)") }
            expect(Array(packed[whole.count..<2 * whole.count]) == whole, "packed")
            let cache = session.makeCache(capacity: ids.count)
            var pieces: [Float] = []
            for range in [0..<7, 7..<8, 8..<ids.count] {
                var batch = PackedBatch()
                batch.append(ids[range], firstPosition: range.lowerBound, length: ids.count)
                try session.forEachLogits(of: try session.hiddenStates(batch, caches: [cache])) {
                    pieces += $1.toArray()
                }
            }
            expect(pieces == whole, "in pieces")
            var last: [Float] = []
            try session.forEachLogits(of: try session.hiddenStates(PackedBatch(others), lastRows: [0, 1, 2])) {
                last += $1.toArray()
            }
            expect(Array(last.prefix(vocabulary)) == Array(whole.suffix(vocabulary)), "last rows")
            let other = InferenceSession(
                model: try Transformer(
                    store: try openWeightStore(path: folder.path), kernels: try KernelContext(threads: 2)))
            expect(try Self.logits(other, ids) == whole, "two threads")
        }
    }

    @Test("a prompt's logits do not depend on its batch, its pieces or the number of threads, to the bit")
    func batchInvariance() throws {
        let golden = try GoldenFile(Self.fixtures.appendingPathComponent("tinychat/logits.safetensors"))
        let prompts = try (0..<5).map { try golden.ints("prompt\($0).ids") }
        let store = try openWeightStore(path: tinychatFolder().path)
        var alone: [[Float]] = []
        for threads in [1, 2] {
            let model = try Transformer(store: store, kernels: try KernelContext(threads: threads))
            let session = InferenceSession(model: model)
            let results = try prompts.map { try Self.logits(session, $0) }
            if alone.isEmpty { alone = results }
            #expect(results == alone, "\(threads) threads")
            let hidden = try session.hiddenStates(PackedBatch(prompts))
            var together: [Float] = []
            try session.forEachLogits(of: hidden) { together += $1.toArray() }
            #expect(together == alone.flatMap { $0 }, "packed, \(threads) threads")
        }
    }

    @Test("negative log-likelihoods agree with log-softmax of the logits in double")
    func negativeLogLikelihoods() throws {
        let golden = try GoldenFile(Self.fixtures.appendingPathComponent("tinychat/logits.safetensors"))
        let session = try Self.session(tinychatFolder())
        let ids = try golden.ints("prompt0.ids")
        let logits = try golden.floats("prompt0.logits")
        let got = try session.negativeLogLikelihoods([ids])[0]
        let vocabulary = session.model.spec.vocabSize
        let expected = (0..<ids.count - 1).map { row -> Float in
            let z = logits[row * vocabulary..<(row + 1) * vocabulary].map(Double.init)
            let top = z.max() ?? 0
            return Float(top + log(z.reduce(0) { $0 + exp($1 - top) }) - z[Int(ids[row + 1])])
        }
        expectClose(got, expected, absolute: 2 * Self.tolerance)
    }
}
