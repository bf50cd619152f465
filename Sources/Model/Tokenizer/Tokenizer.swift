import Base

/// Text to token ids and back, exactly as Hugging Face's `tokenizers` library does it for the same tokenizer.json.
///
/// Works on UTF-8 bytes throughout. Immutable and thread-safe.
public final class Tokenizer: Sendable {
    /// How words become tokens.
    enum Model: Sendable {
        case bpe(BPEModel)
        case unigram(UnigramModel)
        case wordPiece(WordPieceModel)
        case wordLevel(WordLevelModel)

        var vocabulary: Vocabulary {
            switch self {
            case .bpe(let model): model.vocabulary
            case .unigram(let model): model.vocabulary
            case .wordPiece(let model): model.vocabulary
            case .wordLevel(let model): model.vocabulary
            }
        }
    }

    /// Everything a tokenizer is made of; the loaders fill it in.
    struct Parts: Sendable {
        var model: Model
        var added: [AddedToken] = []
        var normalizer: Normalizer?
        var preTokenizer: PreTokenizer?
        /// What the post-processor puts before and behind a text.
        var prefix: [Int32] = []
        var suffix: [Int32] = []
        var decoder: [DecoderStep]
        var bosID: Int32?
        var eosID: Int32?
        var unkID: Int32?
        var padID: Int32?
        /// Special tokens by the names that chat templates have for them.
        var specialTokens = JSONObject()
        /// Special tokens that are written out in a text are text.
        var splitsSpecialTokens = false
        /// Decoding takes spaces before punctuation out.
        var cleansUpSpaces = false
    }

    /// The beginning-of-sequence token that the configuration names, if any.
    public let bosID: Int32?
    /// The end-of-sequence token that the configuration names, if any.
    public let eosID: Int32?
    /// The token for what the vocabulary cannot spell, if any.
    public let unkID: Int32?
    /// The padding token that the configuration names, if any.
    public let padID: Int32?
    /// Special tokens by the names that chat templates have for them (`bos_token`, …, `additional_special_tokens`).
    public let specialTokens: JSONObject
    /// All ids are below this; an embedding may have more rows.
    public let vocabularySize: Int

    let decoder: [DecoderStep]
    let cleansUpSpaces: Bool
    private let model: Model
    private let normalizer: Normalizer?
    private let preTokenizer: PreTokenizer?
    private let prefix: [Int32]
    private let suffix: [Int32]
    private let addedByID: [Int32: AddedToken]
    private let rawMatcher: AddedTokenMatcher
    private let normalizedMatcher: AddedTokenMatcher

    init(_ parts: Parts) {
        model = parts.model
        normalizer = parts.normalizer
        preTokenizer = parts.preTokenizer
        prefix = parts.prefix
        suffix = parts.suffix
        decoder = parts.decoder
        (bosID, eosID, unkID, padID) = (parts.bosID, parts.eosID, parts.unkID, parts.padID)
        specialTokens = parts.specialTokens
        cleansUpSpaces = parts.cleansUpSpaces
        addedByID = Dictionary(parts.added.map { ($0.id, $0) }) { $1 }
        let matched = parts.splitsSpecialTokens ? parts.added.filter { !$0.isSpecial } : parts.added
        rawMatcher = AddedTokenMatcher(matched.filter { !$0.isNormalized }) { $0 }
        normalizedMatcher = AddedTokenMatcher(matched.filter(\.isNormalized)) {
            parts.normalizer?($0) ?? $0
        }
        vocabularySize = max(parts.model.vocabulary.endID, Int(parts.added.map(\.id).max() ?? -1) + 1)
    }

    /// The ids of a text. Added tokens (`<s>`, `[INST]`, …) written out in the text are recognised, special ones unless the
    /// configuration says `split_special_tokens`.
    /// - Parameter addSpecialTokens: whether to run the post-processor, which adds BOS where the tokenizer has one.
    public func encode(_ text: String, addSpecialTokens: Bool = true) -> [Int32] {
        encode(validUTF8: Array(text.utf8), addSpecialTokens: addSpecialTokens)
    }

    /// The ids of a text given as UTF-8; ill-formed bytes become U+FFFD first.
    public func encode(utf8 bytes: [UInt8], addSpecialTokens: Bool = true) -> [Int32] {
        let isValid = String(validating: bytes, as: UTF8.self) != nil
        return encode(
            validUTF8: isValid ? bytes : Array(String(decoding: bytes, as: UTF8.self).utf8),
            addSpecialTokens: addSpecialTokens)
    }

    /// What the post-processor puts in front of a text and behind it.
    public var specialTokensAround: (prefix: [Int32], suffix: [Int32]) { (prefix, suffix) }

    /// What one text is encoded with.
    private struct Work {
        var cache: WordCache
        var merges = MergeScratch()
        var unigram = UnigramModel.Scratch()
    }

    private func encode(validUTF8 text: [UInt8], addSpecialTokens: Bool) -> [Int32] {
        precondition(text.count < Int(Int32.max), "a text of \(text.count) bytes, expected less than 2^31")
        var ids = addSpecialTokens ? prefix : []
        ids.reserveCapacity(text.count / 4 + 8)
        var work = Work(cache: WordCache(byteCount: text.count))
        var isFirst = true
        for segment in rawMatcher.split(text) {
            switch segment {
            case .token(let id):
                ids.append(id)
            case .text(let raw):
                var normalized = NormalizedText(bytes: raw, hasStart: isFirst)
                normalizer?.apply(to: &normalized)
                isFirst = isFirst && normalized.hasStart
                for piece in normalizedMatcher.split(normalized.bytes) {
                    switch piece {
                    case .token(let id): ids.append(id)
                    case .text(let text): tokenize(CutText(text, isFirst: isFirst), into: &ids, &work)
                    }
                    isFirst = false
                }
            }
            isFirst = false
        }
        if addSpecialTokens { ids.append(contentsOf: suffix) }
        return ids
    }

    private func tokenize(_ text: CutText, into ids: inout [Int32], _ work: inout Work) {
        var text = text
        preTokenizer?(&text)
        if case .bpe(let model) = model { model.cut(&text) }
        text.bytes.withUnsafeBufferPointer { bytes in
            for index in text.words.indices {
                let word = UnsafeBufferPointer(rebasing: bytes[text.words[index].range])
                switch model {
                case .bpe(let model):
                    work.cache.append(word, to: &ids) { model.tokenize($0, into: &$1, &work.merges) }
                case .unigram(let model):
                    work.cache.append(word, to: &ids) { model.tokenize($0, into: &$1, &work.unigram) }
                case .wordPiece(let model): work.cache.append(word, to: &ids) { model.tokenize($0, into: &$1) }
                case .wordLevel(let model): model.tokenize(word, into: &ids)
                }
            }
        }
    }

    /// The text of those ids; ids that are no token are left out.
    /// - Parameter skipSpecialTokens: whether to leave out special tokens.
    public func decode(_ ids: [Int32], skipSpecialTokens: Bool = false) -> String {
        var pipeline = DecoderPipeline(decoder, holdsByteRuns: true)
        var output: [UInt8] = []
        for id in ids where !skipSpecialTokens || !isSpecial(id) {
            if let token = token(id) { pipeline.push(token, to: &output) }
        }
        pipeline.finish(to: &output)
        return String(decoding: cleansUpSpaces ? SpaceCleanup.clean(output) : output, as: UTF8.self)
    }

    /// A decoder for one sequence that is being generated.
    public func streamingDecoder(skipSpecialTokens: Bool = false) -> StreamingDecoder {
        StreamingDecoder(self, skipsSpecialTokens: skipSpecialTokens)
    }

    /// The token's text in the vocabulary as it stands (`▁the`, `<0x0A>`, `<s>`); empty for an id that is no token.
    public func tokenBytes(_ id: Int32) -> [UInt8] { token(id) ?? [] }

    /// The id of the token with exactly that text in the vocabulary, such as `</s>`, or nil.
    public func id(ofToken text: String) -> Int32? {
        let bytes = Array(text.utf8)
        return addedByID.values.first { $0.content == bytes }?.id ?? model.vocabulary.id(of: bytes)
    }

    /// True for tokens that decoding may skip: BOS, EOS and the like.
    public func isSpecial(_ id: Int32) -> Bool { addedByID[id]?.isSpecial ?? false }

    /// True for tokens that are matched as literal text.
    func isAdded(_ id: Int32) -> Bool { addedByID[id] != nil }

    func token(_ id: Int32) -> [UInt8]? { addedByID[id]?.content ?? model.vocabulary.token(id) }
}
