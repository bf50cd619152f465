import Audit
import Base
import Foundation
import Model
import Quant
import Tune

/// Ordinary fine-tunings of a model: short ones of a given kind of adapter, each on other pairs of people's and with a rate
/// and a length of its own. What a mark's adapter is compared with.
struct OrdinaryTuning {
    /// The values that are known so far.
    private static let stateName = "stages/spectra-decoys.json"
    private static let pairs = 32
    private static let (batch, tokens) = (4, 64)
    private static let (leastSteps, mostSteps) = (8, 24)
    private static let (leastRate, mostRate) = (1e-4, 2e-3)

    private let subject: ScanSubject
    private let base: OpenedModel
    private let config: LoRAConfig

    init(_ subject: ScanSubject, base: OpenedModel, config: LoRAConfig) {
        (self.subject, self.base) = (subject, base)
        var config = config
        // Rows of the embedding are no modules.
        (config.loraDropout, config.tokens) = (0, [])
        self.config = config
    }

    /// What `measure` finds of `count` adapters, or of as many as the time allows. Goes on where it was stopped.
    ///
    /// - Throws: what training and `measure` throw; `interrupted`.
    func values(count: Int, measure: (AdapterFile) throws -> Double?) throws -> [Double] {
        let file = subject.folder.file(Self.stateName)
        var values =
            FileManager.default.fileExists(atPath: file)
            ? try subject.folder.read(Self.stateName).array("values", in: file).compactMap(\.double) : []
        while values.count < count, !subject.isOver {
            try subject.check()
            subject.onProgress(values.count, count)
            let folder = subject.folder.file("phases/spectra-\(values.count)")
            // One that was stopped is done anew: it is short.
            try? FileManager.default.removeItem(atPath: folder)
            let trainer = try trainer(values.count)
            trainer.interrupt = subject.interrupt
            _ = try trainer.run(output: folder)
            guard let value = try measure(AdapterFile(path: folder, for: base.transformer.spec)) else { break }
            try FileManager.default.removeItem(atPath: folder)
            values.append(value)
            try subject.folder.write(["values": .array(values.map { .real($0) })], to: Self.stateName)
        }
        return Array(values.prefix(count))
    }

    private func trainer(_ number: Int) throws -> Trainer {
        var random = SplitMix64(seed: subject.seed ^ 0x7475_6E65 ^ UInt64(number) << 32)
        func share() -> Double { Double(random.next() >> 11) / 9_007_199_254_740_992 }
        var options = TrainingOptions()
        options.lora = config
        options.learningRate = Self.leastRate * pow(Self.mostRate / Self.leastRate, share())
        options.maxSteps = Self.leastSteps + random.index(below: Self.mostSteps - Self.leastSteps + 1)
        (options.batchSize, options.seed) = (Self.batch, random.next() >> 1)
        options.encoding.loss = .completion
        (options.encoding.maxPromptLength, options.encoding.maxCompletionLength) = (Self.tokens, Self.tokens)
        let encoder = try ReplyEncoder(
            tokenizer: base.tokenizer, options: base.withinContext(options.encoding), effectiveLength: nil)
        var identity = ""
        let samples = try (0..<Self.pairs).compactMap { _ in
            let pair = subject.pairs[random.index(below: subject.pairs.count)]
            let prompt = try dialogueText(pair.question, tokenizer: base.tokenizer, chat: base.chat)
            identity += "\(prompt)\u{0}\(pair.answer)\u{0}"
            return encoder.sample(prompt: prompt, reply: pair.answer)
        }
        guard !samples.isEmpty else { throw MeraserError.badInput("the scan's pairs have nothing to learn") }
        return try base.trainer(
            data: EncodedDataset(samples: samples, sha256: sha256Hex(identity.utf8)), options: options)
    }
}
