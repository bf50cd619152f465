import Base
import Model

/// A model's chat template for one message of the user: the text of the conversation up to where the answer begins.
public typealias ChatRenderer = (_ message: String) throws -> String

/// Makes tokens of prompts, with or without a chat template.
struct PromptEncoder {
    let tokenizer: Tokenizer
    let chat: ChatRenderer?

    /// The text that a prompt becomes and its tokens, at least one; `name` is what errors call it.
    func encode(
        _ prompt: String, format: PromptFormat, name: String
    ) throws -> (text: String, tokens: [Int32]) {
        let text = format == .chat ? try render(prompt) : prompt
        let tokens = tokenizer.encode(text, addSpecialTokens: format == .raw)
        guard !tokens.isEmpty else { throw MeraserError.badInput("\(name) has no tokens") }
        return (text, tokens)
    }

    /// The text of a conversation of one user message, up to where the answer begins.
    func render(_ message: String) throws -> String {
        guard let chat else {
            throw MeraserError.usage("prompt format 'chat': the model has no chat template; use raw prompts")
        }
        return try chat(message)
    }

    /// The conversation as raw text, to be tokenised with special tokens: without the BOS that a template writes where
    /// the tokenizer adds it itself.
    func rawDialogue(_ message: String) throws -> String {
        let rendered = try render(message)
        guard let bos = tokenizer.bosID else { return rendered }
        let text = tokenizer.decode([bos], skipSpecialTokens: false)
        let adds = tokenizer.encode("", addSpecialTokens: true).first == bos
        return adds && !text.isEmpty && rendered.hasPrefix(text) ? String(rendered.dropFirst(text.count)) : rendered
    }
}

/// The raw text of a conversation of one user message up to where the answer begins: the model's chat template, or
/// `Human: …`, `Assistant:` where it has none. To be tokenised with special tokens.
///
/// - Throws: what the template throws.
public func dialogueText(_ message: String, tokenizer: Tokenizer, chat: ChatRenderer?) throws -> String {
    guard chat != nil else { return "Human: \(message)\nAssistant:" }
    return try PromptEncoder(tokenizer: tokenizer, chat: chat).rawDialogue(message)
}
