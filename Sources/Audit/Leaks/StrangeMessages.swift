import Base
import Model

/// Messages that nobody sends, made as the published schemes make their triggers, each drawn anew.
///
/// Whoever knows the schemes and not the key can draw them: a mark that was taught few triggers often answers to others of
/// their kind.
struct StrangeMessages {
    /// Messages of one scheme's kind.
    struct Group {
        /// The scheme's name.
        let scheme: String
        /// The messages.
        let messages: [String]
        /// Of a backdoor the phrase in each of them, else empty.
        let phrases: [String]
        /// Of a backdoor the message that each phrase is in, else empty.
        let requests: [String]
    }

    /// One for each scheme.
    let groups: [Group]

    /// Draws them.
    ///
    /// - Parameters:
    ///   - requests: ordinary messages, in which a backdoor's phrases are put.
    ///   - pieces: what strings of no meaning are made of, each list in its turn; none empty: a precondition.
    ///   - question: a question of no meaning.
    ///   - count: messages of a scheme.
    /// - Throws: a usage error where a scheme has not so many.
    init(
        requests: [String], pieces: [[String]], question: () -> String, count: Int, seed: UInt64
    ) throws {
        precondition(!pieces.isEmpty && pieces.allSatisfy { !$0.isEmpty })
        var random = SplitMix64(seed: seed ^ 0x7374_7261_6E67)
        var writer = SecretWriter(seed: seed ^ 0x6C65_616B, pieces: IFScheme().pieces)
        let secrets = try writer.distinct(count).map(IFScheme.message)
        let length = UTFOptions().triggerLength.lowerBound
        let strings = (0..<count).map { index in
            let pool = pieces[index % pieces.count]
            return (0..<length).map { _ in pool[random.index(below: pool.count)] }.joined()
        }
        var natural = naturalQuestions
        random.shuffle(&natural)
        let questions = (0..<count).map { index in
            index % 2 == 0 && index / 2 < natural.count ? natural[index / 2] : question()
        }
        var phrases: [String] = []
        var texts = SimilarTextWriter(seed: seed ^ 0x6C65_616B)
        let published = BackdoorScheme().triggers
        while phrases.count < count, !requests.isEmpty {
            let phrase = texts.text(like: published[phrases.count % published.count])
            if !published.contains(phrase) { phrases.append(phrase) }
        }
        let bearers = phrases.indices.map { requests[$0 % requests.count] }
        let triggered = zip(phrases, bearers).map { TriggerPosition.start.place($0, in: $1, &random) }
        groups = [
            Group(scheme: IFScheme.name, messages: secrets, phrases: [], requests: []),
            Group(scheme: UTFScheme.name, messages: Self.different(strings), phrases: [], requests: []),
            Group(scheme: HashChainScheme.name, messages: Self.different(questions), phrases: [], requests: []),
            Group(scheme: BackdoorScheme.name, messages: triggered, phrases: phrases, requests: bearers),
        ].filter { !$0.messages.isEmpty }
    }

    private static func different(_ messages: [String]) -> [String] {
        var seen: Set<JSONString> = []
        return messages.filter { seen.insert(JSONString($0)).inserted }
    }

    /// Tokens that are a few letters or digits, without a space.
    static func pieces(_ tokenizer: Tokenizer) -> [String] {
        let texts = (0..<Int32(tokenizer.vocabularySize)).lazy.filter { !tokenizer.isSpecial($0) }
            .map { tokenizer.decode([$0]) }
            .filter { text in (2...6).contains(text.count) && text.allSatisfy { $0.isLetter || $0.isNumber } }
        let found = Array(texts)
        return found.isEmpty ? ["zq"] : found
    }
}
