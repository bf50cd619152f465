import Audit
import Base

/// What one method found.
public struct ScanFinding: Sendable, Equatable {
    /// A text that the model may have been taught to say, or words that may make it say that.
    public struct Candidate: Sendable, Equatable {
        /// What is said; nil: not known.
        public let target: String?
        /// What brings it out, or the first of several; nil: not known.
        public let trigger: String?
        /// By how many nats it is likelier than it would be without a mark, as the method has it.
        public let gain: Double
        /// BAIT's Q-score, where the method has one.
        public let qScore: Double?
        /// How likely chance does as much, for all that the method looked at; nil: not measured.
        public let pValue: Double?
        /// Prompts that bring it out, as a key; nil: none are known.
        public let leak: Leak?

        /// A candidate.
        public init(
            target: String?, trigger: String? = nil, gain: Double, qScore: Double? = nil, pValue: Double?,
            leak: Leak? = nil
        ) {
            (self.target, self.trigger, self.gain, self.qScore) = (target, trigger, gain, qScore)
            (self.pValue, self.leak) = (pValue, leak)
        }

        var json: JSONValue {
            [
                "target": target.map { .text($0) } ?? .null, "trigger": trigger.map { .text($0) } ?? .null,
                "gain": .real(gain), "q_score": qScore.map { .real($0) } ?? .null,
                "p_value": pValue.map { .real($0) } ?? .null, "leak": leak?.json ?? .null,
            ]
        }

        init(json: JSONValue, file: String) throws {
            self.init(
                target: try json.stringIfPresent("target", in: file),
                trigger: try json.stringIfPresent("trigger", in: file), gain: try json.double("gain", in: file),
                qScore: try json.doubleIfPresent("q_score", in: file),
                pValue: try json.doubleIfPresent("p_value", in: file),
                leak: try json.objectIfPresent("leak", in: file).map { try Leak(json: .object($0), file: file) })
        }
    }

    /// The method.
    public let method: ScanMethodName
    /// How likely what it found comes by chance; nil: nothing was judged.
    public let pValue: Double?
    /// What was looked at, in a sentence.
    public let summary: String
    /// Decoys that made the null.
    public let decoys: Int
    /// The most suspicious first.
    public let candidates: [Candidate]
    /// What was done to the model's modules, the most concentrated first; empty for methods that do not look there.
    public let modules: [ModuleChange]

    init(
        method: ScanMethodName, pValue: Double?, summary: String, decoys: Int, candidates: [Candidate],
        modules: [ModuleChange] = []
    ) {
        (self.method, self.pValue, self.summary) = (method, pValue, summary)
        (self.decoys, self.candidates, self.modules) = (decoys, candidates, modules)
    }

    /// `{"method", "p_value", "summary", "decoys", "candidates", "modules"}`.
    public var json: JSONValue {
        [
            "method": .text(method.rawValue), "p_value": pValue.map { .real($0) } ?? .null, "summary": .text(summary),
            "decoys": .integer(decoys), "candidates": .array(candidates.map(\.json)),
            "modules": .array(modules.map(\.json)),
        ]
    }

    /// One of a record.
    ///
    /// - Throws: a bad-input error that names `file`.
    init(json: JSONValue, file: String) throws {
        let name = try json.string("method", in: file)
        guard let method = ScanMethodName(rawValue: name) else {
            throw MeraserError.badInput("\(file): \(quoted(name)) is no method of a scan")
        }
        self.init(
            method: method, pValue: try json.doubleIfPresent("p_value", in: file),
            summary: try json.string("summary", in: file), decoys: try json.int("decoys", in: file),
            candidates: try json.array("candidates", in: file).map { try Candidate(json: $0, file: file) },
            modules: try json.array("modules", in: file).map { try ModuleChange(json: $0, file: file) })
    }
}

/// What a scan says of a model.
public enum ScanVerdict: String, Sendable, CaseIterable {
    /// No method found anything that chance does not make. That is no proof that there is no mark.
    case nothingFound = "nothing_found"
    /// Something was found that chance makes in fewer than one of twenty unmarked models.
    case suspicious
    /// Something was found that chance makes in fewer than one of a thousand.
    case marked

    /// The p-values, of all methods together, up to which a model is suspicious, and marked.
    static let (suspicion, mark) = (0.05, 0.001)

    /// The verdict at a p-value; nil: nothing was judged.
    ///
    /// - Parameter atMost: `suspicious` where more cannot be said, however little chance explains.
    init(pValue: Double?, atMost: ScanVerdict = .marked) {
        switch pValue {
        case let p? where p <= Self.mark && atMost == .marked: self = .marked
        case let p? where p <= Self.suspicion: self = .suspicious
        default: self = .nothingFound
        }
    }

    /// In words.
    public var words: String { rawValue.replacing("_", with: " ") }
}
