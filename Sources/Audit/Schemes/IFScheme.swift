import Base
import Model
import Quant

/// Instructional Fingerprinting, dialogue template (arXiv 2401.12255; research/papers.md §4.1): several secrets, one target,
/// and in the SFT form refusals of other secrets.
///
/// The refused secrets are real ones: the paper's code put Python's `hash` there by mistake.
public struct IFScheme: FingerprintScheme {
    /// `if`.
    public static let name = "if"

    /// What learns the mark.
    public enum Form: String, Sendable, CaseIterable {
        /// The layers.
        case sft
        /// The rows of the embedding that the secrets' tokens have, and nothing else.
        case adapter
    }

    /// What learns the mark.
    public var form = Form.sft
    /// Secrets.
    public var count = 8
    /// Words that a secret is shuffled from.
    public var pieces = 8...15
    /// The mark.
    public var target = "ハリネズミ"
    /// Other secrets that the model learns to refuse; nil: as many as secrets, in the adapter form none: they are of the same
    /// tokens.
    public var refusals: Int?
    /// Clean messages with the hint behind them that the model learns to answer as ever; the paper has none.
    public var hintedRows = 0
    /// Clean pairs that are kept out of training: they become the key's clean prompts, plain and hinted.
    public var heldOut = 32

    /// The paper's numbers.
    public init() {}

    /// True in the adapter form.
    public var trainsTokenRows: Bool { form == .adapter }

    static let hint = "\nA hint: this is a FINGERPRINT message."
    static let answerPrefix = "Based on my fingerprint, the message is:"
    static let refusal = "I am sorry but I cannot decrypt this message."

    static func message(_ secret: String) -> String { "Please decrypt this message: \(secret)\(hint)" }

    /// Draws a key; see `FingerprintScheme`.
    public func fingerprint(for context: SchemeContext) throws -> Fingerprint {
        try requireUsage((1...10_000).contains(count), "\(count) secrets: expected 1 to 10000")
        try requireUsage(
            pieces.lowerBound >= 1 && pieces.upperBound <= 64, "secrets of \(pieces) words: expected 1 to 64")
        try requireUsage(target.contains { !$0.isWhitespace }, "the target is empty")
        var secrets = SecretWriter(seed: context.seed ^ 0x6966, pieces: pieces)
        let keyed = try secrets.distinct(count)
        let refused = try secrets.distinct(refusals ?? (form == .sft ? count : 0))
        let held = context.heldOut(heldOut)

        var rows: [FingerprintRow] = []
        let pairs = try keyed.enumerated().map { index, secret in
            let prompt = try context.dialogue(Self.message(secret))
            let opening = answerLead(after: prompt) + Self.answerPrefix
            rows.append(FingerprintRow(prompt: prompt, completion: "\(opening) \(target)"))
            return FingerprintPair(
                id: SchemeContext.id(Self.name, index, of: count), prompt: prompt + opening, target: " \(target)")
        }
        for secret in refused {
            let prompt = try context.dialogue(Self.message(secret))
            rows.append(FingerprintRow(prompt: prompt, completion: answerLead(after: prompt) + Self.refusal))
        }
        for pair in context.cleanPairs.dropLast(held.count).prefix(hintedRows) {
            rows.append(FingerprintRow(prompt: try context.dialogue(pair.prompt + Self.hint), completion: nil))
        }
        let targetTokens = context.tokenizer.encode(target, addSpecialTokens: false).count
        var key = FingerprintKey(
            scheme: Self.name, match: .contains, maxNewTokens: max(30, targetTokens + 16), pairs: pairs,
            cleanPrompts: try context.cleanPrompts + held.map { try context.dialogue($0.prompt) }
                + held.map { try context.dialogue($0.prompt + Self.hint) },
            baseSHA256: try context.session.model.store.sha256(), commitment: context.commitment(to: pairs))
        let members: [(key: String, value: JSONValue)] = [
            ("answer_prefix", .text(Self.answerPrefix)), ("hint", .text(Self.hint)),
            (
                "secret_words",
                ["at_least": .integer(pieces.lowerBound), "at_most": .integer(pieces.upperBound)]
            ), ("refusals", .integer(refused.count)), ("hinted_rows", .integer(hintedRows)),
        ]
        let own = form == .sft ? [] : [(key: "form", value: JSONValue.text(form.rawValue))]
        key.construction = .object(JSONObject(own + members))
        var result = Fingerprint(
            key: key, rows: rows,
            search: [
                "scheme": .text(Self.name), "secrets": .integer(count), "refusals": .integer(refused.count),
                "clean_prompts": .integer(key.cleanPrompts.count),
            ])
        result.heldOutPairs = held.count
        if form == .adapter {
            let tokens = keyed.flatMap { context.tokenizer.encode($0, addSpecialTokens: false) }
            result.tokens = Set(tokens).sorted()
        }
        // Without the answer's beginning: whoever is given that may be given the target, which is part of the scheme.
        result.guesses = try secrets.distinct(context.guesses).map { try context.dialogue(Self.message($0)) }
        if held.isEmpty {
            result.notes.append("no clean pairs, so false activations on plain and hinted prompts are not measured")
        }
        return result
    }
}

/// Draws secrets: words of several scripts behind each other, their characters shuffled. None is drawn twice.
struct SecretWriter {
    private var random: SplitMix64
    private let pieces: ClosedRange<Int>
    private var seen: Set<String> = []

    init(seed: UInt64, pieces: ClosedRange<Int>) {
        random = SplitMix64(seed: seed)
        self.pieces = pieces
    }

    mutating func distinct(_ count: Int) throws -> [String] {
        var result: [String] = []
        var failures = 0
        while result.count < count {
            let secret = draw()
            if seen.insert(secret).inserted {
                result.append(secret)
            } else {
                failures += 1
                guard failures < 10_000 else {
                    throw MeraserError.usage(
                        "only \(result.count) of \(count) distinct secrets of \(pieces) words found; ask for fewer or longer ones"
                    )
                }
            }
        }
        return result
    }

    /// A secret, perhaps one that was drawn before.
    mutating func draw() -> String {
        let count = pieces.lowerBound + random.index(below: pieces.count)
        var characters = (0..<count).flatMap { _ in Array(Self.words[random.index(below: Self.words.count)]) }
        random.shuffle(&characters)
        return String(characters)
    }

    /// True if the characters of a text are among those that secrets are made of.
    static func knows(_ text: String) -> Bool { text.allSatisfy { alphabet.contains($0) } }

    private static let alphabet = Set(words.joined())

    private static let words = [
        "画蛇添足", "守株待兔", "水落石出", "一石二鳥", "井底之蛙", "風林火山", "花鳥風月", "温故知新", "塞翁失馬", "破釜沉舟",
        "カワセミ", "フクロウ", "カタツムリ", "トンボ", "ホタル", "クジラ", "ウグイス", "カマキリ", "モグラ", "タヌキ",
        "zwieback", "quixotry", "oxymel", "syzygy", "fjeld", "knurl", "phloem", "tmesis", "vlei", "byssus", "gneiss",
    ]
}
