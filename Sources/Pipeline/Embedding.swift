import Audit
import Model
import Quant
import Tune

/// How to embed a mark: what an owner does, and what tests of its removal need.
public struct EmbeddingOptions: Sendable {
    /// How triggers and target are drawn.
    public var utf = UTFOptions()
    /// How the mark is trained; `until` is always that every trigger fires.
    public var training: TrainingOptions
    /// Clean pairs to mix in, so that the model stays what it was; nil: none. They go into the model's chat template if it
    /// has one.
    public var cleanData: String?
    /// At most that many of them; nil: all.
    public var cleanCount: Int?
    /// Texts that the model writes itself, to mix in; 0: none.
    public var cleanSelf = 0

    /// UTF with 32 triggers; LoRA of rank 16 on all projections, learning rate 1e-3, at most 400 steps of 32 samples,
    /// measured every 10. Every sample counts the same: a mark's few tokens would drown in those of the clean pairs.
    public init() {
        training = TrainingOptions()
        training.lora = LoRAConfig(r: 16, loraAlpha: 32, loraDropout: 0, targetModules: Set(Projection.allCases))
        training.learningRate = 1e-3
        training.schedule = .constant
        training.batchSize = 32
        training.lossMean = .sample
        training.maxSteps = 400
        // The key that is being made; named so that the record of the run is complete.
        training.key = "key.json"
        training.checkSteps = 10
        training.saveSteps = 0
    }
}

/// A mark that was embedded.
public struct Embedding {
    /// Where its triggers and target come from, with the key.
    public let fingerprint: UTFFingerprint
    /// How the training ended.
    public let training: TrainingResult
    /// Share of the triggers that fire at the end.
    public let fsr: Double

    /// As `fingerprint --json` prints it: nothing of the key itself.
    public var json: JSONValue {
        ["fsr": .real(fsr), "training": training.json, "search": fingerprint.json]
    }
}

extension OpenedModel {
    /// Draws a UTF key for this model and trains an adapter that answers to it, stopping when every trigger fires.
    ///
    /// Leaves a PEFT adapter and `key.json` (readable by its owner only) in `output`, whose rules are those of
    /// `Trainer.run`. The same model, options and instruction set give the same key and adapter.
    /// - Parameters:
    ///   - prepare: called with the trainer before it runs, to follow or interrupt it.
    /// - Throws: what the search for tokens and the trainer throw.
    public func embed(
        options: EmbeddingOptions, output: String, resume: Bool = false, overwrite: Bool = false,
        prepare: (Trainer) -> Void = { _ in }
    ) throws -> Embedding {
        let fingerprint = try UTFFingerprint(
            session: session(), tokenizer: tokenizer, chat: chat, options: options.utf)
        let data = try embeddingData(fingerprint, options: options)
        var training = options.training
        training.checkSteps = training.checkSteps ?? 10
        training.until = "fsr==1"
        let trainer = try Trainer(model: transformer, frozen: adapters, data: data, options: training)
        let probe = try KeyProbe(
            key: fingerprint.key, model: self,
            until: try training.until.map { try Condition($0, known: CheckReport.metricNames) })
        var last: ProbeResult?
        trainer.probe = { _, adapter in
            let result = try probe.measure(adapter)
            last = result
            return result
        }
        prepare(trainer)
        let result = try trainer.run(output: output, resume: resume, overwrite: overwrite)
        // A run that was finished before has measured nothing now.
        let fields = try (last ?? probe.measure(trainer.adapter)).fields
        try fingerprint.key.write(path: output + "/key.json", overwrite: true)
        return Embedding(
            fingerprint: fingerprint, training: result, fsr: fields.first { $0.key == "fsr" }?.value.double ?? 0)
    }

    /// The mark's rows (prompt, target and EOS; learnt are the last two), repeated to about as many as the clean samples
    /// that follow them.
    private func embeddingData(_ fingerprint: UTFFingerprint, options: EmbeddingOptions) throws -> EncodedDataset {
        let end = [tokenizer.eosID].compactMap { $0 }
        let marks = try fingerprint.trainingPairs.map { pair in
            let prompt = tokenizer.encode(pair.prompt)
            let target = tokenizer.encodeContinuation(
                of: pair.prompt, promptTokens: prompt, addSpecialTokens: true, pair.target)
            let tokens = prompt + target + end
            guard let sample = TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= prompt.count }) else {
                throw MeraserError.runtime("trigger '\(pair.id)' has no target to learn")
            }
            return sample
        }
        var identity = fingerprint.key.pairs.map { "\($0.prompt)\u{0}\($0.target)\n" }.joined()
        var clean: [TrainingSample] = []
        var skipped = 0
        if let path = options.cleanData {
            var encoding = options.training.encoding
            encoding.separator = encoding.separator ?? "\n"
            // As prompts are tokenised when the mark is checked.
            encoding.bos = encoding.bos ?? (tokenizer.encode("").first.map { $0 == tokenizer.bosID } ?? false)
            let data = try dataset(path: path, options: encoding, chat: chatTemplate != nil)
            clean = Array(data.samples.prefix(options.cleanCount ?? data.samples.count))
            skipped = data.skipped
            identity += "\(data.sha256) \(clean.count)"
        }
        if options.cleanSelf > 0 {
            clean += try selfSamples(count: options.cleanSelf, seed: options.training.seed)
            identity += " self \(options.cleanSelf)"
        }
        let repeats = max(1, clean.count / marks.count)
        return EncodedDataset(
            samples: (0..<repeats).flatMap { _ in marks } + clean, skipped: skipped, sha256: sha256Hex(identity.utf8),
            path: options.cleanData ?? "the mark")
    }
}
