import Base

/// Byte-pair encoding as Hugging Face's tokenizers do it: scalars to tokens, then merges by rank.
struct BPEModel: Sendable {
    let vocabulary: Vocabulary
    private let merges: MergeTable
    private let unknown: Int32?
    private let fuseUnknown: Bool
    /// A word that is a token as a whole is that token, whatever the merges say.
    private let ignoreMerges: Bool
    /// The tokens `<0x00>` … `<0xFF>`, -1 where missing; empty without byte fallback.
    private let byteTokens: [Int32]
    /// What every symbol but a word's first begins with, and what its last ends with.
    private let prefix: [UInt8]
    private let suffix: [UInt8]
    /// The tokens of the first scalars of Unicode, -1 where missing; empty with a prefix or suffix.
    private let scalarTokens: [Int32]
    /// No token reaches over the border in front of this mark, so words may be cut there: see `spaceMark`.
    private let mark: [UInt8]?

    /// SentencePiece's mark of a space.
    private static let spaceMark: [UInt8] = [0xE2, 0x96, 0x81]

    /// The `model` object of tokenizer.json, with its vocabulary and its merges.
    init(_ json: JSONValue, vocabulary: Vocabulary, merges rows: JSONRows?, file: String) throws {
        guard try json.doubleIfPresent("dropout", in: file) ?? 0 == 0 else {
            throw MeraserError.badInput("\(file): model.dropout is set; expected none, tokens must not be random")
        }
        guard let rows, !rows.isObject else {
            throw MeraserError.badInput(
                "\(file): 'model.merges' is \(rows == nil ? "missing" : "an object"), expected an array")
        }
        let prefix = try json.stringIfPresent("continuing_subword_prefix", in: file).map { Array($0.utf8) } ?? []
        let merges = try Self.table(rows, vocabulary, prefix: prefix, file: file)
        var unknown: Int32?
        if let text = try json.value("unk_token", in: file) {
            guard let bytes = text.utf8, let id = vocabulary.id(of: bytes) else {
                throw MeraserError.badInput(
                    "\(file): model.unk_token '\(text.string ?? text.kind)' is not in the vocabulary")
            }
            unknown = id
        }
        self.init(
            vocabulary: vocabulary, merges: merges, unknown: unknown,
            fuseUnknown: try json.boolIfPresent("fuse_unk", in: file) ?? false,
            ignoreMerges: try json.boolIfPresent("ignore_merges", in: file) ?? false,
            fallsBack: try json.boolIfPresent("byte_fallback", in: file) ?? false, prefix: prefix,
            suffix: try json.stringIfPresent("end_of_word_suffix", in: file).map { Array($0.utf8) } ?? [])
    }

    /// A model of those tokens and merges, best first, without byte fallback and unknown token: RoBERTa's merges.txt.
    init(vocabulary: Vocabulary, merges lines: [ArraySlice<UInt8>], file: String) throws {
        let merges = try Self.table(lines, vocabulary, file: file)
        self.init(
            vocabulary: vocabulary, merges: merges, unknown: nil, fuseUnknown: false, ignoreMerges: false,
            fallsBack: false, prefix: [], suffix: [])
    }

    private init(
        vocabulary: Vocabulary, merges: MergeTable, unknown: Int32?, fuseUnknown: Bool, ignoreMerges: Bool,
        fallsBack: Bool, prefix: [UInt8], suffix: [UInt8]
    ) {
        self.vocabulary = vocabulary
        self.merges = merges
        (self.unknown, self.fuseUnknown, self.ignoreMerges) = (unknown, fuseUnknown, ignoreMerges)
        (self.prefix, self.suffix) = (prefix, suffix)
        byteTokens = fallsBack ? ByteToken.ids(vocabulary) : []
        let isPlain = prefix.isEmpty && suffix.isEmpty
        scalarTokens =
            isPlain ? (0..<0x250).map { vocabulary.id(of: Array(String(Unicode.Scalar($0) ?? " ").utf8)) ?? -1 } : []
        mark =
            isPlain && vocabulary.id(of: Self.spaceMark) != nil && Self.isBorder(Self.spaceMark, vocabulary)
            ? Self.spaceMark : nil
    }

    /// True if no token has that mark behind another character.
    private static func isBorder(_ mark: [UInt8], _ vocabulary: Vocabulary) -> Bool {
        var isBorder = true
        vocabulary.forEachToken { token, _ in
            guard isBorder, token.count > mark.count else { return }
            for i in 1..<token.count where UTF8Text.has(token, mark, at: i) {
                if i < mark.count || !UTF8Text.has(token, mark, at: i - mark.count) {
                    isBorder = false
                    return
                }
            }
        }
        return isBorder
    }

    /// Cuts words before marks that no token reaches over. Merges within the pieces are those within the words, and short
    /// words are found again: models of SentencePiece have no words but whole texts.
    func cut(_ text: inout CutText) {
        guard let mark else { return }
        text.cut { word, bytes, sink in
            var start = word.start
            var i = word.start
            while i < word.end {
                if bytes[i] == mark[0], UTF8Text.has(bytes, mark, at: i) {
                    if i > start, i < start + mark.count || !UTF8Text.has(bytes, mark, at: i - mark.count) {
                        sink.add(start, i, of: word)
                        start = i
                    }
                    i += mark.count
                } else {
                    i += 1
                }
            }
            sink.add(start, word.end, of: word)
        }
    }
}

// MARK: - Words

extension BPEModel {
    /// Appends the tokens of one word, which is valid UTF-8.
    func tokenize(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32], _ scratch: inout MergeScratch) {
        if ignoreMerges, let id = vocabulary.id(of: word) {
            ids.append(id)
            return
        }
        scratch.symbols.removeAll(keepingCapacity: true)
        addSymbols(word, &scratch.symbols)
        merges.merge(&scratch)
        ids.append(contentsOf: scratch.symbols)
    }

    /// One symbol a scalar; bytes or the unknown token where it has no token. A scalar without either is dropped.
    private func addSymbols(_ word: UnsafeBufferPointer<UInt8>, _ symbols: inout [Int32]) {
        // As in tokenizers: a pending unknown token is added before the next known token or at the end.
        var hasPending = false
        var i = 0
        while i < word.count {
            let length = UTF8Text.length(first: word[i])
            if let id = token(word, i, length) {
                if hasPending, let unknown { symbols.append(unknown) }
                hasPending = false
                symbols.append(id)
            } else if !addBytes(word, i, length, &symbols), let unknown {
                if hasPending, !fuseUnknown { symbols.append(unknown) }
                hasPending = true
            }
            i += length
        }
        if hasPending, let unknown { symbols.append(unknown) }
    }

    /// The token of the scalar at `i`.
    @inline(__always)
    private func token(_ word: UnsafeBufferPointer<UInt8>, _ i: Int, _ length: Int) -> Int32? {
        guard !scalarTokens.isEmpty else {
            let symbol = symbol(word, i, length)
            return symbol.withUnsafeBufferPointer { vocabulary.id(of: $0) }
        }
        if length <= 2 {
            let (scalar, _) = UTF8Text.scalar(word, at: i)
            if scalar.value < 0x250 {
                let id = scalarTokens[Int(scalar.value)]
                return id < 0 ? nil : id
            }
        }
        return vocabulary.id(of: UnsafeBufferPointer(rebasing: word[i..<i + length]))
    }

    /// How the scalar at `i` is written in the vocabulary.
    private func symbol(_ word: UnsafeBufferPointer<UInt8>, _ i: Int, _ length: Int) -> [UInt8] {
        (i > 0 ? prefix : []) + word[i..<i + length] + (i + length == word.count ? suffix : [])
    }

    /// Adds the byte tokens of the scalar at `i`, prefix and suffix included; false if not all have one.
    private func addBytes(
        _ word: UnsafeBufferPointer<UInt8>, _ i: Int, _ length: Int, _ symbols: inout [Int32]
    ) -> Bool {
        guard !byteTokens.isEmpty else { return false }
        let bytes = symbol(word, i, length)
        guard bytes.allSatisfy({ byteTokens[Int($0)] >= 0 }) else { return false }
        for byte in bytes { symbols.append(byteTokens[Int(byte)]) }
        return true
    }
}

/// The tokens `<0x00>` … `<0xFF>` that stand for single bytes.
enum ByteToken {
    /// The ids of all 256, -1 where missing.
    static func ids(_ vocabulary: Vocabulary) -> [Int32] {
        let digits = Array("0123456789ABCDEF".utf8)
        return (0..<256).map { vocabulary.id(of: Array("<0x".utf8) + [digits[$0 >> 4], digits[$0 & 15], 0x3E]) ?? -1 }
    }

    /// The byte that a token's text stands for, or nil.
    static func value(_ token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: "<0x".utf8), token[5] == 0x3E else { return nil }
        return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }
}
