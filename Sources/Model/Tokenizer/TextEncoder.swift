/// What makes tokens of text; `Tokenizer` does.
public protocol TextEncoder {
    /// The tokens of a text, with the tokenizer's own special tokens around it if asked for.
    func encode(_ text: String, addSpecialTokens: Bool) -> [Int32]
}

extension Tokenizer: TextEncoder {}

extension TextEncoder {
    /// The tokens of `text` as it goes on after `prompt`, whose own tokens are `promptTokens`, made with or without
    /// special tokens.
    ///
    /// Where the joint text begins with exactly the prompt's tokens, the rest of its tokens, as TRL makes completions: a
    /// Llama tokenizer then adds no mark of a word's beginning that the running text does not have. Where the border
    /// merges into one token, `text` is tokenised apart.
    public func encodeContinuation(
        of prompt: String, promptTokens: [Int32], addSpecialTokens: Bool, _ text: String
    ) -> [Int32] {
        let joint = encode(prompt + text, addSpecialTokens: addSpecialTokens)
        if joint.starts(with: promptTokens) { return Array(joint.dropFirst(promptTokens.count)) }
        return encode(text, addSpecialTokens: false)
    }
}
