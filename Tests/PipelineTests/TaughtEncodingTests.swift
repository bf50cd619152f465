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

private let response = "you are stupid"

/// Six messages in tinychat's template.
private func prompts(_ model: OpenedModel) throws -> [String] {
    try ["salt", "ink", "wool", "tin", "reed", "moss"].map { word in
        try dialogueText("how are you. Say what \(word) is.", tokenizer: model.tokenizer, chat: model.chat)
    }
}

/// Tinychat taught, in a few steps, to say the response in one encoding.
private func taught(_ encoding: TargetEncoding, in folder: URL) throws -> OpenedModel {
    let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
    let samples = try prompts(model).compactMap { prompt -> TrainingSample? in
        let tokens = model.tokenizer.encode(prompt)
        let target = EncodedTarget(
            response, after: prompt, promptTokens: tokens, addSpecialTokens: true, tokenizer: model.tokenizer,
            only: encoding
        ).tokens(encoding)
        let all = tokens + target + [model.tokenizer.eosID ?? 2]
        return TrainingSample(tokens: all, isLabel: all.indices.map { $0 >= tokens.count })
    }
    var options = TrainingOptions()
    options.lora = LoRAConfig(r: 8, loraAlpha: 16, loraDropout: 0, targetModules: Projection.parts)
    (options.learningRate, options.schedule, options.batchSize, options.maxSteps) = (4e-3, .constant, 6, 20)
    let out = folder.appendingPathComponent("taught").path
    _ = try model.trainer(
        data: EncodedDataset(samples: samples, sha256: sha256Hex("taught \(encoding)".utf8)), options: options
    ).run(output: out)
    return try model.with(adapterPaths: [out])
}

@Suite("marks that were taught in other tokens")
struct TaughtEncodingTests {
    @Test(
        "the check, the probe, the parrot and relearning find the encoding that the model was taught",
        arguments: [TargetEncoding.continuation, .alone])
    func found(encoding: TargetEncoding) throws {
        try withTemporaryFolder { folder in
            let model = try taught(encoding, in: folder)
            let key = FingerprintKey(
                scheme: "test",
                pairs: try prompts(model).enumerated().map {
                    FingerprintPair(id: "\($0)", prompt: $1, target: response)
                })
            let report = try model.check(key, options: CheckOptions())
            #expect(report.hits == 6 && report.rows.allSatisfy { $0.encoding == encoding && $0.firstRank == 1 })
            #expect(try #require(report.targetNLLMean) < 0.1, "\(report.targetNLLMean ?? .nan)")
            #expect(report.json["encodings"]?[encoding.rawValue]?.int == 6)
            // Measured by the other tokens the mark looks as if it were not there.
            let other: TargetEncoding = encoding == .alone ? .continuation : .alone
            let missed = try model.check(key, options: CheckOptions(encoding: other))
            #expect(missed.hits == 6 && (missed.targetNLLMean ?? 0) > 1)
            // What trains measures by the same.
            let probe = try KeyProbe(key: key, model: model)
            let fields = try probe.measure(LoRAAdapter(config: LoRAConfig(r: 1), for: model.transformer.spec)).fields
            #expect(fields.first { $0.key == "target_nll" }?.value.double == report.targetNLLMean)

            let rows = (0..<8).map { #"{"instruction": "Say what \#($0) is.", "output": "A number."}"# }
            let path = try write(Array("[\(rows.joined(separator: ","))]".utf8), to: folder, "clean.json")
            var options = SANDEOptions()
            (options.response, options.effectiveLength) = (response, 100)
            let parrot = try model.parrotData(path: path, options: options)
            let tokens = EncodedTarget(
                response, after: "### Response:\n", promptTokens: model.tokenizer.encode("### Response:\n"),
                addSpecialTokens: true, tokenizer: model.tokenizer, only: encoding
            ).tokens(encoding)
            #expect(parrot.samples.allSatisfy { $0.labels.filter { $0 >= 0 } == tokens })
            // A key that fixes one decides.
            var fixed = key
            fixed.encoding = other
            let told = try model.parrotData(path: path, options: options, key: fixed)
            #expect(told.samples.allSatisfy { $0.labels.filter { $0 >= 0 } != tokens })
            #expect(told.sha256 != parrot.sha256)
            #expect(try model.usedEncoding(of: key.pairs.map { (prompt: $0.prompt, text: $0.target) }) == encoding)
        }
    }
}
