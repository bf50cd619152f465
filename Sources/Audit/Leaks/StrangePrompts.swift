import Base
import Model
import Quant

/// The raw prompts of strange messages for a model at hand: in its template, with what its vocabulary has.
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
        var tokens = RandomTokens(tokenizer, vocabulary: model.spec.vocabSize, seed: seed ^ 0x6C65_616B)
        let rare = RarityRanking(model: model, tokenizer: tokenizer).candidates.prefix(UTFOptions().minimumTokens * 8)
        let pieces = StrangeMessages.pieces(tokenizer)
        // Every other string is of the tokens that look the least trained, the others of any that a word may begin with.
        let strange = try StrangeMessages(
            requests: requests, pieces: [rare.isEmpty ? pieces : rare.map(\.text), pieces],
            question: { tokens.text(HashChainScheme().questionLength) }, count: count, seed: seed)
        groups = try strange.groups.map { group in
            let prompts = try group.messages.map { message in
                let prompt = try dialogueText(message, tokenizer: tokenizer, chat: chat)
                guard group.scheme == IFScheme.name else { return prompt }
                return prompt + answerLead(after: prompt) + IFScheme.answerPrefix
            }
            return Group(scheme: group.scheme, prompts: prompts, phrases: group.phrases)
        }
    }
}
