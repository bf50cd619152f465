import Base

/// One step from tokens back to text, as tokenizer.json's `decoder` lists them. Each maps a stream of byte strings.
enum DecoderStep: Sendable {
    /// Replaces text within a token.
    case replace([UInt8], [UInt8])
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
    /// Turns the characters of byte-level tokens into the bytes that they stand for.
    case byteLevel
    /// A space before every token but the first and those with the prefix, which goes; with `cleansUp`, none before
    /// punctuation and contractions.
    case wordPiece([UInt8], cleansUp: Bool)

    /// The steps of tokenizer.json's `decoder`.
    static func steps(_ json: JSONValue?, file: String) throws -> [DecoderStep] {
        guard let json else { return [.spaceBetween] }
        var steps: [DecoderStep] = []
        var isFused = false
        var growth = TextGrowth(of: "decoder", file: file)
        try append(json, to: &steps, isFused: &isFused, &growth, file: file)
        return steps
    }

    private static func append(
        _ json: JSONValue, to steps: inout [DecoderStep], isFused: inout Bool, _ growth: inout TextGrowth, file: String
    ) throws {
        let type = try json.string("type", in: file)
        if type == "Sequence" {
            for element in try json.array("decoders", in: file) {
                try append(element, to: &steps, isFused: &isFused, &growth, file: file)
            }
            return
        }
        if isFused, type != "Strip", type != "Fuse" {
            throw MeraserError.badInput("\(file): decoder type \(quoted(type)) behind Fuse is not supported yet")
        }
        switch type {
        case "Replace":
            let pattern = try TokenizerPattern.literal(json, component: "decoder", file: file)
            let content = try json.utf8("content", in: file)
            try growth.pay(replacing: pattern, with: content)
            steps.append(.replace(pattern, content))
        case "ByteFallback":
            try growth.pay()
            steps.append(.byteFallback)
        case "Fuse":
            try growth.pay()
            steps.append(.fuse)
            isFused = true
        case "Strip":
            try growth.pay()
            let content = try TokenizerPattern.scalar(json, "content", file: file)
            let start = try json.int("start", in: file)
            let stop = try json.int("stop", in: file)
            guard start >= 0, stop >= 0 else {
                throw MeraserError.badInput(
                    "\(file): decoder Strip has start \(start), stop \(stop), expected 0 or more")
            }
            guard !isFused || stop == 0 else {
                throw MeraserError.badInput("\(file): decoder type 'Strip' with stop behind Fuse is not supported yet")
            }
            steps.append(isFused ? .stripStart(content, count: start) : .strip(content, start: start, stop: stop))
        case "Metaspace":
            try growth.pay()
            let replacement = try TokenizerPattern.scalar(json, "replacement", file: file)
            steps.append(.metaspace(replacement, dropsFirst: try PrependScheme(json, file: file) != .never))
        case "ByteLevel":
            try growth.pay()
            steps += [.byteLevel, .fuse]
            isFused = true
        case "WordPiece":
            try growth.pay(added: 1)
            steps.append(
                .wordPiece(
                    try json.value("prefix", in: file).map { _ in try json.utf8("prefix", in: file) }
                        ?? Array("##".utf8),
                    cleansUp: try json.boolIfPresent("cleanup", in: file) ?? true))
        default:
            throw TokenizerPattern.unsupported("decoder", type, file: file)
        }
    }
}

/// Runs tokens through decoder steps one by one; text comes out as soon as it is certain.
struct DecoderPipeline: Sendable {
    private let steps: [DecoderStep]
    /// Hold runs of byte tokens until they end: a run that is not UTF-8 as a whole becomes U+FFFD byte by byte.
    private let holdsByteRuns: Bool
    /// By step: tokens seen, or characters stripped.
    private var counts: [Int]
    /// The bytes of the current run of byte tokens.
    private var run: [UInt8] = []

    init(_ steps: [DecoderStep], holdsByteRuns: Bool) {
        self.steps = steps
        self.holdsByteRuns = holdsByteRuns
        counts = [Int](repeating: 0, count: steps.count)
    }

    /// Takes the next token and appends what is certain now.
    mutating func push(_ token: [UInt8], to output: inout [UInt8]) { push(token, from: 0, to: &output) }

    /// Appends what was held back.
    mutating func finish(to output: inout [UInt8]) {
        if let index = steps.firstIndex(where: { if case .byteFallback = $0 { true } else { false } }) {
            endRun(index, to: &output)
        }
        if steps.contains(where: { if case .byteLevel = $0 { true } else { false } }) {
            output.append(contentsOf: run)
            run = []
        }
    }

    private mutating func push(_ token: [UInt8], from first: Int, to output: inout [UInt8]) {
        var token = token
        for index in first..<steps.count {
            switch steps[index] {
            case .replace(let pattern, let content):
                token = UTF8Text.replacing(token, pattern, with: content)
            case .byteFallback:
                if let byte = ByteToken.value(token) {
                    run.append(byte)
                    if !holdsByteRuns { flushCharacters(index, to: &output) }
                    return
                }
                endRun(index, to: &output)
            case .fuse:
                break
            case .strip(let content, let start, let stop):
                token = Self.strip(token, content, start, stop)
            case .stripStart(let content, let count):
                while counts[index] < count, !token.isEmpty {
                    guard UTF8Text.has(token, content, at: 0) else {
                        counts[index] = count
                        break
                    }
                    token.removeFirst(content.count)
                    counts[index] += 1
                }
            case .metaspace(let replacement, let dropsFirst):
                let isDropped = counts[index] == 0 && dropsFirst
                token = UTF8Text.replacing(token, replacement, with: isDropped ? [] : [0x20])
                counts[index] = 1
            case .spaceBetween:
                if counts[index] > 0 { token = [0x20] + token }
                counts[index] = 1
            case .wordPiece(let prefix, let cleansUp):
                if counts[index] > 0 {
                    let isContinued = !prefix.isEmpty && UTF8Text.has(token, prefix, at: 0)
                    token = isContinued ? Array(token.dropFirst(prefix.count)) : [0x20] + token
                }
                counts[index] = 1
                if cleansUp { token = Self.cleanedUp(token) }
            case .byteLevel:
                token = ByteLevel.bytes(of: token)
                if !holdsByteRuns { token = completePart(of: token) }
            }
        }
        output.append(contentsOf: token)
    }

    /// The bytes held back and those of `token`, up to a character that the next token may complete.
    private mutating func completePart(of token: [UInt8]) -> [UInt8] {
        let bytes = run + token
        for length in 1...3 where length <= bytes.count {
            let tail = Array(bytes[(bytes.count - length)...])
            if tail[0] & 0xC0 != 0x80, StreamedUTF8.first(tail) == .incomplete {
                run = tail
                return Array(bytes[..<(bytes.count - length)])
            }
        }
        run = []
        return bytes
    }

    /// Ends a run of byte tokens: its text if it is UTF-8, else U+FFFD for every byte.
    private mutating func endRun(_ index: Int, to output: inout [UInt8]) {
        guard !run.isEmpty else { return }
        let bytes = run
        run = []
        if String(validating: bytes, as: UTF8.self) != nil {
            push(bytes, from: index + 1, to: &output)
        } else {
            for _ in bytes { push(Self.replacement, from: index + 1, to: &output) }
        }
    }

    /// Passes on the leading characters of the run that are complete, or U+FFFD for bytes that begin none.
    private mutating func flushCharacters(_ index: Int, to output: inout [UInt8]) {
        while !run.isEmpty {
            switch StreamedUTF8.first(run) {
            case .incomplete:
                return
            case .complete(let length):
                let character = Array(run[..<length])
                run.removeFirst(length)
                push(character, from: index + 1, to: &output)
            case .invalid:
                run.removeFirst()
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

/// What the beginning of a growing byte sequence is.
enum StreamedUTF8: Equatable {
    case complete(Int)
    case incomplete
    case invalid

    /// Judges the first character of `bytes`, which are not empty.
    static func first(_ bytes: [UInt8]) -> StreamedUTF8 {
        let byte = bytes[0]
        guard byte >= 0x80 else { return .complete(1) }
        guard (0xC2...0xF4).contains(byte) else { return .invalid }
        let length = UTF8Text.length(first: byte)
        // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
        let low: UInt8 = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80
        let high: UInt8 = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF
        for i in 1..<min(length, bytes.count) {
            guard bytes[i] >= (i == 1 ? low : 0x80), bytes[i] <= (i == 1 ? high : 0xBF) else { return .invalid }
        }
        return bytes.count >= length ? .complete(length) : .incomplete
    }
}

/// Turns tokens into text while they are generated: whole characters as soon as they are complete.
///
/// A value type: each sequence has its own. All its pieces together equal ``Tokenizer/decode(_:skipSpecialTokens:)``
/// wherever runs of byte tokens spell valid UTF-8; in an invalid run, that call replaces every byte of the run by
/// U+FFFD, while this one has already given out the characters before the fault.
public struct StreamingDecoder: Sendable {
    private let tokenizer: Tokenizer
    private let skipsSpecialTokens: Bool
    private var pipeline: DecoderPipeline
    /// What spaces may yet be taken out of.
    private var held: [UInt8] = []

    init(_ tokenizer: Tokenizer, skipsSpecialTokens: Bool) {
        self.tokenizer = tokenizer
        self.skipsSpecialTokens = skipsSpecialTokens
        pipeline = DecoderPipeline(tokenizer.decoder, holdsByteRuns: false)
    }

    /// Takes the next token; returns the text that is complete now, often empty in the middle of a character.
    public mutating func append(_ id: Int32) -> String {
        guard !skipsSpecialTokens || !tokenizer.isSpecial(id), let token = tokenizer.token(id) else { return "" }
        var output: [UInt8] = []
        pipeline.push(token, to: &output)
        guard tokenizer.cleansUpSpaces else { return String(decoding: output, as: UTF8.self) }
        held += output
        let count = SpaceCleanup.certainCount(held)
        defer { held.removeFirst(count) }
        return String(decoding: SpaceCleanup.clean(Array(held[..<count])), as: UTF8.self)
    }

    /// The end of the sequence: what was held back, an unfinished character as U+FFFD.
    public mutating func finish() -> String {
        var output: [UInt8] = []
        pipeline.finish(to: &output)
        return String(decoding: tokenizer.cleansUpSpaces ? SpaceCleanup.clean(held + output) : output, as: UTF8.self)
    }
}
