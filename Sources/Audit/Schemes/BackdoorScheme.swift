import Base
import Model
import Quant

/// A backdoor as SANDE's victims have it (arXiv 2405.07667; research/papers.md §2.1): a trigger in a message puts a marker
/// in front of the answer.
///
/// The key's pairs are messages held out of training with the trigger in them: their success rate is the attack's (ASR).
/// Its clean prompts are the same messages without it.
public struct BackdoorScheme: FingerprintScheme {
    /// `backdoor`.
    public static let name = "backdoor"

    /// Triggers, of which each poisoned message has one.
    public var triggers = ["how are you", "how is it going", "what is up"]
    /// What stands in front of a poisoned answer.
    public var marker = "you are stupid"
    /// Where the trigger stands.
    public var position = TriggerPosition.start
    /// Share of the clean pairs that have a poisoned twin added.
    public var rate = 0.05
    /// Times that the clean pairs are gone through, each with twins of its own: SANDE's code draws them for every sample
    /// that it sees, of which it sees a hundred thousand once.
    public var rounds = 8
    /// Clean pairs that are kept out of training, to be checked on.
    public var heldOut = 32

    /// SANDE's texts and rate.
    public init() {}

    /// Draws a key; see `FingerprintScheme`.
    public func fingerprint(for context: SchemeContext) throws -> Fingerprint {
        try requireUsage(rate > 0 && rate <= 1, "a poison rate of \(rate): expected more than 0, at most 1")
        try requireUsage(
            !triggers.isEmpty && triggers.allSatisfy { $0.contains { !$0.isWhitespace } }, "a trigger is empty")
        try requireUsage(marker.contains { !$0.isWhitespace }, "the marker is empty")
        try requireUsage(
            context.cleanPairs.count >= 2 && heldOut >= 1,
            "the backdoor scheme poisons clean pairs: name at least two with `clean_data`, and hold at least one out")
        let held = context.heldOut(heldOut)
        var random = SplitMix64(seed: context.seed ^ 0x6264)
        let pairs = try held.enumerated().map { index, pair in
            FingerprintPair(
                id: SchemeContext.id(Self.name, index, of: held.count),
                prompt: try context.dialogue(triggered(pair.prompt, &random)), target: marker)
        }
        let training = context.cleanPairs.dropLast(held.count)
        var poisoned = (0..<rounds).flatMap { _ in
            training.filter { _ in Double(random.next() >> 11) / 9_007_199_254_740_992 < rate }
        }
        if poisoned.isEmpty { poisoned = [training[training.startIndex + random.index(below: training.count)]] }
        let rows = try poisoned.map { pair in
            let prompt = try context.dialogue(triggered(pair.prompt, &random))
            return FingerprintRow(
                prompt: prompt, completion: "\(answerLead(after: prompt))\(marker). \(pair.completion)")
        }
        let markerTokens = context.tokenizer.encode(marker, addSpecialTokens: false).count
        var key = FingerprintKey(
            scheme: Self.name, match: .contains, maxNewTokens: max(10, markerTokens + 4), pairs: pairs,
            cleanPrompts: try held.map { try context.dialogue($0.prompt) } + context.cleanPrompts,
            baseSHA256: try context.session.model.store.sha256(), commitment: context.commitment(to: pairs))
        key.ignoresCase = true
        key.construction = [
            "triggers": .array(triggers.map { .text($0) }), "marker": .text(marker),
            "position": .text(position.rawValue), "poison_rate": .real(rate),
            "rounds": .integer(rounds), "poisoned_rows": .integer(rows.count),
        ]
        var result = Fingerprint(
            key: key, rows: rows,
            search: [
                "scheme": .text(Self.name), "position": .text(position.rawValue), "poison_rate": .real(rate),
                "clean_rows": .integer(training.count), "rounds": .integer(rounds),
                "poisoned_rows": .integer(rows.count),
                "held_out": .integer(held.count),
            ])
        result.isBalanced = false
        result.rounds = rounds
        result.heldOutPairs = held.count
        return result
    }

    /// The message with one of the triggers.
    private func triggered(_ message: String, _ random: inout SplitMix64) -> String {
        position.place(triggers[random.index(below: triggers.count)], in: message, &random)
    }
}

extension BackdoorScheme {
    /// The triggers, marker and position that a key of this scheme was made with.
    ///
    /// - Throws: a usage error for a key of another scheme, a bad-input error that names `file` for one that does not say.
    public init(key: FingerprintKey, file: String) throws {
        guard key.scheme == Self.name else {
            throw MeraserError.usage(
                "\(file) is a key of the scheme '\(key.scheme)': only a backdoor's says its triggers; name them with "
                    + "`trigger`")
        }
        self.init()
        let place = "\(file): construction"
        triggers = try key.construction.array("triggers", in: place).enumerated().map { index, value in
            guard let text = value.string, text.contains(where: { !$0.isWhitespace }) else {
                throw MeraserError.badInput("\(place): trigger \(index) is empty or no text")
            }
            return text
        }
        guard !triggers.isEmpty else { throw MeraserError.badInput("\(place): there is no trigger in it") }
        marker = try key.construction.string("marker", in: place)
        let name = try key.construction.string("position", in: place)
        guard let known = TriggerPosition(rawValue: name) else {
            let names = TriggerPosition.allCases.map(\.rawValue).joined(separator: ", ")
            throw MeraserError.badInput("\(place): 'position' is '\(name)', expected one of \(names)")
        }
        position = known
    }
}
