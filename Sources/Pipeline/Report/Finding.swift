import Audit
import Base

/// One of the three answers of a report: a sentence for a reader, and what it rests on.
struct Finding: Sendable, Equatable {
    /// How an answer is coloured. Colour says nothing that the words do not.
    enum Tone: String, Sendable {
        /// What one hopes for.
        case good
        /// Not shown, or shown in part.
        case warn
        /// Shown, and not what one hopes for.
        case bad
        /// Shown, and neither hoped for nor feared: that a mark was there.
        case fact
        /// Nothing to judge.
        case neutral

        /// How much it speaks against what one hopes for.
        var weight: Int {
            switch self {
            case .good: 0
            case .fact, .neutral: 1
            case .warn: 2
            case .bad: 3
            }
        }
    }

    /// The question.
    let question: String
    /// The answer in a few words.
    let answer: String
    /// The answer in a sentence.
    let sentence: String
    /// The measures and the threshold that it is decided by.
    let basis: String
    /// Its colour.
    let tone: Tone

    /// The same with another basis, and another sentence if one is given.
    func with(sentence: String? = nil, basis: String) -> Finding {
        Finding(question: question, answer: answer, sentence: sentence ?? self.sentence, basis: basis, tone: tone)
    }

    /// What its template needs.
    var cells: [String: String] {
        [
            "question": question.showingInvisibles, "answer": answer.showingInvisibles,
            "sentence": sentence.showingInvisibles, "basis": basis.showingInvisibles, "tone": tone.rawValue,
        ]
    }

    /// `{"answer", "sentence", "basis", "tone"}`.
    var json: JSONValue {
        [
            "answer": .text(answer), "sentence": .text(sentence), "basis": .text(basis),
            "tone": .text(tone.rawValue),
        ]
    }
}

/// What a run says: was the mark there, is it gone, what did that cost. `docs/reference/report.md` has the rules.
struct Verdict: Sendable {
    /// Was the mark there before the removal?
    let presence: Finding
    /// Is it gone after it?
    let removal: Finding
    /// What did the removal cost?
    let cost: Finding
    /// What decoys say of it, where they were asked.
    let certificate: CertificateVerdict?

    /// The answers that a run's records give, finished or not.
    init(_ run: RunRecords) {
        let mark = Verdict.name(of: run.stages.first?.check.scheme)
        let isPresent: Bool
        (presence, isPresent) = Verdict.presence(mark, run)
        removal = Verdict.removal(mark, run, wasPresent: isPresent)
        cost = Verdict.cost(run)
        certificate = run.certificate?.worst
    }

    /// The three in the order of a reader's questions.
    var findings: [Finding] { [presence, removal, cost] }

    /// `{"presence", "removal", "cost", "certificate"}`.
    var json: JSONValue {
        [
            "presence": presence.json, "removal": removal.json, "cost": cost.json,
            "certificate": certificate.map { .text($0.rawValue) } ?? .null,
        ]
    }

    /// What a scheme's mark is called in a sentence.
    private static func name(of scheme: String?) -> String {
        switch scheme {
        case nil: "mark"
        case BackdoorScheme.name: "backdoor"
        case let name?: "fingerprint (\(name))"
        }
    }
}
