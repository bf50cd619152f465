import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing
import Tune

/// Golden gradients of PyTorch + PEFT in fp32; their own noise is 2.3e-6 relative L2 per tensor.
@Suite struct GradientTests {
    static let tolerance = 2e-5
    static let archFolder = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/arch")

    static func transformer(_ folder: URL, isa: String? = nil, threads: Int = 2, compute: Compute = .f32)
        throws -> Transformer
    {
        try Transformer(
            store: try openWeightStore(path: folder.path), kernels: try KernelContext(threads: threads, isa: isa),
            compute: compute)
    }

    /// An adapter with parameters from a golden file: tensor names are `prefix` + PEFT's key.
    static func adapter(_ golden: GoldenFile, prefix: String, config: LoRAConfig, for model: DecoderSpec) throws
        -> LoRAAdapter
    {
        let adapter = LoRAAdapter(config: config, for: model)
        for module in adapter.modules {
            let factors = try #require(adapter[module])
            for (matrix, name) in [(factors.a, "lora_A"), (factors.b, "lora_B")] {
                let values = try golden.floats("\(prefix)base_model.model.\(model[module].path).\(name).weight")
                try #require(values.count == matrix.count)
                matrix.copy(from: values)
            }
        }
        return adapter
    }

    /// Expects every tensor of `gradients` within the tolerance of the golden one.
    static func expectGradients(
        _ gradients: LoRAAdapter, _ golden: GoldenFile, prefix: String, tolerance: Double = Self.tolerance,
        of model: DecoderSpec? = nil, _ what: String
    ) throws {
        for module in gradients.modules {
            let factors = try #require(gradients[module])
            for (matrix, name) in [(factors.a, "lora_A"), (factors.b, "lora_B")] {
                let path = model?[module].path ?? module.path
                let expected = try golden.floats("\(prefix)base_model.model.\(path).\(name).weight")
                let difference = relativeL2(matrix.toArray(), expected)
                #expect(difference <= tolerance, "\(what): \(path).\(name)")
            }
        }
    }

    /// Every token after the first is a label; the mean over all of them.
    static func meanBatch(_ sequences: [[Int32]], firstLabel: [Int]? = nil) -> LabelledBatch {
        let batch = PackedBatch(sequences)
        var labels = [Int32](repeating: -1, count: batch.tokenCount)
        var samples: [Int32] = []
        for (index, sequence) in batch.sequences.enumerated() {
            samples += Array(repeating: Int32(index), count: sequence.count)
            for i in max(firstLabel?[index] ?? 1, 1)..<sequence.count {
                labels[sequence.start + i - 1] = batch.tokens[sequence.start + i]
            }
        }
        let count = labels.filter { $0 >= 0 }.count
        let weights = labels.map { $0 >= 0 ? 1 / Float(count) : 0 }
        return LabelledBatch(batch: batch, labels: labels, weights: weights, samples: samples)
    }

    @Test("LoRA gradients of tiny random models", arguments: ["llama3", "llama_ragged", "mistral", "qwen2", "qwen3"])
    func architectures(name: String) throws {
        let folder = Self.archFolder.appendingPathComponent(name)
        let golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
        for isa in KernelContext.availableISANames {
            let model = try Self.transformer(folder, isa: isa)
            let config = LoRAConfig(r: 4, loraAlpha: 8, loraDropout: 0, targetModules: [.q_proj, .v_proj])
            let trained = try Self.adapter(golden, prefix: "lora.param.", config: config, for: model.spec)
            let graph = TrainingGraph(model: model, frozen: [], trained: trained, maximumTokens: 40)
            let gradients = LoRAAdapter(layoutOf: trained)
            let loss = try graph.accumulate(Self.meanBatch([try golden.ints("ids")]), into: gradients)
            let expected = Double(try golden.floats("lora.loss")[0])
            #expect(abs(loss - expected) <= 5e-6 * expected)
            try Self.expectGradients(gradients, golden, prefix: "lora.grad.", "\(name) \(isa)")
        }
    }

    /// Small models of other architectures; their adapters of rank 2 sit on every module.
    static let smallFolder = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/small")
    static let smallNames = [
        "gemma", "gemma2", "gemma3", "gpt_neox", "gptj", "granite", "olmo2", "phi3", "smollm3", "stablelm",
        "starcoder2",
    ]

    /// A graph on a small model with its golden adapter; the golden file, the batch.
    static func smallCase(
        _ name: String, isa: String? = nil, compute: Compute = .f32, threads: Int = 2
    ) throws -> (model: Transformer, trained: LoRAAdapter, golden: GoldenFile, batch: LabelledBatch) {
        let folder = smallFolder.appendingPathComponent(name)
        let golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
        let model = try transformer(folder, isa: isa, threads: threads, compute: compute)
        let config = LoRAConfig(r: 2, loraAlpha: 3, loraDropout: 0, targetModules: Projection.parts)
        let trained = try adapter(golden, prefix: "lora.param.", config: config, for: model.spec)
        return (model, trained, golden, meanBatch([try golden.ints("ids")]))
    }

    @Test("LoRA gradients of every module of small models of other architectures", arguments: smallNames)
    func small(name: String) throws {
        for isa in KernelContext.availableISANames {
            let (model, trained, golden, batch) = try Self.smallCase(name, isa: isa)
            let graph = TrainingGraph(model: model, frozen: [], trained: trained, maximumTokens: 20)
            let gradients = LoRAAdapter(layoutOf: trained)
            let loss = try graph.accumulate(batch, into: gradients)
            let expected = Double(try golden.floats("lora.loss")[0])
            #expect(abs(loss - expected) <= 5e-6 * expected)
            try Self.expectGradients(
                gradients, golden, prefix: "lora.grad.", of: model.spec, "\(name) \(isa)")
        }
    }

    @Test("on bf16 weights in bf16 they stay within the design's bounds", arguments: smallNames)
    func smallInBF16(name: String) throws {
        // Where attention rounds nothing but keys and values, phi3's worst tensor is off by 3.8e-2.
        for (isa, tolerance) in [("avx512bf16", 3e-2), ("avx512intel", 4e-2)]
        where KernelContext.availableISANames.contains(isa) {
            let (model, trained, golden, batch) = try Self.smallCase(name, isa: isa, compute: .bf16)
            let graph = TrainingGraph(model: model, frozen: [], trained: trained, maximumTokens: 20)
            let gradients = LoRAAdapter(layoutOf: trained)
            let loss = try graph.accumulate(batch, into: gradients)
            #expect(abs(loss - Double(try golden.floats("lora.loss")[0])) <= 1e-2, "\(isa)")
            try Self.expectGradients(
                gradients, golden, prefix: "lora.grad.", tolerance: tolerance, of: model.spec, "\(name) \(isa)")
        }
    }

    @Test(
        "LoRA gradients of the fifteen models of ../shared on every path",
        .enabled(if: sharedFolder() != nil, "needs ../shared (reference/arch)"))
    func shared() throws {
        let root = try #require(sharedFolder()).appendingPathComponent("reference/arch")
        for name in try FileManager.default.contentsOfDirectory(atPath: root.path) {
            let folder = root.appendingPathComponent(name)
            let golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
            for isa in KernelContext.availableISANames {
                let model = try Self.transformer(folder, isa: isa)
                // Of a model with one module for queries, keys and values the golden adapter is on that.
                let config = LoRAConfig(r: 4, loraAlpha: 8, loraDropout: 0, targetModules: [.q_proj, .v_proj])
                let trained = try Self.adapter(golden, prefix: "lora.param.", config: config, for: model.spec)
                let graph = TrainingGraph(model: model, frozen: [], trained: trained, maximumTokens: 40)
                let gradients = LoRAAdapter(layoutOf: trained)
                let loss = try graph.accumulate(Self.meanBatch([try golden.ints("ids")]), into: gradients)
                let expected = Double(try golden.floats("lora.loss")[0])
                #expect(abs(loss - expected) <= 5e-6 * expected, "\(name) \(isa)")
                try Self.expectGradients(
                    gradients, golden, prefix: "lora.grad.", of: model.spec, "\(name) \(isa)")
            }
        }
    }

    @Test("with activations kept in bf16 they stay within the design's bounds", arguments: ["llama3", "mistral"])
    func keptInBF16(name: String) throws {
        let folder = Self.archFolder.appendingPathComponent(name)
        let golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
        let model = try Self.transformer(folder)
        let config = LoRAConfig(r: 4, loraAlpha: 8, loraDropout: 0, targetModules: [.q_proj, .v_proj])
        let trained = try Self.adapter(golden, prefix: "lora.param.", config: config, for: model.spec)
        let graph = TrainingGraph(
            model: model, frozen: [], trained: trained, maximumTokens: 40, keptPrecision: .bf16)
        let gradients = LoRAAdapter(layoutOf: trained)
        let loss = try graph.accumulate(Self.meanBatch([try golden.ints("ids")]), into: gradients)
        let expected = Double(try golden.floats("lora.loss")[0])
        #expect(abs(loss - expected) <= 5e-6 * expected, "the forward is not rounded")
        // A relative L2 of 3e-2 bounds the cosine at 0.9995, above the design's 0.999.
        try Self.expectGradients(gradients, golden, prefix: "lora.grad.", tolerance: 3e-2, name)
    }

    @Test("the gradient of a soft prompt in embedding space")
    func softPrompt() throws {
        let fixtures = packageRoot().appendingPathComponent("Tests/TuneTests/Fixtures")
        let golden = try GoldenFile(fixtures.appendingPathComponent("soft_prompt.safetensors"))
        let model = try Self.transformer(tinychatFolder())
        let ids = try golden.ints("ids")
        let soft = try golden.floats("soft")
        let (insert, prompt, hidden) = (2, 10, model.spec.hiddenSize)
        let softCount = soft.count / hidden
        var tokens = ids
        let row = SoftInsertion(offset: insert, count: softCount).apply(to: &tokens)
        var batch = Self.meanBatch([tokens], firstLabel: [prompt + softCount])
        batch.softRows = [row]
        let vectors = FloatStorage(soft, rows: softCount, columns: hidden)
        let gradient = FloatStorage(rows: softCount, columns: hidden)
        let none = LoRAAdapter(config: LoRAConfig(), modules: [], for: model.spec)
        let graph = TrainingGraph(
            model: model, frozen: [], trained: none, maximumTokens: tokens.count, throughEmbeddings: true)
        graph.softPrompt = vectors.matrix
        graph.softPromptGradient = gradient.matrix
        let loss = try graph.accumulate(batch, into: LoRAAdapter(layoutOf: none))
        let expected = Double(try golden.floats("loss")[0])
        #expect(abs(loss - expected) <= 5e-6 * expected)
        #expect(relativeL2(gradient.matrix.toArray(), try golden.floats("soft_grad")) <= Self.tolerance)
    }
}
