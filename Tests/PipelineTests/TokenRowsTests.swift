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

/// Rows of the embedding beside or without LoRA factors (PEFT's `trainable_token_indices`), against files and numbers that PEFT
/// itself made (tools/make_token_fixture.py).
@Suite("Rows of tokens")
struct TokenRowsTests {
    private static let fixtures = packageRoot().appendingPathComponent("Tests/PipelineTests/Fixtures/token_rows")
    private static let archs = ["tied": "qwen2", "untied": "qwen3", "rows": "qwen2"]

    private struct Case {
        let path: String
        let golden: GoldenFile
        let model: Transformer
        let adapter: LoRAAdapter
        let ids: [Int32]

        init(_ name: String, isa: String? = nil, threads: Int = 2) throws {
            let folder = TokenRowsTests.fixtures.appendingPathComponent(name)
            path = folder.path
            golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
            let arch = packageRoot().appendingPathComponent(
                "Tests/ModelTests/Fixtures/arch/\(try #require(TokenRowsTests.archs[name]))")
            model = try Transformer(
                store: try openWeightStore(path: arch.path), kernels: try KernelContext(threads: threads, isa: isa))
            adapter = try LoRAAdapter(path: path, for: model.spec)
            ids = try golden.ints("ids")
        }

        var batch: LabelledBatch {
            LabelledBatch(
                batch: PackedBatch([ids]), labels: ids.dropFirst() + [-1],
                weights: Array(repeating: 1 / Float(ids.count - 1), count: ids.count - 1) + [0],
                samples: ids.map { _ in 0 })
        }

        func logits(_ adapters: [LoRAAdapter], on model: Transformer? = nil) throws -> [Float] {
            let session = InferenceSession(model: model ?? self.model, adapters: AdapterStack(frozen: adapters))
            return try session.logits(try session.hiddenStates(PackedBatch([ids]))).toArray()
        }
    }

    @Test("an adapter that PEFT wrote gives PEFT's logits", arguments: ["tied", "untied", "rows"])
    func logits(name: String) throws {
        let test = try Case(name)
        #expect(test.adapter.config.tokens == [5, 3, 17])
        #expect(test.adapter.modules.isEmpty == (name == "rows"))
        let expected = try test.golden.floats("logits")
        expectClose(try test.logits([test.adapter]), expected, absolute: 3e-5, name)
        #expect(relativeL2(try test.logits([]), expected) > 0.1, "the adapter matters")
    }

    @Test("loss and gradients are PEFT's, on every instruction set", arguments: ["tied", "untied", "rows"])
    func gradients(name: String) throws {
        for isa in KernelContext.availableISANames {
            let test = try Case(name, isa: isa)
            var first: [Float]?
            for plan in [RecomputePlan.keepAll, RecomputePlan(layers: 2)] {
                let graph = TrainingGraph(
                    model: test.model, frozen: [], trained: test.adapter, maximumTokens: test.ids.count,
                    recompute: plan)
                let gradients = LoRAAdapter(layoutOf: test.adapter)
                let loss = try graph.accumulate(test.batch, into: gradients)
                #expect(abs(loss - Double(try test.golden.floats("loss")[0])) < 1e-5)
                let place = name == "rows" ? "" : ".token_adapter"
                let rows = try test.golden.floats(
                    "grad.base_model.model.model.embed_tokens\(place).trainable_tokens_delta")
                let got = try #require(gradients.tokenRows).rows.toArray()
                #expect(relativeL2(got, rows) <= 2e-5, "\(isa) \(name): \(relativeL2(got, rows))")
                for module in gradients.modules {
                    let factors = try #require(gradients[module])
                    for (matrix, end) in [(factors.a, "lora_A"), (factors.b, "lora_B")] {
                        let want = try test.golden.floats(
                            "grad.base_model.model.\(test.model.spec[module].path).\(end).weight")
                        #expect(relativeL2(matrix.toArray(), want) <= 2e-5, "\(isa) \(end)")
                    }
                }
                let all = gradients.parameters.toArray()
                #expect(first == nil || first == all, "what is recomputed changes no bit")
                first = all
            }
        }
    }

    @Test(
        "rows written into the model give the same logits; so do adapters read back",
        arguments: ["tied", "untied", "rows"])
    func written(name: String) throws {
        try withTemporaryFolder { folder in
            let test = try Case(name)
            let expected = try test.golden.floats("logits")
            let fused = try FusedWeights(
                store: test.model.store, adapters: [AdapterFile(path: test.path)], type: .f32,
                kernels: test.model.kernels)
            let out = folder.appendingPathComponent("model").path
            _ = try writeModel(fused, destination: out, options: ConvertOptions())
            let model = try Transformer(store: try openWeightStore(path: out), kernels: test.model.kernels)
            #expect(model.spec.head.isTied == (name != "untied"))
            expectClose(try test.logits([], on: model), expected, absolute: 3e-5, name)

            let copy = folder.appendingPathComponent("copy")
            try FileManager.default.createDirectory(at: copy, withIntermediateDirectories: true)
            try test.adapter.save(folder: copy.path, model: test.model.spec, baseModelName: "base")
            let (own, theirs) = try (
                JSONValue.parse(
                    Array(Data(contentsOf: copy.appendingPathComponent("adapter_config.json"))), file: "own"),
                JSONValue.parse(
                    Array(Data(contentsOf: URL(fileURLWithPath: test.path + "/adapter_config.json"))), file: "p")
            )
            for key in ["peft_type", "token_indices", "r"] { #expect(own[key] == theirs[key], "\(key)") }
            let (a, b) = try (
                SafetensorsFile(path: copy.path + "/adapter_model.safetensors"),
                SafetensorsFile(path: test.path + "/adapter_model.safetensors")
            )
            // A head that is the embedding may be there once more.
            let names = b.entries.map(\.name).filter { !$0.contains("lm_head") }
            #expect(Set(a.entries.map(\.name)) == Set(names))
            for tensor in names { #expect(try a.tensor(tensor).floats() == b.tensor(tensor).floats(), "\(tensor)") }
            let again = try LoRAAdapter(path: copy.path, for: test.model.spec)
            #expect(again.parameters.toArray() == test.adapter.parameters.toArray())

            // One adapter of two: the upper one's rows count, as in the stack.
            let other = test.adapter.copy()
            let rows = try #require(other.tokenRows).rows
            rows.copy(from: rows.toArray().map { $0 + 0.25 })
            let merged = LoRAAdapter.concatenate([test.adapter, other], for: test.model.spec)
            let stacked = try test.logits([test.adapter, other])
            expectClose(try test.logits([merged]), stacked, absolute: 3e-5, "\(name), concatenated")
            #expect(relativeL2(stacked, expected) > 1e-3)
        }
    }

    @Test("training begins with the model's own rows, and moves these rows alone")
    func training() throws {
        try withTemporaryFolder { folder in
            let test = try Case("rows")
            var options = TrainingOptions()
            options.lora.targetModules = []
            options.lora.tokens = [5, 9]
            options.learningRate = 1e-2
            options.schedule = .constant
            options.maxSteps = 3
            options.compute = .f32
            options.saveSteps = 1
            let sample = try #require(TrainingSample(tokens: test.ids, isLabel: test.ids.map { _ in true }))
            let data = EncodedDataset(samples: [sample], sha256: "x")
            let trainer = try Trainer(model: test.model, data: data, options: options)
            #expect(trainer.plan.trainableParameters == 2 * test.model.spec.hiddenSize)
            let start = try #require(trainer.adapter.tokenRows).rows.toArray()
            let base = try test.model.store.tensor("model.embed_tokens.weight").floats()
            let width = test.model.spec.hiddenSize
            #expect(start == Array(base[5 * width..<6 * width] + base[9 * width..<10 * width]))
            var losses: [Double] = []
            trainer.onStep = { losses.append($0.loss) }
            let out = folder.appendingPathComponent("out").path
            _ = try trainer.run(output: out)
            #expect(losses.count == 3 && losses[2] < losses[0])
            let adapter = try LoRAAdapter(path: out, for: test.model.spec)
            #expect(adapter.modules.isEmpty && adapter.config.tokens == [5, 9])
            #expect(adapter.tokenRows?.rows.toArray() != start)
            // A run that was interrupted goes on with the same bits.
            let half = try Trainer(model: test.model, data: data, options: options)
            let flag = InterruptFlag()
            half.interrupt = flag
            half.onStep = { if $0.step == 2 { flag.set() } }
            let second = folder.appendingPathComponent("second").path
            _ = try? half.run(output: second)
            let rest = try Trainer(model: test.model, data: data, options: options)
            _ = try rest.run(output: second, resume: true)
            #expect(rest.adapter.parameters.toArray() == adapter.parameters.toArray())

            var nothing = options
            nothing.lora.tokens = []
            errorText(.usage) { _ = try Trainer(model: test.model, data: data, options: nothing) }
            nothing.lora.tokens = [100_000]
            errorText(.usage) { _ = try Trainer(model: test.model, data: data, options: nothing) }
        }
    }

    @Test("what is no row for each token of the input embedding is refused by name")
    func refused() throws {
        let test = try Case("tied")
        func error(_ change: (inout String) -> Void) throws -> String {
            try withTemporaryFolder { folder in
                let copy = folder.appendingPathComponent("adapter")
                try FileManager.default.copyItem(atPath: test.path, toPath: copy.path)
                let config = copy.appendingPathComponent("adapter_config.json")
                var text = try String(contentsOf: config, encoding: .utf8)
                change(&text)
                try Data(text.utf8).write(to: config)
                return errorText { _ = try LoRAAdapter(path: copy.path, for: test.model.spec) }
            }
        }
        func indices(_ list: String) throws -> String {
            try error { text in
                guard let start = text.range(of: "\"trainable_token_indices\": "),
                    let end = text.range(of: "]", range: start.upperBound..<text.endIndex)
                else { return }
                text.replaceSubrange(start.upperBound..<end.upperBound, with: list)
            }
        }
        #expect(try indices("[5, 3]").contains("expected a row for each of the 2 tokens"))
        #expect(try indices("[5, 3, 3]").contains("holds what is no token, or one twice"))
        #expect(try indices("[5, 3, -1]").contains("holds what is no token, or one twice"))
        #expect(try indices("[5, 3, 100000]").contains("token 100000 is not in this model's vocabulary"))
        #expect(try indices("7").contains("expected a list"))
        #expect(try indices("{\"a\": [5], \"b\": [3]}").contains("names 2 modules"))
        try withTemporaryFolder { folder in
            let recipe = AdapterRecipe(terms: [.init(adapter: test.path, weight: 1)])
            let text = errorText {
                _ = try mergeAdapters(recipe, destination: folder.path + "/sum", overwrite: false)
            }
            #expect(text.contains("trainable_token_indices"), "\(text)")
        }
    }
}
