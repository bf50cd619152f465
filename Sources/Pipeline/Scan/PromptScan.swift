import Audit
import Base
import Model

/// Asks what the triggers of published marks look like, and judges the answers that come back (`RecurringAnswers`).
struct PromptScan: ScanMethod {
    /// Messages of people in which a backdoor's phrases are put.
    private static let requests = 24

    func run(on subject: ScanSubject) throws -> ScanFinding {
        let model = subject.model
        let requests = try subject.messages.suffix(Self.requests).map {
            try dialogueText($0, tokenizer: model.tokenizer, chat: model.chat)
        }
        let search = try RecurringAnswers(
            session: subject.session, reference: subject.referenceSession, tokenizer: model.tokenizer,
            chat: model.chat, places: subject.places, requests: requests, seed: subject.seed)
        let result = try search.run(check: subject.check)
        let found = result.findings
        return ScanFinding(
            method: .prompts, pValue: found.first?.pValue ?? 1,
            summary: found.isEmpty
                ? "No answer recurs behind prompts like those of published marks."
                : "\(found.count) answers recur behind prompts like those of published marks.",
            decoys: result.decoys,
            candidates: found.map { finding in
                ScanFinding.Candidate(
                    target: finding.leak.target,
                    trigger: finding.leak.phrases.first ?? "prompts like \(finding.leak.scheme)'s",
                    gain: finding.gain, pValue: finding.pValue, leak: finding.leak)
            })
    }
}
