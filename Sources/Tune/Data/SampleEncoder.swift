import Base
import Model

/// Turns the rows of a file into samples.
struct SampleEncoder<T: SampleTokenizer> {
    private let options: EncodingOptions
    private let tokenizer: T
    private let isMEraser: Bool
    private let bos: Bool?
    private let eos: Bool
    private let maxPromptLength: Int
    private let maxCompletionLength: Int
    private let maxLength: Int
    private let chatTemplate: ChatTemplate?

    init(_ file: DatasetFile, options: EncodingOptions, tokenizer: T, chatTemplate: ChatTemplate?) throws {
        isMEraser = file.shape == .meraser
        if file.shape == .text, options.loss == .completion {
            throw MeraserError.usage("`loss` completion: the rows of \(file.path) are plain text; use `loss` full")
        }
        if file.hasConversations, chatTemplate == nil {
            throw MeraserError.badInput("\(file.path) holds conversations, but the model has no chat template")
        }
        if options.bos == true, tokenizer.bosID == nil {
            throw MeraserError.usage("`bos`: the model's tokenizer has no BOS token")
        }
        if options.eos == true, tokenizer.eosID == nil {
            throw MeraserError.usage("`eos`: the model's tokenizer has no EOS token")
        }
        self.options = options
        self.tokenizer = tokenizer
        self.chatTemplate = chatTemplate
        bos = options.bos ?? (isMEraser ? false : nil)
        eos = options.eos ?? !isMEraser
        maxPromptLength = options.maxPromptLength ?? (isMEraser ? 256 : Int.max)
        maxCompletionLength = options.maxCompletionLength ?? (isMEraser ? 256 : Int.max)
        maxLength = options.length(standard: isMEraser ? Int.max : EncodingOptions.standardLength)
    }

    /// The sample of a file's row, beside what was rejected where the file has that; nil if nothing in it is to be learnt.
    func sample(of index: Int, in file: DatasetFile) throws -> TrainingSample? {
        guard let rejected = file.rejected else { return try sample(file.rows[index]) }
        guard let chosen = try sample(file.rows[index]), let other = try sample(rejected[index]) else { return nil }
        return TrainingSample(chosen, over: other)
    }

    /// The sample of a row; nil if nothing in it is to be learnt.
    func sample(_ row: DatasetRow) throws -> TrainingSample? {
        switch row {
        case .pair(let prompt, let completion):
            let text = prompt + (options.separator ?? "")
            return pairSample(begin(text, maximum: maxPromptLength), end(continuation(of: text, completion)))
        case .text(let text):
            return pairSample([], end(begin(text, maximum: Int.max)))
        case .chat(let conversation, let unlearnt):
            return try chatSample(conversation, unlearnt: unlearnt)
        }
    }

    private func pairSample(_ prompt: [Int32], _ completion: [Int32]) -> TrainingSample? {
        let tokens = Array((prompt + completion).prefix(maxLength))
        let firstLabel = options.loss == .completion ? prompt.count : 0
        return TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= max(1, firstLabel) })
    }

    /// The tokens of a text at the beginning of a sample, cut, with or without BOS.
    private func begin(_ text: String, maximum: Int) -> [Int32] {
        guard let bos else { return Array(tokenizer.encode(text, addSpecialTokens: true).prefix(maximum)) }
        let tokens = tokenizer.encode(text, addSpecialTokens: false)
        return Array(((bos ? [tokenizer.bosID].compactMap { $0 } : []) + tokens).prefix(maximum))
    }

    /// The tokens of a completion: in MEraser's shape tokenised apart, as the paper's code does, else as the text that
    /// goes on after the prompt.
    private func continuation(of prompt: String, _ completion: String) -> [Int32] {
        if isMEraser { return tokenizer.encode(completion, addSpecialTokens: false) }
        return tokenizer.encodeContinuation(
            of: prompt, promptTokens: tokenizer.encode(prompt, addSpecialTokens: false), addSpecialTokens: false,
            completion)
    }

    /// The tokens of the end of a sample with or without EOS, cut; a text that is cut does not end, so its EOS goes too.
    private func end(_ tokens: [Int32]) -> [Int32] {
        Array((tokens + (eos ? [tokenizer.eosID].compactMap { $0 } : [])).prefix(maxCompletionLength))
    }

    /// A conversation is rendered and tokenised as a whole; its answers but those are learnt (`ChatTemplate.answers`).
    private func chatSample(_ conversation: Conversation, unlearnt: Set<Int>) throws -> TrainingSample? {
        guard let chatTemplate else { return nil }
        try chatTemplate.requireReading(conversation)
        var tokens: [Int32]
        var isLabel: [Bool]
        switch options.loss {
        case .full:
            tokens = tokenizer.encode(try chatTemplate.render(conversation), addSpecialTokens: false)
            isLabel = tokens.map { _ in true }
        case .completion:
            let answers = try chatTemplate.answers(of: conversation, but: unlearnt)
            tokens = tokenizer.encode(answers.text, addSpecialTokens: false)
            isLabel = labels(tokens, answers)
        }
        if options.bos == true, let id = tokenizer.bosID {
            tokens.insert(id, at: 0)
            isLabel.insert(false, at: 0)
        }
        if options.eos == true, let id = tokenizer.eosID {
            tokens.append(id)
            isLabel.append(true)
        }
        let count = min(tokens.count, maxLength)
        if !isLabel.isEmpty { isLabel[0] = false }
        return TrainingSample(tokens: Array(tokens[..<count]), isLabel: Array(isLabel[..<count]))
    }

    /// The tokens in which anything of an answer is, as Transformers' `char_to_token` finds them. Where the tokenizer
    /// cannot tell their places, those that the texts up to an answer's beginning and end do not share.
    private func labels(_ tokens: [Int32], _ answers: ChatAnswers) -> [Bool] {
        var isLabel = [Bool](repeating: false, count: tokens.count)
        if let ends = tokenizer.endOffsets(of: tokens, in: answers.text) {
            for range in answers.ranges {
                for index in tokens.indices where ends[index] > range.lowerBound {
                    guard index == 0 || ends[index - 1] < range.upperBound else { break }
                    isLabel[index] = true
                }
            }
            return isLabel
        }
        let bytes = Array(answers.text.utf8)
        func shared(_ end: Int) -> Int {
            let beginning = String(decoding: bytes[..<end], as: UTF8.self)
            return commonPrefixCount(tokens, tokenizer.encode(beginning, addSpecialTokens: false))
        }
        for range in answers.ranges {
            let first = shared(range.lowerBound)
            for index in first..<max(first, shared(range.upperBound)) { isLabel[index] = true }
        }
        return isLabel
    }
}
