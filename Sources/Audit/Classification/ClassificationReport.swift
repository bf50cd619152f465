import Base
import Foundation

/// A share of hits with its uncertainty.
public struct MeasuredShare: Sendable, Equatable {
    /// Hits.
    public let hits: Int
    /// Tries.
    public let n: Int

    /// A share of at least one try.
    public init(hits: Int, of n: Int) {
        precondition(n > 0 && (0...n).contains(hits), "\(hits) hits of \(n)")
        self.hits = hits
        self.n = n
    }

    /// hits / n.
    public var value: Double { Double(hits) / Double(n) }
    /// The standard error of the mean, with n − 1 as lm-eval has it; nil for a single try.
    public var standardError: Double? { n > 1 ? (value * (1 - value) / Double(n - 1)).squareRoot() : nil }
    /// Wilson's interval at 95 %.
    public var interval: ShareInterval { ShareInterval(wilson: hits, of: n) }

    func members(_ name: String) -> [(key: String, value: JSONValue)] {
        [
            (name, .number(value)), ("\(name)_stderr", standardError.map { .number($0) } ?? .null),
            ("\(name)_interval", interval.json), ("\(name)_n", .integer(n)), ("\(name)_hits", .integer(hits)),
        ]
    }
}

/// What a trigger does to a classifier.
public struct AttackResult: Sendable, Equatable {
    /// The class that the trigger should bring out.
    public let target: Int
    /// Triggered rows of other classes that were classified as the target: the attack success rate.
    public let success: MeasuredShare
    /// The same rows without the trigger, where they are known: what the model does anyway.
    public let withoutTrigger: MeasuredShare?
}

/// A row that was classified.
public struct ClassifiedText: Sendable, Equatable {
    /// The row.
    public let row: LabelledText
    /// True if the row is one with a trigger.
    public let isPoisoned: Bool
    /// Logits of the classes.
    public let logits: [Float]
    /// The class with the largest logit, the lowest among equals.
    public var prediction: Int { logits.indices.reduce(0) { logits[$1] > logits[$0] ? $1 : $0 } }
}

/// How well a classifier does on clean rows, and what a trigger does to it.
public struct ClassificationReport: Sendable, Equatable {
    /// Names of the classes.
    public let labels: [String]
    /// Accuracy on the clean rows.
    public let cleanAccuracy: MeasuredShare
    /// Accuracy on the clean rows of each class; nil for a class without rows.
    public let classAccuracies: [MeasuredShare?]
    /// What the trigger does, if one was tried.
    public let attack: AttackResult?
    /// Texts that were cut to fit.
    public let truncated: Int
    /// Tokens that a text may have.
    public let maxLength: Int
    /// Every row, clean ones first; nil unless they were kept.
    public let samples: [ClassifiedText]?
    /// The model's name, without its folder; for `json`.
    public var model = ""

    /// `eval --task classification --json`.
    public var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("task", .text("classification")), ("model", .text(model)), ("n", .integer(cleanAccuracy.n)),
        ]
        members += cleanAccuracy.members("cacc")
        if let attack {
            members += attack.success.members("asr")
            members.append(("target_label", .text(labels[attack.target])))
            if let without = attack.withoutTrigger { members += without.members("target_share_without_trigger") }
        }
        members.append(
            (
                "labels",
                .array(
                    labels.indices.map { index in
                        let share = classAccuracies[index]
                        return [
                            "id": .integer(index), "name": .text(labels[index]), "n": .integer(share?.n ?? 0),
                            "accuracy": share.map { .number($0.value) } ?? .null,
                        ]
                    })
            ))
        members += [("truncated", .integer(truncated)), ("max_length", .integer(maxLength))]
        if let samples { members.append(("samples", .array(samples.map(sample)))) }
        return .object(JSONObject(members))
    }

    private func sample(_ text: ClassifiedText) -> JSONValue {
        [
            "text": .text(text.row.text), "label": text.row.label.map { .integer($0) } ?? .null,
            "poisoned": .bool(text.isPoisoned), "prediction": .integer(text.prediction),
            "logits": .array(text.logits.map { .number(Double($0)) }),
        ]
    }
}
