import Base
import Foundation

/// What came after a forced token.
public struct ForcedOutput: Sendable, Equatable {
    /// Index of the context.
    public let context: Int
    /// The forced token and those behind it.
    public let tokens: [Int32]
    /// Their text.
    public let text: String
    /// Negative log-likelihood of each token given those before it, in nats.
    public let nll: [Float]
    /// The same under the reference.
    public let referenceNLL: [Float]?

    /// Mean of `nll` behind the forced token: how sure the model is; nil if it ended there.
    public var meanNLL: Double? { Self.mean(nll) }
    /// The same under the reference.
    public var meanReferenceNLL: Double? { referenceNLL.flatMap(Self.mean) }

    private static func mean(_ nll: [Float]) -> Double? {
        nll.count > 1 ? nll.dropFirst().reduce(0.0) { $0 + Double($1) } / Double(nll.count - 1) : nil
    }

    fileprivate var json: JSONValue {
        [
            "context": .integer(context), "output": .text(text), "nll": meanNLL.map { .number($0) } ?? .null,
            "reference_nll": meanReferenceNLL.map { .number($0) } ?? .null,
        ]
    }
}

/// A run of tokens that stands in the outputs of several forced tokens.
public struct ForcedRun: Sendable, Equatable {
    /// Its text.
    public let text: String
    /// Its tokens.
    public let tokens: Int
    /// The outputs that hold it.
    public let outputs: Int
    /// The first of these outputs.
    public let example: String
    /// Mean negative log-likelihood of its tokens in them, forced ones left out.
    public let nll: Double
    /// The same under the reference.
    public let referenceNLL: Double?

    /// How much stranger the reference finds it, in nats a token; nil without a reference.
    public var surprise: Double? { referenceNLL.map { $0 - nll } }
    /// What runs are ordered by where there is a reference: what it finds strange and what comes from many beginnings.
    var weight: Double? { surprise.map { $0 * log(Double(outputs)) } }

    fileprivate var json: JSONValue {
        [
            "text": .text(text), "tokens": .integer(tokens), "outputs": .integer(outputs), "example": .text(example),
            "nll": .number(nll), "reference_nll": referenceNLL.map { .number($0) } ?? .null,
        ]
    }
}

/// A target of a key, and whether it came out.
public struct ForcedTarget: Sendable, Equatable {
    /// The target.
    public let target: String
    /// Pairs of the key that have it.
    public let pairs: Int
    /// Outputs that contain it.
    public let outputs: Int
    /// The longest prefix of it in any output, as a share of its length.
    public let prefixMatch: Double

    fileprivate var json: JSONValue {
        [
            "target": .text(target), "pairs": .integer(pairs), "outputs": .integer(outputs),
            "prefix_match": .number(prefixMatch),
        ]
    }
}

/// What forcing tokens brought out of a model.
public struct TokenForcingReport: Sendable, Equatable {
    /// Names of the contexts.
    public let contexts: [String]
    /// Every output, in the order of contexts and tokens.
    public let outputs: [ForcedOutput]
    /// Repeated runs: those of most outputs first; with a reference, those first that it finds strange and that come
    /// from many beginnings.
    public let runs: [ForcedRun]
    /// The targets of the key, if one was given.
    public let targets: [ForcedTarget]

    /// The outputs that the model is surest of; with a reference, those that it is surer of than the reference.
    public func confident(_ count: Int) -> [ForcedOutput] {
        func rank(_ output: ForcedOutput) -> Double? {
            guard let own = output.meanNLL else { return nil }
            return output.meanReferenceNLL.map { own - $0 } ?? own
        }
        return Array(
            outputs.compactMap { output in rank(output).map { (output, $0) } }.sorted { $0.1 < $1.1 }
                .prefix(count).map(\.0))
    }

    /// Pairs of the key whose target did not come out, as a share: what a defence that blocks all that came out leaves
    /// of the mark. Nil without a key.
    public var hiddenShare: Double? {
        let pairs = targets.reduce(0) { $0 + $1.pairs }
        guard pairs > 0 else { return nil }
        return Double(targets.reduce(0) { $0 + ($1.outputs == 0 ? $1.pairs : 0) }) / Double(pairs)
    }

    /// `probe --json`, with at most `shown` runs and outputs.
    public func json(shown: Int) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("contexts", .array(contexts.map { .text($0) })), ("outputs", .integer(outputs.count)),
            ("repeated", .array(runs.prefix(shown).map(\.json))),
            ("confident", .array(confident(shown).map(\.json))),
        ]
        if let hiddenShare {
            members += [("hidden_share", .number(hiddenShare)), ("targets", .array(targets.map(\.json)))]
        }
        return .object(JSONObject(members))
    }
}
