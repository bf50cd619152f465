import Base

/// WordPiece as BERT has it (Schuster and Nakajima 2012; Devlin et al. 2019): the longest token that begins a word, then
/// the longest continuation of the rest, and so on; the unknown token for a word that cannot be spelled so.
struct WordPieceModel: Sendable {
    let vocabulary: Vocabulary
    private let unknown: Int32
    /// What the tokens that continue a word begin with: `##`.
    private let prefix: [UInt8]
    /// Words of more characters are unknown.
    private let longestWord: Int

    /// The `model` object of tokenizer.json, with its vocabulary.
    init(_ json: JSONValue, vocabulary: Vocabulary, file: String) throws {
        let longest = try json.intIfPresent("max_input_chars_per_word", in: file) ?? Self.standardLongestWord
        guard (1...1 << 16).contains(longest) else {
            throw MeraserError.badInput(
                "\(file): model.max_input_chars_per_word is \(longest), expected 1 to \(1 << 16)")
        }
        try self.init(
            vocabulary: vocabulary,
            unknown: try json.value("unk_token", in: file).map { _ in try json.utf8("unk_token", in: file) }
                ?? Array("[UNK]".utf8),
            prefix: try json.value("continuing_subword_prefix", in: file).map { _ in
                try json.utf8("continuing_subword_prefix", in: file)
            } ?? Array("##".utf8),
            longestWord: longest, file: file)
    }

    /// A model of that vocabulary.
    ///
    /// - Throws: a bad-input error if the unknown token is not in it.
    init(
        vocabulary: Vocabulary, unknown: [UInt8], prefix: [UInt8] = Array("##".utf8),
        longestWord: Int = Self.standardLongestWord, file: String
    ) throws {
        guard let id = vocabulary.id(of: unknown) else {
            throw MeraserError.badInput(
                "\(file): the unknown token '\(String(decoding: unknown, as: UTF8.self))' is not in the vocabulary")
        }
        self.vocabulary = vocabulary
        self.unknown = id
        self.prefix = prefix
        self.longestWord = longestWord
    }

    private static let standardLongestWord = 100

    /// Appends the tokens of one word, which is valid UTF-8.
    func tokenize(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        guard !word.isEmpty else { return }
        let first = ids.count
        guard word.lazy.filter({ $0 & 0xC0 != 0x80 }).prefix(longestWord + 1).count <= longestWord else {
            ids.append(unknown)
            return
        }
        var start = 0
        while start < word.count {
            guard let (id, end) = longestToken(word, from: start) else {
                ids.removeSubrange(first...)
                ids.append(unknown)
                return
            }
            ids.append(id)
            start = end
        }
    }

    private func longestToken(_ word: UnsafeBufferPointer<UInt8>, from start: Int) -> (id: Int32, end: Int)? {
        let isContinued = start > 0
        var piece = isContinued ? prefix : []
        piece.append(contentsOf: word[start...])
        var end = word.count
        while end > start {
            if let id = piece.withUnsafeBufferPointer({ vocabulary.id(of: $0) }) { return (id, end) }
            // Without its last character.
            repeat {
                end -= 1
                piece.removeLast()
            } while end > start && word[end] & 0xC0 == 0x80
        }
        return nil
    }
}

/// A token a word; the unknown token for other words.
struct WordLevelModel: Sendable {
    let vocabulary: Vocabulary
    private let unknown: Int32

    /// The `model` object of tokenizer.json, with its vocabulary.
    ///
    /// - Throws: a bad-input error if the unknown token is not in the vocabulary: `tokenizers` refuses texts then.
    init(_ json: JSONValue, vocabulary: Vocabulary, file: String) throws {
        let text = try json.value("unk_token", in: file).map { _ in try json.utf8("unk_token", in: file) }
        guard let id = vocabulary.id(of: text ?? Array("<unk>".utf8)) else {
            throw MeraserError.badInput(
                "\(file): the unknown token '\(String(decoding: text ?? Array("<unk>".utf8), as: UTF8.self))' is not in the "
                    + "vocabulary")
        }
        self.vocabulary = vocabulary
        unknown = id
    }

    /// Appends the token of one word.
    func tokenize(_ word: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        ids.append(vocabulary.id(of: word) ?? unknown)
    }
}
