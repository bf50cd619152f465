import Audit
import Kernels
import Model
import Quant

/// A model as commands need it: weights, tokenizer, chat template and the adapters on it. Use from one thread at a time.
public final class OpenedModel {
    /// The base model.
    public let transformer: Transformer
    /// Its tokenizer.
    public let tokenizer: Tokenizer
    /// Its chat template, if it has one.
    public let chatTemplate: ChatTemplate?
    /// The adapters, lowest first.
    public let adapters: [LoRAAdapter]
    /// Where they were read from.
    public let adapterPaths: [String]
    /// A line for each adapter that is used where it does not belong; empty unless transfer was allowed.
    public let transferred: [String]
    /// What the user should know: adapters that are transferred, a folder that holds two models.
    public var warnings: [String] { transformer.store.warnings + transferred }
    private let allowsTransfer: Bool

    /// Opens a model and checks that its adapters belong to it.
    ///
    /// - Parameters:
    ///   - path: an `.mqf` file or a Hugging Face folder.
    ///   - adapterPaths: PEFT folders, lowest first.
    ///   - kernels: instruction set and threads.
    ///   - compute: precision of the forward; nil: int8 for quantized weights, f32 for plain ones.
    ///   - verifying: compares all checksums first, as everything that trains or exports must.
    ///   - transfer: accept adapters of another base, or without their parents, as long as every shape fits.
    /// - Throws: what the parts throw; for an adapter of another base or without its parents an error that names them.
    public init(
        path: String, adapterPaths: [String] = [], kernels: KernelContext, compute: Compute? = nil,
        verifying: Bool = false, transfer: Bool = false
    ) throws {
        let store = try openWeightStore(path: path)
        if verifying { try store.verify() }
        let isQuantized = store.tensorNames.contains { (try? store.tensor($0))?.info.type.isTiled == true }
        transformer = try Transformer(
            store: store, kernels: kernels, compute: compute ?? kernels.inferenceCompute(quantized: isQuantized))
        tokenizer = try Tokenizer(store: store)
        chatTemplate = try ChatTemplate.load(store: store)
        self.adapterPaths = adapterPaths
        allowsTransfer = transfer
        (adapters, transferred) = try Self.load(adapterPaths, for: transformer, transfer: transfer)
    }

    /// The same model with other adapters, transferred if that was allowed when it was opened.
    ///
    /// - Throws: as opening it does.
    public func with(adapterPaths: [String]) throws -> OpenedModel {
        try OpenedModel(
            transformer: transformer, tokenizer: tokenizer, chatTemplate: chatTemplate, adapterPaths: adapterPaths,
            transfer: allowsTransfer)
    }

    private init(
        transformer: Transformer, tokenizer: Tokenizer, chatTemplate: ChatTemplate?, adapterPaths: [String],
        transfer: Bool
    ) throws {
        self.transformer = transformer
        self.tokenizer = tokenizer
        self.chatTemplate = chatTemplate
        self.adapterPaths = adapterPaths
        allowsTransfer = transfer
        (adapters, transferred) = try Self.load(adapterPaths, for: transformer, transfer: transfer)
    }

    private static func load(
        _ paths: [String], for model: Transformer, transfer: Bool
    ) throws -> ([LoRAAdapter], [String]) {
        let adapters = try paths.map { try LoRAAdapter(folder: $0, for: model.spec) }
        let transferred = try LoRAAdapter.validate(
            zip(paths, adapters).map { (name: $0, adapter: $1) }, base: model.store.path,
            baseSHA256: { try model.store.sha256() }, transfer: transfer)
        return (adapters, transferred)
    }

    /// A session that runs the model with its adapters and, on top of them, `trained` if it is given.
    public func session(trained: LoRAAdapter? = nil) -> InferenceSession {
        InferenceSession(model: transformer, adapters: AdapterStack(frozen: adapters, trained: trained))
    }

    /// The text of a conversation in the model's chat template.
    ///
    /// - Throws: a usage error if the model has none, what the template throws otherwise.
    public func render(_ messages: [ChatMessage], addGenerationPrompt: Bool) throws -> String {
        guard let chatTemplate else {
            throw MeraserError.usage("\(transformer.store.path) has no chat template; give raw text")
        }
        func text(_ id: Int32?) -> String { id.map { String(decoding: tokenizer.tokenBytes($0), as: UTF8.self) } ?? "" }
        return try chatTemplate.render(
            messages: messages, addGenerationPrompt: addGenerationPrompt, bosToken: text(tokenizer.bosID),
            eosToken: text(tokenizer.eosID))
    }

    /// The chat template around one message of the user, up to where the answer begins; nil if the model has none.
    public var chat: ChatRenderer? {
        guard chatTemplate != nil else { return nil }
        return { [self] in try render([ChatMessage(role: "user", content: $0)], addGenerationPrompt: true) }
    }
}
