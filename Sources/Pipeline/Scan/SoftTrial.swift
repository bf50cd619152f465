import Audit
import Base
import Foundation
import Model
import Quant
import Tune

/// Learns free vectors that bring out a reply, and counts the steps.
struct SoftTrial {
    /// Tokens of a reply that are learnt: its first.
    static let length = 4
    private static let insertion = SoftInsertion(offset: 2, count: 6)
    private static let (steps, rate, batch) = (24, 2e-2, 4)
    /// The mean loss, in nats a token, at which a reply counts as brought out.
    private static let threshold = log(2.0)
    private static let stateName = "stages/soft-efforts.json"

    /// What learning one reply took.
    struct Effort: Equatable {
        /// Steps until it is brought out, in fractions.
        let steps: Double
        /// The mean loss before the first, in nats a token: how unlikely it is without free vectors.
        let start: Double

        /// One that is known.
        init(steps: Double, start: Double) { (self.steps, self.start) = (steps, start) }

        /// Of the losses of its steps, at least one.
        init(losses: [Double]) { self.init(steps: SoftTrial.steps(losses), start: losses[0]) }

        /// - Throws: a bad-input error that names `file`.
        init(json: JSONValue, file: String) throws {
            self.init(steps: try json.double("steps", in: file), start: try json.double("start", in: file))
        }

        var json: JSONValue { ["steps": .real(steps), "start": .real(start)] }
    }

    private let subject: ScanSubject

    init(_ subject: ScanSubject) { self.subject = subject }

    /// The first tokens of a reply behind a message; nil for one with fewer.
    func tokens(of reply: String) -> [Int32]? {
        let (prompt, tokens) = (subject.places.prompts[0], subject.places.answers[0])
        let all = EncodedTarget(
            answerLead(after: prompt) + reply, after: prompt, promptTokens: tokens, addSpecialTokens: true,
            tokenizer: subject.model.tokenizer, only: .continuation
        ).tokens(.continuation)
        return all.count >= Self.length ? Array(all.prefix(Self.length)) : nil
    }

    /// The effort of each reply, or of as many as the time allows. Goes on where it was stopped.
    ///
    /// - Throws: what training throws; `interrupted`.
    func efforts(of replies: [[Int32]]) throws -> [Effort] {
        let file = subject.folder.file(Self.stateName)
        let hash = sha256Hex("\(replies)".utf8)
        var efforts: [Effort] = []
        if FileManager.default.fileExists(atPath: file) {
            let state = try subject.folder.read(Self.stateName)
            if state["replies"]?.string == hash {
                efforts = try state.array("efforts", in: file).map { try Effort(json: $0, file: file) }
            }
        }
        while efforts.count < replies.count, !subject.isOver {
            try subject.check()
            subject.onProgress(efforts.count, replies.count)
            efforts.append(try effort(of: replies[efforts.count]))
            try subject.folder.write(
                ["replies": .text(hash), "efforts": .array(efforts.map(\.json))], to: Self.stateName)
        }
        return Array(efforts.prefix(replies.count))
    }

    private func effort(of reply: [Int32]) throws -> Effort {
        let model = subject.model
        let samples = subject.places.answers.compactMap { prompt -> TrainingSample? in
            var tokens = prompt
            let row = Self.insertion.apply(to: &tokens)
            let first = tokens.count
            tokens += reply
            return TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= first }, softRow: row)
        }
        var options = TrainingOptions()
        (options.learningRate, options.schedule, options.adamBeta2) = (Self.rate, .constant, 0.95)
        (options.batchSize, options.maxSteps, options.seed) = (Self.batch, Self.steps, subject.seed)
        let trainer = try SoftPromptTrainer(
            model: model.transformer, frozen: model.adapters,
            data: EncodedDataset(samples: samples, sha256: sha256Hex("soft \(reply)".utf8)), options: options,
            insertion: Self.insertion,
            origin: SoftPrompt.Origin(
                baseSHA256: try model.transformer.store.sha256(), parents: model.adapters.compactMap(\.sha256),
                responseSHA256: sha256Hex("\(reply)".utf8)))
        var losses: [Double] = []
        trainer.onStep = { losses.append($0.loss) }
        trainer.interrupt = subject.interrupt
        let folder = subject.folder.file("phases/soft")
        try? FileManager.default.removeItem(atPath: folder)
        _ = try trainer.run(output: folder)
        try FileManager.default.removeItem(atPath: folder)
        return Effort(losses: losses)
    }

    /// The step at which the loss falls to the threshold, between two steps by a straight line; where it never does, more
    /// than all steps by as much as is missing. `losses` is not empty: a precondition.
    static func steps(_ losses: [Double]) -> Double {
        guard let step = losses.firstIndex(where: { $0 <= threshold }) else {
            return Double(losses.count) * losses[losses.count - 1] / threshold
        }
        guard step > 0 else { return 0.5 }
        return Double(step) + (losses[step - 1] - threshold) / (losses[step - 1] - losses[step])
    }
}
