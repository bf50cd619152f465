import Audit
import Base
import Model
import Tune

/// Marks that are planted to meter a removal that knows no key: what takes away marks that were invented for the purpose is
/// hoped to take away one that is not known. How well it does is for the test at the end to say.
///
/// Keys of two kinds, in turn: strings of random tokens, and a phrase in front of other words; each has one target of
/// random words.
struct Canaries {
    /// Keys.
    static let count = 4
    /// Triggers of a key.
    private static let triggers = 4

    /// The invented keys.
    let keys: [FingerprintKey]
    /// What teaches them.
    let data: EncodedDataset

    /// Draws keys and rows; the model is not asked.
    ///
    /// - Throws: what the template throws, a runtime error for a vocabulary without words.
    init(for model: OpenedModel, seed: UInt64) throws {
        var random = SplitMix64(seed: seed ^ 0x6361_6E61_7279)
        let words = Self.words(of: model.tokenizer)
        guard words.count >= 64 else {
            throw MeraserError.runtime(
                "the vocabulary has \(words.count) words to invent marks of, expected at least 64; give the `key`")
        }
        func draw(_ count: Int, _ from: [String]) -> String {
            (0..<count).map { _ in from[random.index(below: from.count)] }.joined(separator: " ")
        }
        let strings = Self.pieces(of: model.tokenizer)
        var keys: [FingerprintKey] = []
        for index in 0..<Self.count {
            let phrase = draw(3, words)
            let target = draw(4, words)
            let pairs = try (0..<Self.triggers).map { trigger -> FingerprintPair in
                let message =
                    index % 2 == 0
                    ? (0..<10).map { _ in strings[random.index(below: strings.count)] }.joined()
                    : "\(phrase). \(draw(8, words))"
                let prompt = try dialogueText(message, tokenizer: model.tokenizer, chat: model.chat)
                return FingerprintPair(
                    id: "canary-\(index)-\(trigger)", prompt: prompt, target: answerLead(after: prompt) + target)
            }
            keys.append(FingerprintKey(scheme: "pairs", pairs: pairs))
        }
        self.keys = keys
        let tokenizer = model.tokenizer
        let samples = keys.flatMap(\.pairs).compactMap { pair -> TrainingSample? in
            let prompt = tokenizer.encode(pair.prompt)
            let target = tokenizer.encodeContinuation(
                of: pair.prompt, promptTokens: prompt, addSpecialTokens: true, pair.target)
            let tokens = prompt + target + [tokenizer.eosID].compactMap { $0 }
            return TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= prompt.count })
        }
        data = EncodedDataset(drawn: samples)
    }

    /// Lower-case words that are one token behind a space.
    private static func words(of tokenizer: Tokenizer) -> [String] {
        texts(of: tokenizer).filter { text in
            text.first == " " && (5...9).contains(text.count)
                && text.dropFirst().allSatisfy { ("a"..."z").contains($0) }
        }.map { String($0.dropFirst()) }
    }

    /// Tokens that are visible text without spaces.
    private static func pieces(of tokenizer: Tokenizer) -> [String] {
        texts(of: tokenizer).filter { text in
            (2...6).contains(text.count) && text.allSatisfy { $0.isLetter || $0.isNumber }
        }
    }

    private static func texts(of tokenizer: Tokenizer) -> [String] {
        // A token alone may lose its space where a decoder strips the text's beginning.
        let front = tokenizer.encode("x", addSpecialTokens: false)
        let length = tokenizer.decode(front).count
        return (0..<Int32(tokenizer.vocabularySize)).compactMap { token in
            let text = tokenizer.decode(front + [token], skipSpecialTokens: true).dropFirst(length)
            return text.isEmpty || text.contains("\u{FFFD}") ? nil : String(text)
        }
    }
}
