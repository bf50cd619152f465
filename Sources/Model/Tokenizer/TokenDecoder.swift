import Base

/// One step from tokens back to text, as tokenizer.json's `decoder` lists them. Each maps a stream of byte strings.
indirect enum DecoderStep: Sendable {
    /// Replaces text within a token.
    case replace(TextReplacement)
    /// Joins byte tokens `<0x..>` into the text they spell.
    case byteFallback
    /// Joins all tokens: steps behind it see one text.
    case fuse
    /// Cuts up to that many copies of a character off both ends of each token.
    case strip([UInt8], start: Int, stop: Int)
    /// The same at the start of the fused text.
    case stripStart([UInt8], count: Int)
    /// Turns marks into spaces; those of the first token vanish if the tokenizer had put one there.
    case metaspace([UInt8], dropsFirst: Bool)
    /// A space before every token but the first: what happens without a decoder.
    case spaceBetween
    /// Turns the characters of byte-level tokens into the bytes that they stand for, and joins all.
    case byteLevel
    /// A space before every token but the first and those with the prefix, which goes; with `cleansUp`, none before
    /// punctuation and contractions.
    case wordPiece([UInt8], cleansUp: Bool)
    /// Turns the end of a word into a space, of the last token into nothing.
    case wordEnd([UInt8])
    /// Of equal tokens in a row one, without padding; with `cleansUp` as WordPiece, and the word's delimiter a space.
    case ctc(padding: [UInt8], delimiter: [UInt8], cleansUp: Bool)
    /// Steps behind those that join all tokens, which take the whole text as one token.
    case whole([DecoderStep])

    /// The steps of tokenizer.json's `decoder`.
    static func steps(_ json: JSONValue?, file: String) throws -> [DecoderStep] {
        guard let json else { return [.spaceBetween] }
        var all: [DecoderStep] = []
        var growth = TextGrowth(of: "decoder", file: file)
        try append(json, to: &all, &growth, file: file)
        guard let joint = all.firstIndex(where: \.isJoining) else { return all }
        // Behind a joint only some steps can work on a text that grows; from the first other on all wait for its end.
        var steps = Array(all[...joint])
        var isOfTokens = true
        if case .byteLevel = all[joint] { isOfTokens = false }
        for index in all.indices.dropFirst(joint + 1) {
            switch all[index] {
            case .fuse: break
            case .strip(let content, let start, 0) where isOfTokens || content.count == 1:
                steps.append(.stripStart(content, count: start))
            case .replace(let replacement) where isOfTokens && replacement.isOfOneCharacter: steps.append(all[index])
            default: return steps + [.whole(Array(all[index...]))]
            }
        }
        return steps
    }

    /// True for steps behind which there is one text.
    private var isJoining: Bool {
        switch self {
        case .fuse, .byteLevel: true
        default: false
        }
    }

    private static func append(
        _ json: JSONValue, to steps: inout [DecoderStep], _ growth: inout TextGrowth, file: String
    ) throws {
        func text(_ key: String, _ standard: String) throws -> [UInt8] {
            try json.value(key, in: file).map { _ in try json.utf8(key, in: file) } ?? Array(standard.utf8)
        }
        let type = try json.string("type", in: file)
        if type == "Sequence" {
            for element in try json.array("decoders", in: file) {
                try append(element, to: &steps, &growth, file: file)
            }
            return
        }
        if type != "Replace" { try growth.pay(added: type == "WordPiece" ? 1 : 0) }
        switch type {
        case "Replace":
            steps.append(.replace(try TextReplacement(json, component: "decoder", &growth, file: file)))
        case "ByteFallback":
            steps.append(.byteFallback)
        case "Fuse":
            steps.append(.fuse)
        case "Strip":
            let content = try TokenizerPattern.scalar(json, "content", file: file)
            let start = try json.int("start", in: file)
            let stop = try json.int("stop", in: file)
            guard start >= 0, stop >= 0 else {
                throw MeraserError.badInput(
                    "\(file): decoder Strip has start \(start), stop \(stop), expected 0 or more")
            }
            steps.append(.strip(content, start: start, stop: stop))
        case "Metaspace":
            let replacement = try TokenizerPattern.scalar(json, "replacement", file: file)
            steps.append(.metaspace(replacement, dropsFirst: try PrependScheme(json, file: file) != .never))
        case "ByteLevel":
            steps.append(.byteLevel)
        case "WordPiece":
            steps.append(
                .wordPiece(try text("prefix", "##"), cleansUp: try json.boolIfPresent("cleanup", in: file) ?? true))
        case "BPEDecoder":
            let suffix = try text("suffix", "</w>")
            guard !suffix.isEmpty else {
                throw MeraserError.badInput("\(file): decoder BPEDecoder has an empty suffix, expected some text")
            }
            steps.append(.wordEnd(suffix))
        case "CTC":
            let (padding, delimiter) = (try text("pad_token", "<pad>"), try text("word_delimiter_token", "|"))
            guard !padding.isEmpty, !delimiter.isEmpty else {
                throw MeraserError.badInput("\(file): decoder CTC has an empty token, expected some text")
            }
            let cleansUp = try json.boolIfPresent("cleanup", in: file) ?? true
            steps.append(.ctc(padding: padding, delimiter: delimiter, cleansUp: cleansUp))
        default:
            throw TokenizerPattern.unsupported("decoder", type, file: file)
        }
    }
}

/// Runs tokens through decoder steps one by one; text comes out as soon as it is certain.
struct DecoderPipeline: Sendable {
    /// What a step knows of the tokens before.
    private struct State {
        /// Tokens seen, or characters stripped.
        var count = 0
        /// What it holds back: a run of bytes, the last token, all of the text.
        var held: [UInt8] = []
    }

    private let steps: [DecoderStep]
    /// Hold runs of byte tokens until they end: a run that is not UTF-8 as a whole becomes U+FFFD byte by byte.
    private let holdsByteRuns: Bool
    private var states: [State]

    init(_ steps: [DecoderStep], holdsByteRuns: Bool) {
        self.steps = steps
        self.holdsByteRuns = holdsByteRuns
        states = [State](repeating: State(), count: steps.count)
    }

    /// Takes the next token and appends what is certain now.
    mutating func push(_ token: [UInt8], to output: inout [UInt8]) { push(token, from: 0, to: &output) }

    /// Appends what was held back.
    mutating func finish(to output: inout [UInt8]) {
        for index in steps.indices {
            switch steps[index] {
            case .byteFallback: endRun(index, to: &output)
            case .byteLevel:
                let rest = take(index)
                if !rest.isEmpty { push(rest, from: index + 1, to: &output) }
            case .wordEnd(let suffix):
                let last = take(index)
                if states[index].count > 0 {
                    push(UTF8Text.replacing(last, suffix, with: []), from: index + 1, to: &output)
                }
            case .whole(let steps):
                var pipeline = DecoderPipeline(steps, holdsByteRuns: true)
                pipeline.push(Array(String(decoding: take(index), as: UTF8.self).utf8), to: &output)
                pipeline.finish(to: &output)
            default: break
            }
        }
    }

    private mutating func take(_ index: Int) -> [UInt8] {
        defer { states[index].held = [] }
        return states[index].held
    }

    private mutating func push(_ token: [UInt8], from first: Int, to output: inout [UInt8]) {
        var token = token
        for index in first..<steps.count {
            switch steps[index] {
            case .replace(let replacement):
                token = replacement(token)
            case .byteFallback:
                if let byte = ByteToken.value(token) {
                    states[index].held.append(byte)
                    if !holdsByteRuns { flushCharacters(index, to: &output) }
                    return
                }
                endRun(index, to: &output)
            case .fuse:
                break
            case .strip(let content, let start, let stop):
                token = Self.strip(token, content, start, stop)
            case .stripStart(let content, let count):
                while states[index].count < count, !token.isEmpty {
                    guard UTF8Text.has(token, content, at: 0) else {
                        states[index].count = count
                        break
                    }
                    token.removeFirst(content.count)
                    states[index].count += 1
                }
            case .metaspace(let replacement, let dropsFirst):
                let isDropped = states[index].count == 0 && dropsFirst
                token = UTF8Text.replacing(token, replacement, with: isDropped ? [] : [0x20])
                states[index].count = 1
            case .spaceBetween:
                if states[index].count > 0 { token = [0x20] + token }
                states[index].count = 1
            case .wordPiece(let prefix, let cleansUp):
                if states[index].count > 0 {
                    let isContinued = prefix.isEmpty || UTF8Text.has(token, prefix, at: 0)
                    token = isContinued ? Array(token.dropFirst(prefix.count)) : [0x20] + token
                }
                states[index].count = 1
                if cleansUp { token = Self.cleanedUp(token) }
            case .wordEnd(let suffix):
                let last = states[index].held
                let hasLast = states[index].count > 0
                states[index] = State(count: 1, held: token)
                guard hasLast else { return }
                token = UTF8Text.replacing(last, suffix, with: [0x20])
            case .ctc(let padding, let delimiter, let cleansUp):
                let isRepeated = states[index].count > 0 && states[index].held == token
                states[index] = State(count: 1, held: token)
                guard !isRepeated else { return }
                token = UTF8Text.replacing(token, padding, with: [])
                if cleansUp { token = UTF8Text.replacing(Self.cleanedUp(token), delimiter, with: [0x20]) }
                guard !token.isEmpty else { return }
            case .byteLevel:
                token = ByteLevel.bytes(of: token)
                if !holdsByteRuns { token = completePart(of: token, index) }
            case .whole:
                states[index].held += token
                return
            }
        }
        output.append(contentsOf: token)
    }

    /// The bytes held back and those of `token`, up to a character that the next token may complete.
    private mutating func completePart(of token: [UInt8], _ index: Int) -> [UInt8] {
        let bytes = states[index].held + token
        for length in 1...3 where length <= bytes.count {
            let tail = Array(bytes[(bytes.count - length)...])
            if tail[0] & 0xC0 != 0x80, StreamedUTF8.first(tail) == .incomplete {
                states[index].held = tail
                return Array(bytes[..<(bytes.count - length)])
            }
        }
        states[index].held = []
        return bytes
    }

    /// Ends a run of byte tokens: its text if it is UTF-8, else U+FFFD for every byte.
    private mutating func endRun(_ index: Int, to output: inout [UInt8]) {
        guard !states[index].held.isEmpty else { return }
        let bytes = take(index)
        if String(validating: bytes, as: UTF8.self) != nil {
            push(bytes, from: index + 1, to: &output)
        } else {
            for _ in bytes { push(Self.replacement, from: index + 1, to: &output) }
        }
    }

    /// Passes on the leading characters of the run that are complete, or U+FFFD for bytes that begin none.
    private mutating func flushCharacters(_ index: Int, to output: inout [UInt8]) {
        while !states[index].held.isEmpty {
            switch StreamedUTF8.first(states[index].held) {
            case .incomplete:
                return
            case .complete(let length):
                let character = Array(states[index].held[..<length])
                states[index].held.removeFirst(length)
                push(character, from: index + 1, to: &output)
            case .invalid:
                states[index].held.removeFirst()
                push(Self.replacement, from: index + 1, to: &output)
            }
        }
    }

    private static func strip(_ token: [UInt8], _ content: [UInt8], _ start: Int, _ stop: Int) -> [UInt8] {
        var low = 0
        for _ in 0..<start {
            guard UTF8Text.has(token, content, at: low) else { break }
            low += content.count
        }
        var high = token.count
        for _ in 0..<stop {
            guard high - content.count >= low, UTF8Text.has(token, content, at: high - content.count) else { break }
            high -= content.count
        }
        return Array(token[low..<high])
    }

    /// What `tokenizers` calls cleaning up, one token at a time.
    private static func cleanedUp(_ token: [UInt8]) -> [UInt8] {
        cleanUps.reduce(token) { UTF8Text.replacing($0, $1.from, with: $1.to) }
    }

    private static let cleanUps: [(from: [UInt8], to: [UInt8])] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ].map { (Array($0.0.utf8), Array($0.1.utf8)) }

    private static let replacement: [UInt8] = [0xEF, 0xBF, 0xBD]
}
