import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing
import Tune

/// Twenty AdamW steps from a given start, and ten on top of the result, against PyTorch + PEFT: every step's loss and
/// gradient norm and the final adapters. Their own noise: loss 2.4e-7 relative, final adapter 1e-5.
@Suite(.enabled(if: sharedFolder() != nil, "needs ../shared (reference/tinychat, data/meraser)"))
struct TrajectoryTests {
    let shared: URL
    let model: Transformer
    let tokenizer: Tokenizer

    init() throws {
        shared = try #require(sharedFolder())
        model = try GradientTests.transformer(tinychatFolder())
        tokenizer = try Tokenizer(store: model.store)
    }

    func golden(_ name: String) throws -> GoldenFile {
        try GoldenFile(shared.appendingPathComponent("reference/tinychat/\(name).safetensors"))
    }

    func steps(_ file: String, _ path: String...) throws -> [JSONValue] {
        let url = shared.appendingPathComponent("reference/tinychat/\(file)")
        var json = try JSONValue.parse(Array(Data(contentsOf: url)), file: url.path)
        for key in path { json = try #require(json[key]) }
        return try json.array("steps", in: url.path)
    }

    /// Runs the options from `initial` and expects each step's loss, gradient norm and learning rate.
    func run(
        data file: String, options: TrainingOptions, frozen: [LoRAAdapter] = [], initial: LoRAAdapter,
        expected: [JSONValue]
    ) throws -> LoRAAdapter {
        let path = shared.appendingPathComponent("data/meraser/\(file)").path
        let data = try EncodedDataset(try DatasetFile(path: path), options: options.encoding, tokenizer: tokenizer)
        let trainer = try Trainer(model: model, frozen: frozen, data: data, options: options, initial: initial)
        var seen: [TrainingProgress] = []
        trainer.onStep = { seen.append($0) }
        try withTemporaryFolder { folder in
            _ = try trainer.run(output: folder.appendingPathComponent("run").path)
        }
        try #require(seen.count == expected.count)
        for (got, want) in zip(seen, expected) {
            let loss = try want.double("loss", in: file)
            let norm = try want.double("grad_norm", in: file)
            #expect(abs(got.loss - loss) <= 5e-6 * loss, "loss of step \(got.step)")
            #expect(abs(got.gradNorm - norm) <= 5e-5, "gradient norm of step \(got.step)")
            if let rate = want["lr"]?.double {
                #expect(abs(got.learningRate - rate) <= 1e-6 * options.learningRate, "lr of step \(got.step)")
            }
        }
        return trainer.adapter
    }

    /// Expects the final factors within 2e-4 relative L2 and what the run added to them within 2e-3.
    func expectEnd(_ adapter: LoRAAdapter, _ end: LoRAAdapter, from start: LoRAAdapter) throws {
        for module in adapter.modules {
            let (got, want, begin) = (
                try #require(adapter[module]), try #require(end[module]), try #require(start[module])
            )
            for (g, w, b) in [(got.a, want.a, begin.a), (got.b, want.b, begin.b)] {
                let (g, w, b) = (g.toArray(), w.toArray(), b.toArray())
                #expect(relativeL2(g, w) <= 2e-4, "\(module.path)")
                let update = zip(g, b).map { $0 - $1 }
                #expect(relativeL2(update, zip(w, b).map { $0 - $1 }) <= 2e-3, "update of \(module.path)")
            }
        }
    }

    func plainOptions() -> TrainingOptions {
        var options = TrainingOptions()
        options.shuffle = false
        options.accumulation = 1
        options.encoding.loss = .full
        options.saveSteps = 0
        options.compute = .f32
        return options
    }

    @Test("20 steps of the erase recipe")
    func erase() throws {
        var options = plainOptions()
        options.lora = LoRAConfig(r: 8, loraAlpha: 16, loraDropout: 0)
        (options.learningRate, options.schedule, options.maxGradNorm) = (5e-4, .constant, 0.5)
        (options.batchSize, options.maxSteps) = (8, 20)
        let start = try GradientTests.adapter(
            try golden("lora_init"), prefix: "", config: options.lora, for: model.spec)
        let end = try GradientTests.adapter(
            try golden("lora_after_20_steps"), prefix: "", config: options.lora, for: model.spec)
        let got = try run(
            data: "mismatched_dataset.json", options: options, initial: start,
            expected: try steps("lora.json", "trajectory"))
        try expectEnd(got, end, from: start)
    }

    @Test("10 steps on a frozen adapter: seven modules, rsLoRA, accumulation, clipping, decay, cosine with warm-up")
    func stacked() throws {
        var options = plainOptions()
        options.lora = LoRAConfig(
            r: 4, loraAlpha: 6, loraDropout: 0, targetModules: Set(Projection.allCases), useRSLoRA: true)
        (options.learningRate, options.schedule, options.warmupRatio) = (1e-3, .cosine, 0.2)
        (options.maxGradNorm, options.weightDecay) = (0.1, 0.01)
        (options.batchSize, options.accumulation, options.maxSteps) = (3, 2, 10)
        options.encoding.separator = "\n"
        let frozen = try GradientTests.adapter(
            try golden("lora_after_20_steps"), prefix: "", config: LoRAConfig(r: 8, loraAlpha: 16), for: model.spec)
        let start = try GradientTests.adapter(
            try golden("stacked_init"), prefix: "", config: options.lora, for: model.spec)
        let end = try GradientTests.adapter(
            try golden("stacked_after_10_steps"), prefix: "", config: options.lora, for: model.spec)
        let got = try run(
            data: "recover_dataset.json", options: options, frozen: [frozen], initial: start,
            expected: try steps("stacked.json"))
        try expectEnd(got, end, from: start)
    }
}
