import Audit
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Tune

@testable import Pipeline

/// Tinychat with a mark of few steps, which fires on all its triggers.
func markedTinychat(
    in folder: URL, by key: (OpenedModel) throws -> FingerprintKey
) throws -> (model: OpenedModel, key: FingerprintKey) {
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
    let clean = try model.ownAnswers(try model.ownRequests(count: 16, seed: 9), maximumLength: 12)
    var options = TrainingOptions()
    options.lora = LoRAConfig(r: 8, loraAlpha: 16, loraDropout: 0, targetModules: Projection.parts)
    (options.learningRate, options.schedule, options.batchSize, options.maxSteps) = (2e-3, .constant, 12, 40)
    let out = folder.appendingPathComponent("mark").path
    _ = try model.trainer(data: EncodedDataset(drawn: samples + samples + clean), options: options).run(output: out)
    return (try model.with(adapterPaths: [out]), key)
}
