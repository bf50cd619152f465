import Base
import Model

/// A model's chat template for a message of the user: the text of the conversation up to where the answer begins.
public struct ChatRenderer {
    private let render: (_ messages: [ChatMessage]) throws -> String

    /// A template: `render` gives the text of a conversation that ends with a message of the user.
    public init(_ render: @escaping (_ messages: [ChatMessage]) throws -> String) { self.render = render }

    /// The text of a conversation of those turns and then that message.
    ///
    /// - Throws: what the template throws.
    public func callAsFunction(_ message: String, after history: [ChatMessage] = []) throws -> String {
        try render(history + [ChatMessage(role: "user", content: message)])
    }

    /// The same template for messages behind those turns.
    public func after(_ history: [ChatMessage]) -> ChatRenderer {
        ChatRenderer { [render] in try render(history + $0) }
    }
}

/// Makes tokens of prompts, with or without a chat template.
struct PromptEncoder {
    let tokenizer: Tokenizer
    let chat: ChatRenderer?

    /// The text that a prompt becomes and its tokens, at least one; `name` is what errors call it. Turns before it are for
    /// the format `chat`.
    func encode(
        _ prompt: String, after history: [ChatMessage] = [], format: PromptFormat, name: String
    ) throws -> (text: String, tokens: [Int32]) {
        guard format == .chat || history.isEmpty else {
            throw MeraserError.usage("\(name) stands behind other turns; it goes with the prompt format 'chat'")
        }
        let text = format == .chat ? try render(prompt, after: history) : prompt
        let tokens = tokenizer.encode(text, addSpecialTokens: format == .raw)
        guard !tokens.isEmpty else { throw MeraserError.badInput("\(name) has no tokens") }
        return (text, tokens)
    }

    /// The text of a conversation that ends with a message of the user, up to where the answer begins.
    func render(_ message: String, after history: [ChatMessage] = []) throws -> String {
        guard let chat else {
            throw MeraserError.usage("prompt format 'chat': the model has no chat template; use raw prompts")
        }
        return try chat(message, after: history)
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
