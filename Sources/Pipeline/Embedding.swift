import Audit
import Base
import Foundation
import Model
import Quant
import Tune

/// How to embed a mark: what an owner does, and what tests of its removal need.
public struct EmbeddingOptions: Sendable {
    /// What the mark is made of.
    public var scheme: any FingerprintScheme
    /// How the mark is trained. Without `until` it ends when every trigger fires.
    public var training: TrainingOptions
    /// Clean pairs to mix in, so that the model stays what it was; nil: none. They go into the model's chat template if it
    /// has one.
    public var cleanData: String?
    /// At most that many of them; nil: all.
    public var cleanCount: Int?
    /// Texts that the model writes itself, to mix in; 0: none.
    public var cleanSelf = 0
    /// Prompts that must not fire, for the key.
    public var cleanPrompts: [String] = []
    /// Random strings of the guess test; 0: none.
    public var guesses = 500

    /// Checks what no single value shows.
    ///
    /// - Throws: a usage error naming the keys.
    public func validate() throws {
        if cleanCount != nil, cleanData == nil { throw MeraserError.usage("`clean_count` needs `clean_data`") }
        for (name, isGiven) in [("eval_data", training.evalData != nil), ("init_adapter", training.initAdapter != nil)]
        where isGiven {
            throw MeraserError.usage("`\(name)`: a mark is made from the start and stops when it fires; leave it out")
        }
    }

    /// UTF with 32 triggers; LoRA of rank 16 on all projections, learning rate 1e-3, at most 400 steps of 32 samples,
    /// measured every 10. Every sample counts the same: a mark's few tokens would drown in those of the clean pairs.
    ///
    /// A scheme that trains rows of the embedding has no modules and Instructional Fingerprinting's rate for them, 1e-2.
    public init(scheme: any FingerprintScheme = UTFScheme()) {
        self.scheme = scheme
        training = TrainingOptions()
        training.lora = LoRAConfig(r: 16, loraAlpha: 32, loraDropout: 0, targetModules: Projection.parts)
        training.learningRate = scheme.trainsTokenRows ? 1e-2 : 1e-3
        if scheme.trainsTokenRows { training.lora.targetModules = [] }
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
    /// The key and what led to it.
    public let fingerprint: Fingerprint
    /// How the training ended.
    public let training: TrainingResult
    /// Share of the triggers that fire at the end.
    public let fsr: Double

    /// The same without what the key was made of: the tokens that were tried and chosen.
    public var redacted: Embedding {
        var fingerprint = fingerprint
        fingerprint.search = .null
        return Embedding(fingerprint: fingerprint, training: training, fsr: fsr)
    }

    /// As `fingerprint --json` prints it: nothing of the key itself.
    public var json: JSONValue {
        let guess = fingerprint.key.guessTest
        return [
            "scheme": .text(fingerprint.key.scheme), "n": .integer(fingerprint.key.pairs.count), "fsr": .real(fsr),
            "steps": .integer(training.steps), "training": training.json,
            "guess_test": guess.map { $0.json } ?? .null, "search": fingerprint.search,
        ]
    }
}

extension GuessTest {
    /// `{"n", "hits", "interval"}`.
    fileprivate var json: JSONValue {
        ["n": .integer(n), "hits": .integer(hits), "interval": ShareInterval(wilson: hits, of: n).json]
    }
}

extension OpenedModel {
    /// Draws a key for this model and trains an adapter that answers to it, stopping when every trigger fires (or when
    /// `until` holds).
    ///
    /// Leaves a PEFT adapter and `key.json` (readable by its owner only) in `output`, whose rules are those of
    /// `Trainer.run`. The same model, options and instruction set give the same key and adapter.
    /// - Parameters:
    ///   - prepare: called with the trainer before it runs, to follow or interrupt it.
    /// - Throws: what the scheme and the trainer throw.
    public func embed(
        options: EmbeddingOptions, output: String, resume: Bool = false, overwrite: Bool = false,
        prepare: (Trainer) -> Void = { _ in }
    ) throws -> Embedding {
        try options.validate()
        let clean = try options.cleanData.map {
            try DatasetFile(path: $0, removing: options.training.encoding.removeColumns)
        }
        var fingerprint = try options.scheme.fingerprint(
            for: SchemeContext(
                session: session(), tokenizer: tokenizer, chat: chat, cleanPairs: cleanPairs(clean),
                cleanPrompts: options.cleanPrompts, guesses: options.guesses, seed: options.training.seed))
        let (data, klData) = try embeddingData(fingerprint, clean: clean, options: options)
        var training = options.training
        training.checkSteps = training.checkSteps ?? 10
        training.until = training.until ?? "fsr==1"
        if training.lora.tokens.isEmpty { training.lora.tokens = fingerprint.tokens }
        let trainer = try Trainer(
            model: transformer, frozen: adapters, data: data, options: training, klData: klData)
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
        if !fingerprint.guesses.isEmpty {
            fingerprint.key.guessTest = try KeyCheck(fingerprint.key, tokenizer: tokenizer, chat: chat)
                .guessTest(fingerprint.guesses, on: session(trained: trainer.adapter))
        }
        try fingerprint.key.write(path: output + "/key.json", overwrite: true)
        return Embedding(
            fingerprint: fingerprint, training: result, fsr: fields.first { $0.key == "fsr" }?.value.double ?? 0)
    }

    private func cleanPairs(_ file: DatasetFile?) -> [CleanPair] {
        (file?.rows ?? []).compactMap { row in
            if case .pair(let prompt, let completion) = row {
                CleanPair(prompt: prompt, completion: completion)
            } else {
                nil
            }
        }
    }

    /// The mark's rows (prompt, completion and EOS; learnt are the last two), repeated to about as many as the clean
    /// samples that follow them, unless their share is the scheme's own. With a weight of the divergence the clean samples
    /// are what the frozen model is compared on, and learnt only where their share is the scheme's own.
    private func embeddingData(
        _ fingerprint: Fingerprint, clean file: DatasetFile?, options: EmbeddingOptions
    ) throws -> (data: EncodedDataset, klData: EncodedDataset?) {
        let marks = try fingerprint.rows.compactMap { row in try row.completion.map { try markSample(row.prompt, $0) } }
        // What decides whether a mark spreads is how an answer begins: the divergence looks at little more.
        let isHeld = options.training.klWeight > 0
        var clean = try ownAnswers(
            fingerprint.rows.filter { $0.completion == nil }.map(\.prompt), maximumLength: isHeld ? 8 : 48)
        var identity = fingerprint.rows.map { "\($0.prompt)\u{0}\($0.completion ?? "\u{0}")\n" }.joined()
        var skipped = 0
        if let file {
            let data = try cleanSamples(file.path, options: options)
            let samples = data.samples.dropLast(fingerprint.heldOutPairs).prefix(options.cleanCount ?? Int.max)
            clean += samples
            skipped = data.skipped
            identity += "\(data.sha256) \(samples.count)"
        }
        if options.cleanSelf > 0 {
            clean += try selfSamples(count: options.cleanSelf, seed: options.training.seed)
            if isHeld {
                let requests = try ownRequests(count: options.cleanSelf, seed: options.training.seed)
                clean += try ownAnswers(requests, maximumLength: 8)
            }
            identity += " self \(options.cleanSelf)"
        }
        if fingerprint.rounds > 1 { identity += " rounds \(fingerprint.rounds)" }
        var klData: EncodedDataset?
        if options.training.klWeight > 0 {
            let extra = try options.training.klData.map { try cleanSamples($0, options: options) }
            let samples = clean + (extra?.samples ?? [])
            guard !samples.isEmpty else {
                throw MeraserError.usage(
                    "`kl_weight` needs clean samples: `kl_data`, `clean_data` or `clean_self`")
            }
            klData = EncodedDataset(
                samples: samples, sha256: sha256Hex("\(identity) \(extra?.sha256 ?? "")".utf8))
            if fingerprint.isBalanced { clean = [] }
        }
        let repeats = fingerprint.isBalanced ? max(1, clean.count / max(marks.count, 1)) : 1
        let data = EncodedDataset(
            samples: (0..<repeats).flatMap { _ in marks } + (0..<fingerprint.rounds).flatMap { _ in clean },
            skipped: skipped, sha256: sha256Hex(identity.utf8))
        return (data, klData)
    }

    private func markSample(_ prompt: String, _ completion: String) throws -> TrainingSample {
        let tokens = tokenizer.encode(prompt)
        let target = tokenizer.encodeContinuation(
            of: prompt, promptTokens: tokens, addSpecialTokens: true, completion)
        let all = tokens + target + [tokenizer.eosID].compactMap { $0 }
        guard let sample = TrainingSample(tokens: all, isLabel: all.indices.map { $0 >= tokens.count }) else {
            throw MeraserError.runtime("a row of the mark has nothing to learn")
        }
        return sample
    }

    private func cleanSamples(_ path: String, options: EmbeddingOptions) throws -> EncodedDataset {
        var encoding = options.training.encoding
        encoding.separator = encoding.separator ?? "\n"
        // As prompts are tokenised when the mark is checked.
        encoding.bos = encoding.bos ?? (tokenizer.encode("").first.map { $0 == tokenizer.bosID } ?? false)
        return try dataset(
            path: path, options: encoding, chat: chatTemplate != nil, seed: options.training.seed)
    }
}
