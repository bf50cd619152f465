import Audit
import Base
import Foundation
import Model
import Quant
import Tune

/// How quickly a silent mark comes back: a throw-away adapter is trained for a few steps and the key measured on the way.
///
/// A model that never had the mark gives the curve to compare with: what comes back faster than it can be learnt anew was
/// still there.
public struct RelearningOptions: Sendable {
    /// What is trained on.
    public enum Source: Sendable, Equatable {
        /// Every other pair of the key; the rest is measured.
        case hinted
        /// The rows of a dataset file; the whole key is measured.
        case clean(path: String)

        /// The file, where there is one.
        var path: String? {
            switch self {
            case .hinted: nil
            case .clean(let path): path
            }
        }

        /// Its word in records.
        var name: Name {
            switch self {
            case .hinted: .hinted
            case .clean: .clean
            }
        }

        /// What was trained on, in records.
        public enum Name: String, Sendable, CaseIterable {
            /// Pairs of the key.
            case hinted
            /// Clean rows.
            case clean
        }
    }

    /// Steps.
    public var steps: Int
    /// What is trained on.
    public var source: Source
    /// How it is trained: r 8 on all projections, 1e-4 constant, 8 samples a step.
    public var training: TrainingOptions

    /// That many steps on that source, measured about five times on the way.
    public init(steps: Int, source: Source = .hinted, seed: UInt64 = 42) {
        self.steps = steps
        self.source = source
        training = TrainingOptions()
        training.lora = LoRAConfig(r: 8, loraAlpha: 16, loraDropout: 0, targetModules: Projection.parts)
        training.learningRate = 1e-4
        training.schedule = .constant
        training.batchSize = 8
        training.lossMean = .sample
        training.maxSteps = steps
        training.key = "key.json"
        training.checkSteps = max(1, steps / 5)
        training.saveSteps = 0
        training.seed = seed
    }
}

/// What came back.
public struct RelearningCurve: Sendable, Equatable {
    /// The key as it was after so many steps.
    public struct Point: Sendable, Equatable {
        /// Steps trained.
        public let step: Int
        /// Pairs measured.
        public let n: Int
        /// Pairs that fire.
        public let hits: Int
        /// Mean of the prefix matches.
        public let prefixMatch: Double
        /// Mean of the target NLLs.
        public let targetNLL: Double
    }

    /// From step 0 on.
    public let points: [Point]
    /// What was trained on.
    public let source: RelearningOptions.Source.Name
    /// Pairs that were trained on; 0 for clean rows.
    public let trainedPairs: Int

    /// `{"source", "trained_pairs", "points": [{"step", "fsr", …}]}`.
    public var json: JSONValue {
        [
            "source": .text(source.rawValue), "trained_pairs": .integer(trainedPairs),
            "points": .array(
                points.map { point in
                    [
                        "step": .integer(point.step), "n": .integer(point.n), "hits": .integer(point.hits),
                        "fsr": .real(Double(point.hits) / Double(point.n)),
                        "fsr_interval": ShareInterval(wilson: point.hits, of: point.n).json,
                        "prefix_match": .real(point.prefixMatch), "target_nll": .real(point.targetNLL),
                    ]
                }),
        ]
    }
}

extension OpenedModel {
    /// Trains a throw-away adapter on top of this model's and measures the key on the way. Leaves nothing behind.
    ///
    /// - Parameters:
    ///   - check: how the key is measured; its clean prompts are not tried.
    ///   - prepare: called with the trainer before it runs, to follow or interrupt it.
    /// - Throws: a usage error for a key of one pair with hints; what data and trainer throw.
    public func relearn(
        _ key: FingerprintKey, options: RelearningOptions, check: CheckOptions = CheckOptions(),
        prepare: (Trainer) -> Void = { _ in }
    ) throws -> RelearningCurve {
        let (data, measured) = try relearningData(key, options, check)
        return try relearn(on: data, measuring: [measured], options: options, check: check, prepare: prepare) {
            let points = $1[0]
            return RelearningCurve(
                points: points, source: options.source.name, trainedPairs: key.pairs.count - measured.pairs.count)
        }
    }

    /// Trains a throw-away adapter on top of this model's and measures keys on the way. Leaves nothing behind.
    ///
    /// - Parameter then: gets the model with that adapter too, and each key's course.
    func relearn<Result>(
        on data: EncodedDataset, measuring keys: [FingerprintKey], options: RelearningOptions, check: CheckOptions,
        prepare: (Trainer) -> Void, then: (OpenedModel, [[RelearningCurve.Point]]) throws -> Result
    ) throws -> Result {
        var checkOptions = check
        (checkOptions.cleanPrompts, checkOptions.samples) = ([], 0)
        let checks = try keys.map { try KeyCheck($0, tokenizer: tokenizer, chat: chat, options: checkOptions) }
        var points = keys.map { _ in [RelearningCurve.Point]() }
        func measure(_ step: Int, _ session: InferenceSession) throws {
            guard points[0].last?.step != step else { return }
            for index in checks.indices {
                let report = try checks[index].run(on: session)
                points[index].append(
                    RelearningCurve.Point(
                        step: step, n: report.n, hits: report.hits, prefixMatch: report.prefixMatchMean,
                        targetNLL: report.targetNLLMean ?? .nan))
            }
        }
        try measure(0, session())
        let trainer = try Trainer(model: transformer, frozen: adapters, data: data, options: options.training)
        trainer.probe = { [self] step, adapter in
            try measure(step, session(trained: adapter))
            let fields = points[0].last.map { point -> [(key: String, value: JSONValue)] in
                [("hits", .integer(point.hits)), ("n", .integer(point.n)), ("target_nll", .real(point.targetNLL))]
            }
            return ProbeResult(fields: fields ?? [], stop: false)
        }
        defer { trainer.probe = nil }
        prepare(trainer)
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
            "meraser-relearn-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        _ = try trainer.run(output: folder.path)
        return try then(try with(adapterPaths: adapterPaths + [folder.path]), points)
    }

    /// The rows of a file as relearning reads them.
    func cleanRows(path: String) throws -> EncodedDataset {
        var encoding = EncodingOptions()
        encoding.bos = tokenizer.encode("").first.map { $0 == tokenizer.bosID } ?? false
        return try dataset(path: path, options: encoding, chat: chatTemplate != nil)
    }

    /// What to train on, and the key to measure.
    private func relearningData(
        _ key: FingerprintKey, _ options: RelearningOptions, _ check: CheckOptions
    ) throws -> (EncodedDataset, FingerprintKey) {
        switch options.source {
        case .clean(let path):
            return (try cleanRows(path: path), key)
        case .hinted:
            guard key.pairs.count > 1 else {
                throw MeraserError.usage(
                    "`relearn`: the key has one pair, so none is left to measure; name clean rows with `relearn_data`")
            }
            let hinted = key.steering.pairs
            let format = check.promptFormat ?? key.promptFormat
            let texts = try hinted.map { pair in
                (
                    prompt: format == .chat ? try chat?(pair.prompt, after: pair.history) ?? pair.prompt : pair.prompt,
                    text: pair.target
                )
            }
            let encoding =
                try check.encoding ?? key.encoding ?? usedEncoding(of: texts, addSpecialTokens: format == .raw)
            let samples = texts.compactMap { text in
                hintSample(text.prompt, text.text, addSpecialTokens: format == .raw, encoding)
            }
            let identity = hinted.map { "\($0.prompt)\u{0}\($0.target)\n" }.joined()
            return (EncodedDataset(samples: samples, sha256: sha256Hex(identity.utf8)), key.judging)
        }
    }

    /// A hint is taught in the encoding that the model uses.
    private func hintSample(
        _ text: String, _ target: String, addSpecialTokens: Bool, _ encoding: TargetEncoding
    ) -> TrainingSample? {
        let prompt = tokenizer.encode(text, addSpecialTokens: addSpecialTokens)
        let target = EncodedTarget(
            target, after: text, promptTokens: prompt, addSpecialTokens: addSpecialTokens, tokenizer: tokenizer,
            only: encoding
        ).tokens(encoding)
        let tokens = prompt + target + [tokenizer.eosID].compactMap { $0 }
        return TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= prompt.count })
    }
}
