import Model

/// Which tokens of a sample are learnt.
public enum LossScope: String, Sendable, CaseIterable {
    /// Every token after the first: what MEraser's code does.
    case full
    /// The tokens of the completion (of a conversation: of the assistant's turns) only.
    case completion
}

/// How rows become tokens. What is nil is as the dataset's shape has it: each kind of rows was trained so by its
/// authors.
public struct EncodingOptions: Sendable, Equatable {
    /// Which tokens are learnt.
    public var loss: LossScope
    /// Begin with the BOS token; nil: MEraser's shape no, chat as its template has it, others as the tokenizer has it.
    public var bos: Bool?
    /// End with the EOS token; nil: MEraser's shape no, chat as its template has it, others yes.
    public var eos: Bool?
    /// Text between prompt and completion; nil: none.
    public var separator: String?
    /// Tokens of the prompt that are kept, separator included; nil: 256 for MEraser's shape, else all.
    public var maxPromptLength: Int?
    /// Tokens of the completion that are kept; nil: 256 for MEraser's shape, else all.
    public var maxCompletionLength: Int?
    /// Tokens of a sample that are kept; nil: all of MEraser's shape, else `standardLength`, and never more than the context.
    public var maxLength: Int?
    /// Keys that are taken out of every row before anything is made of it.
    public var removeColumns: [String] = []
    /// Every row has an answer that was chosen and one that was not (`objective` dpo), and both become samples.
    public var comparesAnswers = false
    /// The model's context in tokens; nil: not known.
    public var context: Int?

    /// Tokens of a sample that are kept where nothing is said.
    public static let standardLength = 1024

    /// Options; the defaults leave everything to the dataset's shape.
    public init(
        loss: LossScope = .full, bos: Bool? = nil, eos: Bool? = nil, separator: String? = nil,
        maxPromptLength: Int? = nil, maxCompletionLength: Int? = nil, maxLength: Int? = nil
    ) {
        self.loss = loss
        self.bos = bos
        self.eos = eos
        self.separator = separator
        self.maxPromptLength = maxPromptLength
        self.maxCompletionLength = maxCompletionLength
        self.maxLength = maxLength
    }

    /// Tokens of a sample that are kept; where nothing is said `standard`, or the context where that is shorter.
    public func length(standard: Int = standardLength) -> Int { maxLength ?? min(standard, context ?? Int.max) }
}

/// What encoding needs of a tokenizer; `Tokenizer` provides it.
public protocol SampleTokenizer: TextEncoder {
    /// The BOS token, if any.
    var bosID: Int32? { get }
    /// The EOS token, if any.
    var eosID: Int32? { get }
    /// Where in a text's UTF-8 each of its tokens, made without special ones, ends; nil where that cannot be told.
    func endOffsets(of tokens: [Int32], in text: String) -> [Int]?
}

extension SampleTokenizer {
    /// Cannot be told.
    public func endOffsets(of tokens: [Int32], in text: String) -> [Int]? { nil }
}
