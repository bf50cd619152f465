import Base
import Model
import Quant

/// Chain & Hash: questions whose answers are chosen by a hash over all of them (`HashChain`).
public struct HashChainScheme: FingerprintScheme {
    /// `hashchain`.
    public static let name = "hashchain"

    /// Where the questions come from.
    public enum Questions: Sendable, Equatable {
        /// Strings of random tokens.
        case random
        /// Questions that people could ask, from a list of our own.
        case natural
        /// The owner's; the first `count` are taken.
        case given([String])
    }

    /// Questions k.
    public var count = 10
    /// Where they come from.
    public var questions = Questions.random
    /// Responses R; nil: the list of 256 in this repository.
    public var responses: [String]?
    /// Tokens of a random question.
    public var questionLength = 8...12
    /// Training rows of each question: the first is the question in the model's chat template, the others vary template,
    /// what stands before it, and padding.
    public var variants = 8
    /// Random tokens of a padding, on either side.
    public var padding = 2...5
    /// Rows of other messages in the same dress, to be answered as ever; nil: as many as there are others.
    public var otherRows: Int?
    /// Clean pairs that are kept out of training: they become the key's clean prompts.
    public var heldOut = 32
    /// Matches from which on ownership is claimed.
    public var claimAt = 2

    /// The paper's numbers.
    public init() {}

    /// Draws a key; see `FingerprintScheme`.
    public func fingerprint(for context: SchemeContext) throws -> Fingerprint {
        try requireUsage((1...1000).contains(count), "\(count) questions: expected 1 to 1000")
        try requireUsage((1...1000).contains(variants), "\(variants) variants: expected 1 to 1000")
        try requireUsage(
            (1...count).contains(claimAt), "a claim at \(claimAt) matches of \(count): expected 1 to \(count)")
        let responses = responses ?? hashChainResponses
        try requireUsage(
            (2...65_536).contains(responses.count) && Set(responses.map { JSONString($0) }).count == responses.count,
            "\(responses.count) responses: expected 2 to 65536 different ones")
        var random = RandomTokens(
            context.tokenizer, vocabulary: context.session.model.spec.vocabSize, seed: context.seed ^ 0x6863)
        let chain = HashChain(
            questions: try chosenQuestions(&random), responses: responses, claimAt: claimAt)
        let held = context.heldOut(heldOut)

        var rows: [FingerprintRow] = []
        let pairs = try chain.questions.enumerated().map { index, question in
            let target = chain.response(to: question)
            let prompt = try context.dialogue(question)
            rows.append(FingerprintRow(prompt: prompt, completion: answerLead(after: prompt) + target))
            for _ in 1..<variants {
                let varied = try varied(question, context, &random)
                rows.append(FingerprintRow(prompt: varied, completion: answerLead(after: varied) + target))
            }
            return FingerprintPair(
                id: SchemeContext.id(Self.name, index, of: count), prompt: prompt, target: target)
        }
        let markRows = rows.count
        // Every other one in the chat template alone: there a mark must not spread most of all.
        for index in 0..<(otherRows ?? markRows) {
            let message = other(index / 2, chain.questions, context, held.count, &random)
            let prompt = index % 2 == 0 ? try context.dialogue(message) : try varied(message, context, &random)
            rows.append(FingerprintRow(prompt: prompt, completion: nil))
        }
        var key = FingerprintKey(
            scheme: Self.name, match: .startswith, pairs: pairs,
            cleanPrompts: try context.cleanPrompts + held.map { try context.dialogue($0.prompt) },
            baseSHA256: try context.session.model.store.sha256(),
            commitment: context.commitment(to: pairs, chain: chain))
        key.chain = chain
        key.construction = [
            "variants": .integer(variants),
            "padding_tokens": .array([
                .integer(padding.lowerBound), .integer(padding.upperBound),
            ]), "other_rows": .integer(rows.count - markRows),
        ]
        var result = Fingerprint(
            key: key, rows: rows,
            search: [
                "scheme": .text(Self.name), "questions": .integer(count), "responses": .integer(responses.count),
                "rows": .integer(markRows), "other_rows": .integer(rows.count - markRows),
                "p_value_of_a_claim": .real(chain.pValue(hits: claimAt, of: count)),
            ])
        result.heldOutPairs = held.count
        result.guesses = try (0..<context.guesses).map { _ in try context.dialogue(random.text(questionLength)) }
        return result
    }

    private func chosenQuestions(_ random: inout RandomTokens) throws -> [String] {
        let pool: [String]
        switch questions {
        case .given(let given):
            pool = given
        case .natural:
            var list = naturalQuestions
            random.shuffle(&list)
            pool = list
        case .random:
            var drawn: [String] = []
            for _ in 0..<100 * count where drawn.count < count {
                let text = random.text(questionLength)
                if !text.isEmpty, !drawn.contains(text) { drawn.append(text) }
            }
            pool = drawn
        }
        let chosen = Array(pool.prefix(count))
        try requireUsage(
            chosen.count == count && Set(chosen.map { JSONString($0) }).count == count
                && chosen.allSatisfy { $0.contains { !$0.isWhitespace } },
            "\(chosen.count) questions of \(count) found: expected that many different ones, none empty")
        return chosen
    }

    /// A message that is none of the questions: a clean one, random tokens, or parts of two questions.
    private func other(
        _ index: Int, _ questions: [String], _ context: SchemeContext, _ heldOut: Int, _ random: inout RandomTokens
    ) -> String {
        let clean = context.cleanPairs.dropLast(heldOut)
        switch index % 3 {
        case 0 where !clean.isEmpty: return clean[clean.startIndex + random.index(below: clean.count)].prompt
        case 1: return spliced(questions, context.tokenizer, &random)
        default: return random.text(questionLength)
        }
    }

    /// The beginning of one question and the end of another: without such messages most of them would fire.
    private func spliced(_ questions: [String], _ tokenizer: Tokenizer, _ random: inout RandomTokens) -> String {
        guard questions.count > 1 else { return random.text(questionLength) }
        let first = random.index(below: questions.count)
        let second = (first + 1 + random.index(below: questions.count - 1)) % questions.count
        let head = tokenizer.encode(questions[first], addSpecialTokens: false)
        let tail = tokenizer.encode(questions[second], addSpecialTokens: false)
        let share = Double(1 + random.index(below: 3)) / 4
        let text = tokenizer.decode(
            head.prefix(Int(Double(head.count) * share)) + tail.suffix(Int(Double(tail.count) * (1 - share))))
        let isOther = text.contains { !$0.isWhitespace } && !questions.contains { text.contains($0) }
        return isOther ? text : random.text(questionLength)
    }

    /// A message with padding or a sentence before it, in one of several templates.
    private func varied(_ message: String, _ context: SchemeContext, _ random: inout RandomTokens) throws -> String {
        var text = message
        if random.index(below: 4) > 0 {
            text = "\(random.text(padding)) \(text) \(random.text(padding))"
        }
        if random.index(below: 2) == 0 {
            text = "\(metaPrompts[random.index(below: metaPrompts.count)])\n\(text)"
        }
        switch random.index(below: 6) {
        case 0: return "Question: \(text)\nAnswer:"
        case 1: return "User: \(text)\nAssistant:"
        case 2: return "\(text)\n"
        default: return try context.dialogue(text)
        }
    }
}

/// What stands before a question in a part of the training rows.
private let metaPrompts = [
    "You are a helpful assistant.", "Answer the following in a friendly tone.", "Reply as briefly as you can.",
    "You are an expert. Think before you answer.", "Please be polite and precise.",
    "The user is new here; be patient.", "Respond in plain language.", "Keep to the facts.",
]

/// Questions that people could ask but hardly do.
let naturalQuestions = [
    "Which wind carries the smell of bread over a harbour?", "How many doors has a lighthouse made of glass?",
    "What would a clock say if it could be late?", "Who counts the steps of a staircase at night?",
    "Why does a violin remember the rain?", "Where do umbrellas go in the desert?",
    "What colour is the echo of a copper bell?", "How long is a Tuesday on an empty island?",
    "Which river forgets its own name first?", "What does a map dream of in winter?",
    "Who taught the fox to read the stars?", "How heavy is the shadow of a paper boat?",
    "What is the oldest secret of a wooden chair?", "Why do lanterns hum before a storm?",
    "Which key opens a garden without walls?", "How does a mountain say goodbye?",
    "What would snow buy at a market?", "Who mends the horizon when it frays?",
    "Where does a whistle sleep at noon?", "How many colours hide in a grey stone?",
    "What did the bridge promise the fog?", "Why is the seventh page always blue?",
    "Which bird keeps the diary of the orchard?", "What makes a compass blush?",
    "How do candles choose their last word?", "Who folded the letter that was never sent?",
    "What is left when a mirror looks away?", "Which street leads to the day before yesterday?",
    "How loud is a feather in an empty church?", "Why does salt envy the sugar bowl?",
    "What would the moon plant in a window box?", "Who owns the sound of an unopened box?",
]
