import Model
import Quant

/// Turns rows of one shape into samples.
struct SampleEncoder<T: SampleTokenizer> {
    typealias ChatRenderer = (_ turns: [ChatMessage], _ addGenerationPrompt: Bool) throws -> String

    private let options: EncodingOptions
    private let tokenizer: T
    private let isMEraser: Bool
    private let bos: Bool?
    private let eos: Bool
    private let maxPromptLength: Int
    private let maxCompletionLength: Int
    private let maxLength: Int
    private let renderChat: ChatRenderer?

    init(
        shape: DatasetShape, options: EncodingOptions, tokenizer: T, path: String, renderChat: ChatRenderer?
    ) throws {
        isMEraser = shape == .meraser
        let isChat = shape == .messages || shape == .conversation
        if shape == .text, options.loss == .completion {
            throw MeraserError.usage("--loss completion: the rows of \(path) are plain text; use --loss full")
        }
        if isChat, renderChat == nil {
            throw MeraserError.badInput("\(path) holds conversations, but the model has no chat template")
        }
        if options.bos == true, tokenizer.bosID == nil {
            throw MeraserError.usage("--bos: the model's tokenizer has no BOS token")
        }
        if options.eos == true, tokenizer.eosID == nil {
            throw MeraserError.usage("--eos: the model's tokenizer has no EOS token")
        }
        self.options = options
        self.tokenizer = tokenizer
        self.renderChat = renderChat
        bos = options.bos ?? (isMEraser || isChat ? false : nil)
        eos = options.eos ?? !(isMEraser || isChat)
        maxPromptLength = options.maxPromptLength ?? (isMEraser ? 256 : Int.max)
        maxCompletionLength = options.maxCompletionLength ?? (isMEraser ? 256 : Int.max)
        maxLength = options.length(standard: isMEraser ? Int.max : EncodingOptions.standardLength)
    }

    /// The sample of a row; nil if nothing in it is to be learnt.
    func sample(_ row: DatasetRow) throws -> TrainingSample? {
        switch row {
        case .pair(let prompt, let completion):
            let text = prompt + (options.separator ?? "")
            return pairSample(begin(text, maximum: maxPromptLength), end(continuation(of: text, completion)))
        case .text(let text):
            return pairSample([], end(begin(text, maximum: Int.max)))
        case .chat(let turns):
            return try chatSample(turns)
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

    /// A conversation is rendered and tokenised as a whole. An assistant's turn covers the tokens behind those that the
    /// text before it (with the template's prompt for an answer) shares with the text including it.
    private func chatSample(_ turns: [ChatMessage]) throws -> TrainingSample? {
        guard let renderChat else { return nil }
        func tokens(_ count: Int, prompt: Bool) throws -> [Int32] {
            begin(try renderChat(Array(turns[..<count]), prompt), maximum: Int.max)
        }
        var all = try tokens(turns.count, prompt: false)
        var isLabel = [Bool](repeating: options.loss == .full, count: all.count)
        if options.loss == .completion {
            for (index, turn) in turns.enumerated() where turn.role == "assistant" {
                let before = commonPrefix(all, try tokens(index, prompt: true))
                let after = commonPrefix(all, try tokens(index + 1, prompt: false))
                for i in before..<max(before, after) { isLabel[i] = true }
            }
        }
        if eos, let id = tokenizer.eosID {
            all.append(id)
            isLabel.append(true)
        }
        let count = min(all.count, maxLength)
        if !isLabel.isEmpty { isLabel[0] = false }
        return TrainingSample(tokens: Array(all[..<count]), isLabel: Array(isLabel[..<count]))
    }

    private func commonPrefix(_ a: [Int32], _ b: [Int32]) -> Int { zip(a, b).prefix { $0 == $1 }.count }
}
