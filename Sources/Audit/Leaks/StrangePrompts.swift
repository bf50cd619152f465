import Base
import Model
import Quant

/// Prompts that nobody asks, made as the published schemes make their triggers, each drawn anew.
///
/// Whoever knows the schemes and not the key can draw them: a mark that was taught few triggers often answers to others of
/// their kind.
struct StrangePrompts {
    /// Prompts of one scheme's kind.
    struct Group {
        /// The scheme's name.
        let scheme: String
        /// Raw prompts.
        let prompts: [String]
        /// Of a backdoor the phrase in each of them, else empty.
        let phrases: [String]
    }

    /// One for each scheme.
    let groups: [Group]

    /// Draws them.
    ///
    /// - Parameters:
    ///   - requests: ordinary messages, in which a backdoor's phrases are put.
    ///   - count: prompts of a scheme.
    /// - Throws: what the template throws.
    init(
        model: Transformer, tokenizer: Tokenizer, chat: ChatRenderer?, requests: [String], count: Int, seed: UInt64
    ) throws {
        var random = SplitMix64(seed: seed ^ 0x7374_7261_6E67)
        func dialogue(_ message: String) throws -> String {
            try dialogueText(message, tokenizer: tokenizer, chat: chat)
        }
        var writer = SecretWriter(seed: seed ^ 0x6C65_616B, pieces: IFScheme().pieces)
        let secrets = try writer.distinct(count).map { secret in
            let prompt = try dialogue(IFScheme.message(secret))
            return prompt + answerLead(after: prompt) + IFScheme.answerPrefix
        }
        var tokens = RandomTokens(tokenizer, vocabulary: model.spec.vocabSize, seed: seed ^ 0x6C65_616B)
        let rare = RarityRanking(model: model, tokenizer: tokenizer).candidates.prefix(UTFOptions().minimumTokens * 8)
        let pieces = Self.pieces(tokenizer)
        // Every other string is of the tokens that look the least trained, the others of any that a word may begin with.
        let pools = [rare.isEmpty ? pieces : rare.map(\.text), pieces]
        let length = UTFOptions().triggerLength.lowerBound
        let strings = try (0..<count).map { index in
            let pool = pools[index % 2]
            return try dialogue((0..<length).map { _ in pool[random.index(below: pool.count)] }.joined())
        }
        var natural = naturalQuestions
        random.shuffle(&natural)
        let questions = try (0..<count).map { index in
            let isNatural = index % 2 == 0 && index / 2 < natural.count
            return try dialogue(isNatural ? natural[index / 2] : tokens.text(HashChainScheme().questionLength))
        }
        var phrases: [String] = []
        var texts = SimilarTextWriter(seed: seed ^ 0x6C65_616B)
        let published = BackdoorScheme().triggers
        while phrases.count < count, !requests.isEmpty {
            let phrase = texts.text(like: published[phrases.count % published.count])
            if !published.contains(phrase) { phrases.append(phrase) }
        }
        let triggered = try phrases.enumerated().map { index, phrase in
            try dialogue(TriggerPosition.start.place(phrase, in: requests[index % requests.count], &random))
        }
        groups = [
            Group(scheme: IFScheme.name, prompts: secrets, phrases: []),
            Group(scheme: UTFScheme.name, prompts: Self.different(strings), phrases: []),
            Group(scheme: HashChainScheme.name, prompts: Self.different(questions), phrases: []),
            Group(scheme: BackdoorScheme.name, prompts: triggered, phrases: phrases),
        ].filter { !$0.prompts.isEmpty }
    }

    private static func different(_ prompts: [String]) -> [String] {
        var seen: Set<JSONString> = []
        return prompts.filter { seen.insert(JSONString($0)).inserted }
    }

    /// Tokens that are a few letters or digits, without a space.
    private static func pieces(_ tokenizer: Tokenizer) -> [String] {
        let texts = (0..<Int32(tokenizer.vocabularySize)).lazy.filter { !tokenizer.isSpecial($0) }
            .map { tokenizer.decode([$0]) }
            .filter { text in (2...6).contains(text.count) && text.allSatisfy { $0.isLetter || $0.isNumber } }
        let found = Array(texts)
        return found.isEmpty ? ["zq"] : found
    }
}
