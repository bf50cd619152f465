import Audit
import Base
import Kernels
import Model
import Quant

/// A model as commands need it that read texts: with adapters, tokenizer and chat template. Use from one thread at a time.
public final class OpenedModel {
    /// The model with its adapters.
    public let adapted: AdaptedModel
    /// Its tokenizer.
    public let tokenizer: Tokenizer
    /// Its chat template, if it has one.
    public let chatTemplate: ChatTemplate?

    /// The base model.
    public var transformer: Transformer { adapted.transformer }
    /// The adapters, lowest first.
    public var adapters: [LoRAAdapter] { adapted.adapters }
    /// Where they were read from.
    public var adapterPaths: [String] { adapted.adapterPaths }
    /// A line for each adapter that is used where it does not belong; empty unless transfer was allowed.
    public var transferred: [String] { adapted.transferred }
    /// What the user should know about the model and its adapters.
    public var warnings: [String] { adapted.warnings }

    /// Opens a model and checks that its adapters belong to it; see `AdaptedModel`.
    ///
    /// - Throws: what that throws, and what reading the tokenizer and the chat template throws.
    public convenience init(
        path: String, adapterPaths: [String] = [], kernels: KernelContext, compute: Compute? = nil,
        verifying: Bool = false, transfer: Bool = false
    ) throws {
        try self.init(
            AdaptedModel(
                path: path, adapterPaths: adapterPaths, kernels: kernels, compute: compute, verifying: verifying,
                transfer: transfer))
    }

    /// How its weights are stored.
    public var types: StoredTypes { get throws { try StoredTypes(transformer.store) } }

    /// Reads what a model needs beside its weights.
    ///
    /// - Throws: what reading the tokenizer and the chat template throws.
    public convenience init(_ adapted: AdaptedModel) throws {
        let tokenizer = try Tokenizer(store: adapted.transformer.store)
        self.init(
            adapted, tokenizer: tokenizer,
            chatTemplate: try ChatTemplate.load(
                store: adapted.transformer.store, specialTokens: tokenizer.specialTokens))
    }

    private init(_ adapted: AdaptedModel, tokenizer: Tokenizer, chatTemplate: ChatTemplate?) {
        self.adapted = adapted
        self.tokenizer = tokenizer
        self.chatTemplate = chatTemplate
    }

    /// The same model with other adapters, transferred if that was allowed when it was opened.
    ///
    /// - Throws: as opening it does.
    public func with(adapterPaths: [String]) throws -> OpenedModel {
        OpenedModel(try adapted.with(adapterPaths: adapterPaths), tokenizer: tokenizer, chatTemplate: chatTemplate)
    }

    /// The same model, whose weights are in memory only while their layer is at work.
    func streamingWeights() throws -> OpenedModel {
        OpenedModel(try adapted.streamingWeights(), tokenizer: tokenizer, chatTemplate: chatTemplate)
    }

    /// A session that runs the model with its adapters and, on top of them, `trained` if it is given.
    public func session(trained: LoRAAdapter? = nil) -> InferenceSession { adapted.session(trained: trained) }

    /// The text of a conversation in the model's chat template.
    ///
    /// - Throws: a usage error if the model has none, what the template throws otherwise.
    public func render(_ messages: [ChatMessage], addGenerationPrompt: Bool) throws -> String {
        guard let chatTemplate else {
            throw MeraserError.usage("\(transformer.store.path) has no chat template; give raw text")
        }
        return try chatTemplate.render(Conversation(messages), addGenerationPrompt: addGenerationPrompt)
    }

    /// The chat template around one message of the user, up to where the answer begins; nil if the model has none.
    public var chat: ChatRenderer? {
        guard chatTemplate != nil else { return nil }
        return ChatRenderer { [self] in try render($0, addGenerationPrompt: true) }
    }
}
