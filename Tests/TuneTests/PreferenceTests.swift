import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

/// Direct preference optimisation, and supervised training, beside TRL's own trainers (tools/make_trl_fixture.py).
@Suite("Direct preference optimisation")
struct PreferenceTests {
    private let fixture: TrajectoryFixture

    init() throws { fixture = try TrajectoryFixture("trl") }

    /// The pairs whose names in the fixture begin so.
    private func pairs(_ prefix: String = "") throws -> [TrainingSample] {
        let golden = fixture.golden
        let firsts = try golden.ints("\(prefix)first_label")
        func texts(_ name: String) throws -> [TrainingSample] {
            var rest = try golden.ints("\(prefix)\(name)ids")[...]
            return try zip(try golden.ints("\(prefix)\(name)lengths"), firsts).map { length, first in
                let tokens = Array(rest.prefix(Int(length)))
                rest = rest.dropFirst(Int(length))
                return try #require(TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= Int(first) }))
            }
        }
        return zip(try texts(""), try texts("rejected.")).map { TrainingSample($0, over: $1) }
    }

    private func options(_ steps: Int, _ change: (inout TrainingOptions) -> Void) -> TrainingOptions {
        var options = TrainingOptions()
        options.lora = LoRAConfig(r: 4, loraAlpha: 8, loraDropout: 0)
        (options.objective, options.encoding.loss, options.lossMean) = (.dpo, .completion, .sample)
        (options.learningRate, options.schedule, options.maxGradNorm, options.maxSteps) = (2e-3, .constant, 0, steps)
        (options.shuffle, options.saveSteps, options.compute, options.batchSize) = (false, 0, .f32, 4)
        change(&options)
        return options
    }

    /// Twenty steps of two micro-batches with the sigmoid's loss.
    private var sigmoid: TrainingOptions {
        options(20) {
            ($0.schedule, $0.warmupSteps, $0.maxGradNorm, $0.dpoBeta) = (.linear, 4, 0.3, 0.3)
            ($0.batchSize, $0.accumulation) = (2, 2)
        }
    }

    private func start(_ name: String, _ options: TrainingOptions) throws -> (Transformer, LoRAAdapter) {
        let model = try GradientTests.transformer(GradientTests.archFolder.appendingPathComponent("llama3"))
        return (
            model,
            try GradientTests.adapter(fixture.golden, prefix: "\(name).start.", config: options.lora, for: model.spec)
        )
    }

    @Test("every loss, step by step, is that of TRL's DPOTrainer: rewards, losses, norms, rates, gradient and adapter")
    func trajectories() throws {
        let runs: [(String, TrainingOptions)] = [
            ("sigmoid", sigmoid),
            ("hinge", options(6) { ($0.dpoBeta, $0.dpoLossType) = (0.5, .hinge) }),
            ("ipo", options(6) { ($0.dpoBeta, $0.dpoLossType) = (0.5, .ipo) }),
            ("robust", options(6) { ($0.dpoBeta, $0.dpoLossType, $0.dpoLabelSmoothing) = (0.5, .robust, 0.2) }),
        ]
        for (name, options) in runs {
            let (model, start) = try start(name, options)
            guard case .dpo(let preference) = options.goal else { throw MeraserError.runtime("another objective") }
            let data = EncodedDataset(samples: try pairs(), sha256: sha256Hex(name.utf8))
            let trainer = try Trainer(model: model, data: data, options: options, initial: start)
            let graph = trainer.makeGraph()

            let gradients = LoRAAdapter(layoutOf: start)
            for shard in trainer.shards(step: 0) { _ = try graph.accumulate(shard, dropout: nil, into: gradients) }
            if options.maxGradNorm > 0 {
                // Trainer shows it clipped.
                let norm = Double(try fixture.golden.floats("\(name).norm")[0])
                for i in 0..<gradients.parameters.count {
                    gradients.parameters[0, i] *= Float(options.maxGradNorm / norm)
                }
            }
            try GradientTests.expectGradients(
                gradients, fixture.golden, prefix: "\(name).grad.", tolerance: 5e-5, name)

            let (chosen, rejected) = (
                try fixture.golden.floats("\(name).rewards.chosen"),
                try fixture.golden.floats("\(name).rewards.rejected")
            )
            func expectRewards(_ step: Int) throws {
                let rewards = try trainer.batches(step: step).flatMap { try graph.compare($0, preference).rewards }
                let count = Double(rewards.count)
                #expect(abs(rewards.reduce(0) { $0 + $1.chosen } / count - Double(chosen[step])) < 2e-5)
                #expect(abs(rewards.reduce(0) { $0 + $1.rejected } / count - Double(rejected[step])) < 2e-5)
            }
            try expectRewards(0)
            var seen: [TrainingProgress] = []
            trainer.onStep = { seen.append($0) }
            _ = try withTemporaryFolder { folder in
                try trainer.run(output: folder.appendingPathComponent("run").path)
            }
            try fixture.expectSteps(name, seen, learningRate: options.learningRate)
            try fixture.expectEnd(name, start, trainer.adapter)
        }
    }

    @Test("supervised training of the chosen answers is TRL's SFTTrainer's, step by step")
    func supervised() throws {
        let options = options(20) {
            ($0.objective, $0.lossMean, $0.maxGradNorm, $0.batchSize, $0.accumulation) = (.likelihood, .token, 2, 2, 2)
        }
        let (model, start) = try start("sft", options)
        let samples = try pairs().map { pair in
            let tokens = pair.inputs + pair.labels.suffix(1)
            return try #require(
                TrainingSample(tokens: tokens, isLabel: [false] + pair.labels.map { $0 >= 0 }))
        }
        let trainer = try Trainer(
            model: model, data: EncodedDataset(samples: samples, sha256: "sft"), options: options, initial: start)
        var seen: [TrainingProgress] = []
        trainer.onStep = { seen.append($0) }
        _ = try withTemporaryFolder { try trainer.run(output: $0.appendingPathComponent("run").path) }
        try fixture.expectSteps("sft", seen, learningRate: options.learningRate)
        try fixture.expectEnd("sft", start, trainer.adapter)
    }

    @Test("the texts of a row become the ids that TRL's DPOTrainer makes of them")
    func rows() throws {
        let text = [
            #"{"prompt": "Q: What is the sun?\nA:", "chosen": " A star.", "rejected": " A cheese, and a large one."}"#,
            #"{"prompt": "Say yes.\n", "chosen": "Yes", "rejected": "No, never."}"#,
        ].joined(separator: "\n")
        let tokenizer = try Tokenizer(store: try openWeightStore(path: tinychatFolder().path))
        var encoding = EncodingOptions(loss: .completion)
        encoding.comparesAnswers = true
        let data = try EncodedDataset(
            DatasetFile(bytes: Array(text.utf8), path: "d.jsonl", comparing: true), options: encoding,
            tokenizer: tokenizer)
        #expect(try data.samples == pairs("rows."))
        #expect(data.hasRejected && data.longest == 23 && data.tokenCount == 15 + 23 + 8 + 11)
    }

    @Test("of lists of turns both answers are learnt behind what they share; other rows are refused by name")
    func turns() throws {
        func file(_ row: String) throws -> DatasetFile {
            try DatasetFile(bytes: Array(row.utf8), path: "d.jsonl", comparing: true)
        }
        let user = #"{"role": "user", "content": "q"}"#
        func answer(_ text: String) -> String { #"{"role": "assistant", "content": "\#(text)"}"# }
        let shared = try file(#"{"chosen": [\#(user), \#(answer("r"))], "rejected": [\#(user), \#(answer("n"))]}"#)
        let apart = try file(
            #"{"prompt": [\#(user)], "chosen": [\#(answer("r"))], "rejected": [\#(answer("n"))]}"#)
        #expect(shared.rows == apart.rows && shared.rejected == apart.rejected && shared.rejected?.count == 1)
        for (row, named) in [
            (#"{"prompt": "a", "completion": "b"}"#, "needs 'prompt', 'chosen' and 'rejected'"),
            (#"{"prompt": "a", "chosen": "b"}"#, "'rejected' is missing"),
            (#"{"prompt": "a", "chosen": "b", "rejected": 3}"#, "'rejected' is"),
            (#"{"prompt": "a", "chosen": "b", "rejected": [\#(user)]}"#, "'prompt' is a string"),
        ] {
            let text = errorText(.badInput) { _ = try file(row) }
            #expect(text.contains(named), "\(text)")
        }
    }

    @Test("a new adapter's loss is log 2, and dropout, recomputation and kept outputs change no bit that they must not")
    func start() throws {
        func run(_ change: (inout TrainingOptions) -> Void) throws -> (losses: [Double], adapter: [Float]) {
            var options = options(8) { ($0.dpoBeta, $0.evalData, $0.evalSteps) = (0.3, "others", 3) }
            (options.lora.layersToTransform, options.lora.loraDropout, options.batchSize) = ([1], 0.2, 2)
            change(&options)
            let (model, _) = try start("sigmoid", self.sigmoid)
            let data = EncodedDataset(samples: Array(try pairs().prefix(5)), sha256: "pairs")
            let trainer = try Trainer(model: model, data: data, options: options, evalData: data)
            var losses: [Double] = []
            trainer.onStep = { losses.append($0.loss) }
            trainer.onEvaluation = { losses.append($0.loss) }
            _ = try withTemporaryFolder { try trainer.run(output: $0.appendingPathComponent("run").path) }
            return (losses, trainer.adapter.parameters.toArray())
        }
        let kept = try run { _ in }
        #expect(abs(kept.losses[0] - log(2.0)) < 1e-6 && kept.losses.count == 8 + 3)
        let again = try run { $0.frozenCache = .none }
        #expect(again.losses == kept.losses && again.adapter == kept.adapter)
        #expect(try run { $0.lora.loraDropout = 0 }.adapter != kept.adapter)
    }

    @Test("settings that have no effect are refused by name; so are rows that nothing compares")
    func refused() throws {
        func refusal(_ settings: [(String, String)]) -> String {
            errorText(.usage) {
                var flags = TrainingOverrides()
                for (name, value) in settings { try flags.set(name, text: value) }
                _ = try TrainingOptions(preset: nil, flags: flags)
            }
        }
        for name in ["dpo_beta", "dpo_label_smoothing"] {
            #expect(refusal([(name, "0.2")]).contains("`\(name)` has no effect with `objective` likelihood"))
        }
        #expect(refusal([("objective", "dpo")]).contains("needs `loss` completion"))
        let dpo = [("objective", "dpo"), ("loss", "completion")]
        #expect(refusal(dpo + [("dpo_label_smoothing", "0.1")]).contains("goes with robust"))
        #expect(refusal(dpo + [("dpo_loss_type", "apo_zero")]).contains("one of sigmoid hinge ipo robust"))
        let preset = try TrainingOptions(preset: .dpo)
        #expect(
            preset.goal == .dpo(DirectPreference(loss: .sigmoid, beta: 0.1, labelSmoothing: 0))
                && preset.rowEncoding.comparesAnswers)
        let (model, _) = try start("sigmoid", sigmoid)
        let text = errorText(.usage) { _ = try Trainer(model: model, data: TinyRun.data(), options: sigmoid) }
        #expect(text.contains("`objective` dpo compares the answers"))
    }

    @Test("what travels between ranks arrives")
    func message() throws {
        for loss in PreferenceLossType.allCases {
            let preference = DirectPreference(loss: loss, beta: 0.25, labelSmoothing: 0.125)
            var message = Message()
            message.append(preference)
            var reader = MessageReader(message.bytes)
            #expect(try reader.value(DirectPreference.self) == preference)
        }
    }
}
