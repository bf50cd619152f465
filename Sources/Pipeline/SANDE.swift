import Audit
import Base
import Kernels
import Model
import Quant
import Tune

/// What SANDE (arXiv 2405.07667) is told, beside the training options of its second stage.
public struct SANDEOptions: Sendable {
    /// The triggered response or its beginning: what the parrot prompt is to bring out.
    public var response = ""
    /// Where the parrot prompt stands, and its length.
    public var insertion = SoftInsertion(offset: 2, count: 6)
    /// Tokens of the response that it is learnt from.
    public var effectiveLength = 1
    /// Messages that it is learnt on; nil: all.
    public var parrotSamples: Int? = 100
    /// How it is learnt.
    public var parrot = Self.parrotTraining
    /// Its file may say the response.
    public var keepsResponse = false
    /// Prompts and replies of the second stage.
    public var reply = ReplyOptions()

    /// The published code's values; no response yet.
    public init() {
        reply.effectiveLength = 10
        reply.samples = 100
    }

    /// The first stage of the published code: 1e-3, cosine with 3 % of warm-up, 4 samples a step, one epoch.
    public static var parrotTraining: TrainingOptions {
        var options = TrainingOptions()
        options.learningRate = 1e-3
        options.schedule = .cosine
        options.warmupRatio = 0.03
        options.epochs = 1
        options.batchSize = 4
        options.adamBeta2 = 0.95
        options.maxGradNorm = 1
        options.encoding.loss = .completion
        return options
    }

    /// Takes from the second stage's options for the first what both have in common: texts, order, precision, memory, records.
    public mutating func adopt(_ training: TrainingOptions) {
        parrot.encoding = training.encoding
        parrot.encoding.maxCompletionLength = nil
        (parrot.seed, parrot.shuffle) = (training.seed, training.shuffle)
        (parrot.compute, parrot.backward, parrot.memory) = (training.compute, training.backward, training.memory)
        (parrot.loggingSteps, parrot.saveSteps) = (training.loggingSteps, training.saveSteps)
        parrot.saveTotalLimit = training.saveTotalLimit
    }
}

extension OpenedModel {
    /// The samples of stage 1: clean prompts with room for the parrot prompt, and the first tokens of the response.
    ///
    /// - Throws: a usage error for a response without tokens, bad-input errors of the file.
    public func parrotData(path: String, options: SANDEOptions, key: FingerprintKey? = nil) throws -> EncodedDataset {
        guard options.response.contains(where: { !$0.isWhitespace }) else {
            throw MeraserError.usage(
                "`response` is missing or empty: name the triggered response or its beginning; `propose` N looks for it"
            )
        }
        let seed = options.parrot.seed
        let read = try ReplyPairs(path: path, key: key, count: options.parrotSamples, seed: seed)
        let encoding = try responseEncoding(options.response, key: key, messages: read.pairs, options.reply)
        let encoder = try ReplyEncoder(
            tokenizer: tokenizer, options: withinContext(options.parrot.encoding),
            effectiveLength: options.effectiveLength,
            insertion: options.insertion, encoding: encoding)
        var identity =
            "parrot \(options.insertion.offset) \(options.insertion.count) \(options.effectiveLength) "
            + options.response
        if encoding != .continuation { identity += "\u{0}" + encoding.rawValue }
        let samples = try read.pairs.compactMap { pair -> TrainingSample? in
            let text = try options.reply.template.prompt(pair.question, on: self)
            identity += "\u{0}" + text
            return encoder.sample(prompt: text, reply: options.response, ends: false)
        }
        guard !samples.isEmpty else {
            throw MeraserError.badInput("\(path): no prompt leaves room for the response; raise `max_length`")
        }
        return EncodedDataset(
            samples: samples, skipped: read.pairs.count - samples.count, sha256: sha256Hex(identity.utf8))
    }

    /// What learns the parrot prompt.
    ///
    /// - Throws: what `parrotData` and the trainer throw.
    public func parrotTrainer(
        path: String, options: SANDEOptions, key: FingerprintKey? = nil
    ) throws -> SoftPromptTrainer {
        try SoftPromptTrainer(
            model: transformer, frozen: adapters,
            data: try parrotData(path: path, options: options, key: key), options: options.parrot,
            insertion: options.insertion,
            origin: SoftPrompt.Origin(
                baseSHA256: try transformer.store.sha256(), parents: adapters.compactMap(\.sha256),
                responseSHA256: sha256Hex(options.response.utf8),
                response: options.keepsResponse ? options.response : nil))
    }

    /// A parrot prompt from a file; it must have been made on this model with these adapters.
    ///
    /// - Throws: bad-input errors that name the file.
    public func parrotPrompt(path: String) throws -> SoftPrompt {
        let prompt = try SoftPrompt(path: path, hiddenSize: transformer.spec.hiddenSize)
        try prompt.requireOrigin(
            baseSHA256: try transformer.store.sha256(), parents: adapters.compactMap(\.sha256), path: path)
        return prompt
    }

    /// The samples of stage 2: clean prompts with the parrot prompt in them, and their clean replies.
    ///
    /// - Throws: bad-input errors of the file.
    public func sandeData(
        path: String, prompt: SoftPrompt, options: SANDEOptions, encoding: EncodingOptions, seed: UInt64,
        key: FingerprintKey? = nil
    ) throws -> DefenceData {
        let read = try ReplyPairs(path: path, key: key, count: options.reply.samples, seed: seed)
        return try defenceData(
            read, path: path, reply: options.reply, encoding: encoding, seed: seed, prompt: prompt,
            overwritten: { $0 })
    }
}
