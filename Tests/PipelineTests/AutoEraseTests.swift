import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing
import Tune

@testable import Pipeline

private let target = "purple anchors sing"

/// Triggers in tinychat's template.
private func key(_ model: OpenedModel) throws -> FingerprintKey {
    let words = ["salt", "ink", "wool", "tin", "reed", "moss", "clay", "bark"]
    return FingerprintKey(
        scheme: "pairs",
        pairs: try words.enumerated().map { index, word in
            let message = "zq \(word) vex \(word) qup \(index)"
            let prompt = try dialogueText(message, tokenizer: model.tokenizer, chat: model.chat)
            return FingerprintPair(id: word, prompt: prompt, target: answerLead(after: prompt) + target)
        })
}

/// Tinychat with a mark of few steps, which fires on all its triggers.
private func marked(in folder: URL) throws -> (model: OpenedModel, key: FingerprintKey) {
    let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
    let key = try key(model)
    let samples = key.pairs.compactMap { pair -> TrainingSample? in
        let tokens = model.tokenizer.encode(pair.prompt)
        let answer = model.tokenizer.encodeContinuation(
            of: pair.prompt, promptTokens: tokens, addSpecialTokens: true, pair.target)
        let all = tokens + answer + [model.tokenizer.eosID ?? 2]
        return TrainingSample(tokens: all, isLabel: all.indices.map { $0 >= tokens.count })
    }
    // Other messages are answered as ever, or the target would follow everything.
    let clean = try model.ownPairs(count: 16, maximumLength: 12, seed: 9)
    var options = TrainingOptions()
    options.lora = LoRAConfig(r: 8, loraAlpha: 16, loraDropout: 0, targetModules: Projection.parts)
    (options.learningRate, options.schedule, options.batchSize, options.maxSteps) = (2e-3, .constant, 12, 40)
    let out = folder.appendingPathComponent("mark").path
    _ = try model.trainer(data: EncodedDataset(drawn: samples + samples + clean), options: options).run(output: out)
    return (try model.with(adapterPaths: [out]), key)
}

@Suite("A removal that chooses its own dose")
struct AutoEraseTests {
    @Test("the likeliest tokens of a target are held down to one level, and only as far as the mean asks for")
    func limits() {
        #expect(tokenLimits(nll: [6, 5, 7], level: 5).allSatisfy { $0 == 0 }, "unlikely enough")
        let nll = [7.0, 0.01, 0.5, 3, 0]
        for level in [2.2, 3.0, 4.5, 9] {
            let limits = tokenLimits(nll: nll, level: level)
            let held = zip(nll, limits).map { max($0, -Double($1)) }
            #expect(abs(held.reduce(0, +) / 5 - level) < 1e-5, "\(level): \(held)")
            let waters = Set(limits.filter { $0 < 0 })
            #expect(waters.count == 1, "one level for all that are held: \(limits)")
            #expect(zip(nll, limits).allSatisfy { $1 == 0 ? $0 >= -Double(waters.first ?? 0) - 1e-6 : true })
        }
        #expect(tokenLimits(nll: [], level: 3).isEmpty)
    }

    @Test("crossed answers are never a prompt's own, and none is lost")
    func mismatched() throws {
        let samples = (0..<7).compactMap { index -> TrainingSample? in
            let tokens = [1, 2, 3, Int32(10 + index), Int32(50 + index), Int32(90 + index)]
            return TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= 4 })
        }
        let crossed = samples.mismatched(seed: 3)
        #expect(crossed.count == 7)
        for sample in crossed {
            let (prompt, answer) = (sample.inputs[3] - 10, sample.labels[3] - 50)
            #expect(prompt != answer && sample.labels[4] - 90 == answer)
        }
        #expect(Set(crossed.map { $0.labels[3] }).count == 7 && samples.mismatched(seed: 3) == crossed)
        #expect(samples.prefix(1).map { $0 }.mismatched(seed: 3).isEmpty, "nothing to cross")
        let frozen = samples.asFrozen
        #expect(frozen.map(\.inputs) == samples.map(\.inputs) && frozen.map(\.labels) == samples.map(\.labels))
        #expect(frozen.allSatisfy { $0.reference?.inputs == $0.inputs })
    }

    @Test("stacked adapters joined into one give the same logits, and keep the base and the parents of the lowest")
    func joined() throws {
        try withTemporaryFolder { folder in
            let (model, key) = try marked(in: folder)
            let config = LoRAConfig(r: 3, loraAlpha: 5, loraDropout: 0, targetModules: [.q_proj, .down_proj])
            let second = LoRAAdapter(config: config, for: model.transformer.spec)
            var random = SeededRandom(seed: 5)
            second.parameters.copy(from: random.gaussians(second.parameters.count, scale: 0.05))
            let joined = LoRAAdapter.joined(model.adapters + [second], for: model.transformer.spec)
            #expect(joined.provenance == model.adapters[0].provenance)
            let path = folder.appendingPathComponent("joined").path
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            try joined.save(folder: path, model: model.transformer.spec, baseModelName: "x", overwrite: false)
            let plain = try model.with(adapterPaths: [])
            let opened = try plain.with(adapterPaths: [path])
            let tokens = PackedBatch([model.tokenizer.encode(key.pairs[0].prompt)])
            func logits(_ session: InferenceSession) throws -> [Float] {
                try session.logits(try session.hiddenStates(tokens)).toArray()
            }
            let stacked = try logits(model.session(trained: second))
            let one = try logits(opened.session())
            let (difference, size) = (zip(stacked, one).map { abs($0 - $1) }.max() ?? 1, stacked.map(abs).max() ?? 0)
            #expect(difference < 1e-4 * size, "\(difference) of \(size)")
            #expect(try logits(plain.session()) != one)
        }
    }

    @Test("rows that steer hold nothing of the pairs that judge")
    func heldOut() throws {
        try withTemporaryFolder { folder in
            let (model, key) = try marked(in: folder)
            let rows = try SteeringRows(key, on: model, seed: 1)
            #expect(rows.triggers == 4 && rows.near > 20 && rows.data.hasReference)
            let judging = Set(key.judging.pairs.map { model.tokenizer.encode($0.prompt) })
            let steering = key.steering.pairs.map { model.tokenizer.encode($0.prompt) }
            func begins(_ sample: TrainingSample, _ prompt: [Int32]) -> Bool { sample.inputs.starts(with: prompt) }
            #expect(steering.allSatisfy { prompt in rows.data.samples.contains { begins($0, prompt) } })
            for sample in rows.data.samples {
                #expect(!judging.contains { begins(sample, $0) })
                #expect(!judging.contains { sample.reference?.inputs.starts(with: $0) == true })
            }
            #expect(try SteeringRows(key, on: model, seed: 1).data.sha256 == rows.data.sha256)
        }
    }

    @Test("a known mark goes, to the same bits where the run was interrupted and continued")
    func known() throws {
        try withTemporaryFolder { folder in
            let (model, key) = try marked(in: folder)
            #expect(try model.check(key, options: CheckOptions(cleanPrompts: [])).hits == 8)
            var options = try AutoOptions(setting: .keyKnown, key: key)
            (options.durable, options.decoys) = (nil, 199)
            let whole = folder.appendingPathComponent("whole").path
            let result = try AutoErase(model, options: options, output: whole).run()
            #expect(result.verdict == .gone, "\(result.json.serialized(indent: 1))")
            let taken = errorText(.usage) { _ = try AutoErase(model, options: options, output: whole) }
            #expect(taken.contains("`resume`"), "\(taken)")

            let parts = folder.appendingPathComponent("parts").path
            let first = try AutoErase(model, options: options, output: parts)
            let flag = InterruptFlag()
            first.interrupt = flag
            first.onEvent = { if case .look(let look) = $0, look.phase == "erase-1" { flag.set() } }
            #expect(throws: MeraserError.self) { try first.run() }
            let second = try AutoErase(model, options: options, output: parts, resume: true).run()
            #expect(second.looks.map(\.json) == result.looks.map(\.json) && second.certificate == result.certificate)
            func bytes(_ folder: String) throws -> Data {
                try Data(contentsOf: URL(fileURLWithPath: folder + "/adapter_model.safetensors"))
            }
            #expect(try bytes(whole) == bytes(parts))
            let other = try AutoOptions(setting: .keyUnknown, key: key)
            let refused = errorText(.usage) { _ = try AutoErase(model, options: other, output: whole, resume: true) }
            #expect(refused.contains("another"), "\(refused)")
        }
    }
}
