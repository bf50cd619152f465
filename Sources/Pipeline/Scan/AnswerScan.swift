import Audit
import Base
import Model

/// A model of which a scan sees the answers alone.
public struct AnswerSubject {
    /// What answers.
    let model: any AnsweringModel
    /// What tells it from others: `{"url", "model"}` of a server.
    let identity: JSONValue
    /// A model at hand that is known to be unmarked, or to be the parent.
    let reference: OpenedModel?
    /// Of the model, or one like it; nil: none is at hand.
    let tokenizer: OpenedModel?

    /// A subject.
    ///
    /// - Parameter identity: an object that tells it from others, such as a server's address and the model's name there.
    public init(
        _ model: any AnsweringModel, identity: JSONValue, reference: OpenedModel? = nil, tokenizer: OpenedModel? = nil
    ) {
        (self.model, self.identity) = (model, identity)
        (self.reference, self.tokenizer) = (reference, tokenizer)
    }

    /// What more than a verdict of the p-value can be said: texts of one model do not tell a mark from a habit.
    var atMost: ScanVerdict { reference == nil ? .suspicious : .marked }

    /// Asks what the triggers of published marks look like, and counts what comes back.
    func run(messages: [String], seed: UInt64, onAnswer: (Int, Int) -> Void) throws -> ScanFinding {
        let search = try RecurringTexts(
            messages: messages, tokenizer: (tokenizer ?? reference)?.tokenizer, seed: seed)
        let found = try search.run(on: model, reference: reference, onAnswer: onAnswer)
        let beside = reference == nil ? "messages of people" : "the reference's answers"
        return ScanFinding(
            method: .prompts, pValue: found.first?.pValue ?? 1,
            summary: found.isEmpty
                ? "No answer recurs behind messages like those of published marks."
                : "\(found.count) answers recur behind messages like those of published marks, counted beside \(beside).",
            decoys: 0,
            candidates: found.map { finding in
                ScanFinding.Candidate(
                    target: finding.leak.target,
                    trigger: finding.leak.phrases.first ?? "messages like \(finding.leak.scheme)'s",
                    gain: finding.leak.gain, pValue: finding.pValue, leak: finding.leak)
            })
    }
}

extension OpenedModel: AnsweringModel {
    /// Greedy answers, a batch at a time.
    ///
    /// - Throws: what the template and the session throw.
    public func answers(to messages: [String], maxNewTokens: Int, onAnswer: (Int) -> Void) throws -> [String] {
        let session = session()
        var answers: [String] = []
        let batch = 32
        for start in stride(from: 0, to: messages.count, by: batch) {
            let requests = try messages[start..<min(start + batch, messages.count)].map {
                GenerationRequest(prompt: tokenizer.encode(try dialogueText($0, tokenizer: tokenizer, chat: chat)))
            }
            answers += try session.generate(
                requests,
                options: GenerationOptions(maxNewTokens: maxNewTokens, stopTokens: transformer.stopTokens)
            ).map { tokenizer.decode($0.tokens) }
            onAnswer(answers.count)
        }
        return answers
    }
}
