import Base
import Foundation
import Merge
import Quant
import TestSupport
import Testing

/// Adapters that are made of two models' difference, beside what the difference was made of.
@Suite("extract-lora") struct ExtractLoRATests {
    /// Two models that differ by factors of that rank in each matrix of a layer, with singular values that fall.
    private func models(_ folder: URL, rank: Int) throws -> (base: MergeFolders.Tensors, tuned: MergeFolders.Tensors) {
        let base = MergeFolders.tensors(seed: 1, layers: 2)
        var tuned = base
        var random = SeededRandom(seed: 3)
        for name in base.keys.sorted() where name.contains("layers") && base[name]?.shape.count == 2 {
            let shape = try #require(base[name]).shape
            for k in 0..<rank {
                let (left, right) = (random.gaussians(shape[0]), random.gaussians(shape[1]))
                for r in 0..<shape[0] {
                    for c in 0..<shape[1] {
                        tuned[name]?.values[r * shape[1] + c] += 0.05 / Float(k + 1) * left[r] * right[c]
                    }
                }
            }
        }
        try MergeFolders.write(folder.appendingPathComponent("base"), base)
        try MergeFolders.write(folder.appendingPathComponent("tuned"), tuned)
        return (base, tuned)
    }

    /// Writes a model in the place of another.
    private func rewrite(_ folder: URL, _ name: String, _ tensors: MergeFolders.Tensors) throws {
        let path = folder.appendingPathComponent(name)
        try FileManager.default.removeItem(at: path)
        try MergeFolders.write(path, tensors)
    }

    private func extract(_ folder: URL, _ change: (inout ExtractionOptions) -> Void = { _ in }) throws
        -> ExtractionReport
    {
        var options = ExtractionOptions()
        options.overwrite = true
        change(&options)
        return try extractLoRA(
            model: folder.appendingPathComponent("tuned").path, base: folder.appendingPathComponent("base").path,
            destination: folder.appendingPathComponent("adapter").path, options: options)
    }

    /// The base with the adapter in it, by way of a recipe.
    private func rebuilt(_ folder: URL, _ out: String = "out") throws -> any WeightStore {
        try MergeFolders.merge(
            "{\"merge_method\": \"passthrough\", \"models\": [{\"model\": \"FOLDER/base+FOLDER/adapter\"}]}",
            in: folder,
            out: out)
    }

    @Test("a difference of rank 3 is an adapter of rank 3, which gives the tuned model back", arguments: [true, false])
    func exactRank(distributes: Bool) throws {
        try withTemporaryFolder { folder in
            let (_, tuned) = try models(folder, rank: 3)
            let report = try extract(folder) { ($0.maxRank, $0.distributesScale, $0.threads) = (3, distributes, 2) }
            #expect(report.moduleCount == 4 && report.rank == 3 && report.saved == [] && report.residual < 1e-4)
            let store = try rebuilt(folder)
            for name in store.tensorNames {
                expectClose(
                    try store.tensor(name).floats(), try #require(tuned[name]).values, absolute: 2e-6, name)
            }
            let adapter = try AdapterFile(path: folder.appendingPathComponent("adapter").path)
            // One singular value over: the same length in both factors, or unit rows of B.
            let module = adapter.modules[0]
            let (a, b) = (try module.a.floats(), try module.b.floats())
            let (lengthA, lengthB) = (
                a[..<module.a.columns].reduce(0) { $0 + $1 * $1 }.squareRoot(),
                stride(from: 0, to: b.count, by: 3).reduce(Float(0)) { $0 + b[$1] * b[$1] }.squareRoot()
            )
            #expect(abs(distributes ? lengthA / lengthB - 1 : lengthB - 1) < 1e-4, "\(lengthA) \(lengthB)")
        }
    }

    @Test("a lower rank leaves out what its singular values say, and sv_epsilon decides by module")
    func cutRank() throws {
        try withTemporaryFolder { folder in
            let (base, tuned) = try models(folder, rank: 4)
            let report = try extract(folder) { $0.maxRank = 2 }
            let store = try rebuilt(folder)
            var (left, whole) = (0.0, 0.0)
            for name in store.tensorNames {
                let (got, want) = (try store.tensor(name).floats(), try #require(tuned[name]).values)
                let from = try #require(base[name]).values
                for i in got.indices {
                    left += Double(got[i] - want[i]) * Double(got[i] - want[i])
                    whole += Double(from[i] - want[i]) * Double(from[i] - want[i])
                }
            }
            #expect(report.rank == 2 && abs((left / whole).squareRoot() - report.residual) < 1e-4)
            #expect(report.residual > 0.05 && report.residual < 0.5)
            // Nothing of a lower rank is nearer: what is left has no direction as strong as the weakest one taken.
            let wide = try extract(folder) { $0.maxRank = 20 }
            #expect(wide.residual < 1e-4 && wide.rank == 20)
            let thin = try extract(folder) { ($0.maxRank, $0.svEpsilon) = (20, 1e-4) }
            #expect(thin.rank == 4)
        }
    }

    @Test("norms and embeddings are saved whole where they differ, others not at all; filters and save-module decide")
    func wholeTensors() throws {
        try withTemporaryFolder { folder in
            var (_, tuned) = try models(folder, rank: 1)
            tuned["model.embed_tokens.weight"]?.values[5] += 1
            tuned["model.layers.1.input_layernorm.weight"]?.values[3] = 2
            try rewrite(folder, "tuned", tuned)
            let report = try extract(folder) { $0.maxRank = 1 }
            // The head is the embedding: PEFT keeps two tensors.
            #expect(
                Set(report.saved) == [
                    "model.embed_tokens.weight", "lm_head.weight", "model.layers.1.input_layernorm.weight",
                ])
            let store = try rebuilt(folder)
            for name in tuned.keys.sorted() {
                expectClose(
                    try store.tensor(name).floats(), try #require(tuned[name]).values, absolute: 2e-6, name)
            }
            let skipping = try extract(folder) { ($0.maxRank, $0.skipsUndecomposable) = (1, true) }
            #expect(Set(skipping.saved) == ["model.embed_tokens.weight", "lm_head.weight"])
            let some = try extract(folder) {
                ($0.maxRank, $0.includes, $0.excludes) = (1, ["layers\\.\\d+\\."], ["q_proj$", "norm"])
            }
            #expect(some.moduleCount == 2 && some.saved == [])
            let whole = try extract(folder) {
                ($0.maxRank, $0.saveModules, $0.includes) = (1, ["q_proj"], ["up_proj"])
            }
            #expect(whole.moduleCount == 2 && whole.saved.count == 2)
        }
    }

    @Test("models that do not belong together, patterns and names that mean nothing are refused")
    func refuses() throws {
        try withTemporaryFolder { folder in
            let (base, tuned) = try models(folder, rank: 1)
            #expect(errorText { _ = try extract(folder) { $0.saveModules = ["nothing"] } }.contains("nothing"))
            #expect(
                errorText(.usage) { _ = try extract(folder) { $0.includes = ["("] } }.contains("regular expression"))
            #expect(errorText { _ = try extract(folder) { $0.includes = ["nowhere"] } }.contains("nothing to extract"))
            var wide = tuned
            wide["model.norm.weight"] = ([25], [Float](repeating: 1, count: 25))
            try rewrite(folder, "tuned", wide)
            #expect(errorText { _ = try extract(folder) }.contains("[25]"))
            var biased = base
            biased["model.layers.0.self_attn.q_proj.bias"] = ([24], [Float](repeating: 0, count: 24))
            try rewrite(folder, "base", biased)
            #expect(errorText { _ = try extract(folder) }.contains("q_proj.bias"))
            biased["model.layers.0.self_attn.q_proj.bias"] = ([24], [Float](repeating: 1, count: 24))
            try rewrite(folder, "tuned", biased)
            #expect(errorText { _ = try extract(folder) }.contains("no bias"))
            #expect(!FileManager.default.fileExists(atPath: folder.appendingPathComponent("adapter").path))
        }
    }
}

@Test("MODEL+ADAPTER is the model with the adapter in it, in the model's type; `modules` is read as mergekit does")
func adaptersAndModules() throws {
    try withTemporaryFolder { folder in
        let (base, a) = (MergeFolders.tensors(seed: 1), MergeFolders.tensors(seed: 2))
        try MergeFolders.write(folder.appendingPathComponent("base"), base, type: .bf16)
        try MergeFolders.write(folder.appendingPathComponent("a"), a, type: .bf16)
        let adapter = folder.appendingPathComponent("lora")
        try FileManager.default.createDirectory(at: adapter, withIntermediateDirectories: true)
        var random = SeededRandom(seed: 7)
        let path = "model.layers.1.mlp.up_proj"
        let factors = AdapterFile.Factors(path: path, a: random.gaussians(48), b: random.gaussians(112), rank: 2)
        try AdapterFile.write(
            folder: adapter.path, config: PEFTConfig(r: 2, loraAlpha: 1, targets: .names([path])), factors: [factors])
        func merged(_ models: String, out: String) throws -> any WeightStore {
            try MergeFolders.merge(
                """
                {"merge_method": "linear", "modules": {"default": {"parameters": {"weight": 0.5}, "models": [\(models)]}},
                 "parameters": {"weight": 9, "normalize": false}}
                """, in: folder, out: out)
        }
        let with = try merged("{\"model\": \"FOLDER/base+FOLDER/lora\"}, {\"model\": \"FOLDER/a\"}", out: "with")
        let without = try merged("{\"model\": \"FOLDER/base\"}, {\"model\": \"FOLDER/a\"}", out: "without")
        for name in with.tensorNames where name != "\(path).weight" {
            #expect(Array(try with.tensor(name).bytes) == Array(try without.tensor(name).bytes), "\(name)")
        }
        // bf16 holds 8 bits: rounded once with the adapter, and once as the sum.
        let (x, y) = (try #require(base["\(path).weight"]).values, try #require(a["\(path).weight"]).values)
        let got = try with.tensor("\(path).weight").floats()
        for i in got.indices {
            let (row, column) = (i / 24, i % 24)
            let delta = 0.5 * (0..<2).reduce(Float(0)) { $0 + factors.b[row * 2 + $1] * factors.a[$1 * 24 + column] }
            let want = 0.5 * (x[i] + delta + y[i])
            #expect(abs(got[i] - want) <= 0x1p-7 * (abs(x[i]) + abs(delta) + abs(y[i])), "\(i)")
        }
        let text = errorText {
            _ = try MergeFolders.recipe(
                "{\"merge_method\": \"linear\", \"models\": [{\"model\": \"FOLDER/x+FOLDER/y+FOLDER/z\"}]}", in: folder)
        }
        #expect(text.contains("MODEL+ADAPTER"))
        #expect(
            errorText {
                _ = try MergeFolders.recipe(
                    "{\"merge_method\": \"linear\", \"modules\": {\"vision_tower\": {\"models\": []}}}", in: folder)
            }.contains("vision_tower"))
        // A folder of that very name is a model.
        try MergeFolders.write(folder.appendingPathComponent("a+b"), a, type: .bf16)
        let plain = try merged("{\"model\": \"FOLDER/a+b\"}, {\"model\": \"FOLDER/base\"}", out: "plain")
        #expect(Array(try plain.tensor(path + ".weight").bytes) == Array(try without.tensor(path + ".weight").bytes))
    }
}

/// Factors of embedding and head, beside mergekit 0.1.5's (`tools/extract_parity.py`).
@Suite("extract-lora --embed-lora") struct ExtractEmbeddingTests {
    private let fixtures = packageRoot().appendingPathComponent("Tests/MergeTests/Fixtures")

    private func tensors(_ golden: GoldenFile, _ prefix: String) throws -> MergeFolders.Tensors {
        let names = golden.names.filter { $0.hasPrefix(prefix) }
        return Dictionary(
            uniqueKeysWithValues: try names.map {
                (String($0.dropFirst(prefix.count)), (try golden.shape($0), try golden.floats($0)))
            })
    }

    /// B · A in double precision.
    private func product(_ b: [Float], _ a: [Float], rank: Int) -> [Double] {
        let (rows, columns) = (b.count / rank, a.count / rank)
        var result = [Double](repeating: 0, count: rows * columns)
        for r in 0..<rows {
            for k in 0..<rank {
                for c in 0..<columns { result[r * columns + c] += Double(b[r * rank + k]) * Double(a[k * columns + c]) }
            }
        }
        return result
    }

    @Test(
        "the factors make mergekit's products, under PEFT's names; the base with all of them is the tuned model",
        arguments: ["own", "tied"])
    func mergekit(name: String) throws {
        let golden = try GoldenFile(fixtures.appendingPathComponent("extract_\(name).safetensors"))
        try withTemporaryFolder { folder in
            let config =
                "{\"model_type\": \"llama\", \"num_hidden_layers\": 1, \"tie_word_embeddings\": \(name == "tied")}\n"
            let tuned = try tensors(golden, "tuned.")
            for (place, tensors) in [("base", try tensors(golden, "base.")), ("tuned", tuned)] {
                try MergeFolders.write(folder.appendingPathComponent(place), tensors, config: config)
            }
            func extract(_ rank: Int, skips: Bool) throws -> GoldenFile {
                var options = ExtractionOptions()
                (options.maxRank, options.embedsLoRA, options.skipsUndecomposable) = (rank, true, skips)
                options.overwrite = true
                _ = try extractLoRA(
                    model: folder.appendingPathComponent("tuned").path,
                    base: folder.appendingPathComponent("base").path,
                    destination: folder.appendingPathComponent("adapter").path, options: options)
                return try GoldenFile(folder.appendingPathComponent("adapter/adapter_model.safetensors"))
            }
            let got = try extract(4, skips: true)
            let wanted = golden.names.filter { $0.hasPrefix("mergekit.") }.map { String($0.dropFirst(9)) }
            #expect(Set(got.names) == Set(wanted) && wanted.contains { $0.hasSuffix("embed_tokens.lora_embedding_A") })
            for a in wanted where a.contains("_A") {
                let b = a.replacing("_A", with: "_B")
                #expect(
                    try got.shape(a) == golden.shape("mergekit.\(a)") && got.shape(b) == golden.shape("mergekit.\(b)"))
                let rank = try got.shape(a)[0]
                let (own, other) = (
                    product(try got.floats(b), try got.floats(a), rank: rank),
                    product(try golden.floats("mergekit.\(b)"), try golden.floats("mergekit.\(a)"), rank: rank)
                )
                #expect(relativeL2(own.map(Float.init), other.map(Float.init)) <= 5e-6, "\(a)")
            }
            _ = try extract(64, skips: false)
            let store = try MergeFolders.merge(
                "{\"merge_method\": \"passthrough\", \"models\": [{\"model\": \"FOLDER/base+FOLDER/adapter\"}]}",
                in: folder)
            for tensor in store.tensorNames {
                let want = tuned[tensor] ?? tuned["model.embed_tokens.weight"]
                expectClose(try store.tensor(tensor).floats(), try #require(want).values, absolute: 2e-6, tensor)
            }
            #expect(store.tensorNames.contains("lm_head.weight"))
            // Only weights that are written can take it in.
            let file = try AdapterFile(path: folder.appendingPathComponent("adapter").path)
            #expect(errorText { try file.requirePlain() }.contains("meraser export"))
        }
    }

    @Test("factors of an embedding that are not whole, or both kinds at once, are refused by name")
    func refuses() throws {
        func refusal(_ tensors: [(String, [Int])]) throws -> String {
            try withTemporaryFolder { folder in
                let config = #"{"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["embed_tokens"]}"#
                try Data(config.utf8).write(to: folder.appendingPathComponent("adapter_config.json"))
                let declarations = tensors.sorted { $0.0 < $1.0 }.map {
                    TensorDeclaration(name: "base_model.model.model.embed_tokens.\($0.0)", type: .f32, shape: $0.1)
                }
                let writer = try SafetensorsWriter(
                    path: folder.appendingPathComponent("adapter_model.safetensors").path, tensors: declarations)
                for tensor in declarations {
                    let bytes = plainBytes([Float](repeating: 1, count: tensor.shape.reduce(1, *)), type: .f32)
                    try bytes.withUnsafeBytes { try writer.write(tensor.name, $0) }
                }
                try writer.finish()
                return errorText(.badInput) { _ = try AdapterFile(path: folder.path) }
            }
        }
        #expect(try refusal([("lora_embedding_A", [2, 9])]).contains("has no lora_embedding_B"))
        #expect(try refusal([("lora_embedding_A", [2, 9]), ("lora_embedding_B", [4])]).contains("two dimensions"))
        #expect(try refusal([("lora_embedding_A", [3, 9]), ("lora_embedding_B", [4, 3])]).contains("for rank 2"))
        #expect(try refusal([("lora_embedding_A", [2, 9]), ("lora_A.weight", [2, 4])]).contains("none at once"))
    }
}
