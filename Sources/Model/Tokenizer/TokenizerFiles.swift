import Base
import Quant

// Tokenizers of models without tokenizer.json, as Transformers converts them.
extension Tokenizer {
    /// BERT's from vocab.txt, or RoBERTa's from vocab.json and merges.txt; nil if a model has neither.
    ///
    /// - Throws: a bad-input error naming the file and what is wrong in it.
    static func olderParts(_ store: any TextFileSource, _ config: TokenizerConfig) throws -> Parts? {
        if let vocabulary = try store.textFile("vocab.txt") {
            return try bertParts(vocabulary, config, file: "\(store.path): vocab.txt")
        }
        if let json = try store.textFile("vocab.json"), let merges = try store.textFile("merges.txt") {
            return try robertaParts(json, merges: merges, config, path: store.path)
        }
        return nil
    }

    /// A token a line.
    private static func bertParts(_ bytes: [UInt8], _ config: TokenizerConfig, file: String) throws -> Parts {
        let vocabulary = try Vocabulary(
            try lines(bytes, file: file).enumerated().map { (bytes: Array($1), id: $0) }, file: file)
        let unknown = config.unk ?? Array("[UNK]".utf8)
        var parts = Parts(
            model: .wordPiece(try WordPieceModel(vocabulary: vocabulary, unknown: unknown, file: file)),
            decoder: [.wordPiece(Array("##".utf8), cleansUp: true)])
        parts.normalizer = .bert(config.bertNormalizer ?? BertNormalizer())
        parts.preTokenizer = .bert
        parts.prefix = [try special(config.cls ?? Array("[CLS]".utf8), vocabulary, file: file)]
        parts.suffix = [try special(config.sep ?? Array("[SEP]".utf8), vocabulary, file: file)]
        parts.padID = vocabulary.id(of: config.pad ?? Array("[PAD]".utf8))
        let standard = ["[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]"].map { Array($0.utf8) }
        finish(&parts, special: config.special.all.isEmpty ? standard : config.special.all.map(\.content), unknown)
        return parts
    }

    private static func robertaParts(
        _ json: [UInt8], merges: [UInt8], _ config: TokenizerConfig, path: String
    ) throws -> Parts {
        let file = "\(path): vocab.json"
        let vocabulary = try Vocabulary(
            try JSONValue.parse(json, file: file).members(file).map { token, value in
                guard let id = value.int else {
                    throw MeraserError.badInput(
                        "\(file): token '\(token.string)' has \(value.kind) as its id, expected an integer")
                }
                return (bytes: token.utf8, id: id)
            }, file: file)
        let mergesFile = "\(path): merges.txt"
        let pairs = try lines(merges, file: mergesFile).filter { !$0.isEmpty }
        var parts = Parts(
            model: .bpe(
                try BPEModel(vocabulary: vocabulary, merges: pairs, file: mergesFile)),
            decoder: [.byteLevel])
        parts.preTokenizer = .byteLevel(try TextPattern(ByteLevel.pattern, file: file), addsSpace: false)
        let begin = config.cls ?? Array("<s>".utf8)
        let end = config.sep ?? Array("</s>".utf8)
        parts.prefix = [try special(begin, vocabulary, file: file)]
        parts.suffix = [try special(end, vocabulary, file: file)]
        parts.bosID = vocabulary.id(of: config.bos ?? begin)
        parts.eosID = vocabulary.id(of: config.eos ?? end)
        parts.padID = vocabulary.id(of: config.pad ?? Array("<pad>".utf8))
        let standard = ["<s>", "</s>", "<unk>", "<pad>", "<mask>"].map { Array($0.utf8) }
        finish(
            &parts, special: config.special.all.isEmpty ? standard : config.special.all.map(\.content),
            config.unk ?? Array("<unk>".utf8))
        if let mask = parts.added.firstIndex(where: { $0.content == Array("<mask>".utf8) }) {
            parts.added[mask].stripsLeft = true
        }
        return parts
    }

    /// Makes added tokens of the special ones that the vocabulary has.
    private static func finish(_ parts: inout Parts, special names: [[UInt8]], _ unknown: [UInt8]) {
        let vocabulary = parts.model.vocabulary
        parts.unkID = vocabulary.id(of: unknown)
        parts.added = names.compactMap { name in
            vocabulary.id(of: name).map { AddedToken(id: $0, content: name, isSpecial: true) }
        }
    }

    private static func special(_ token: [UInt8], _ vocabulary: Vocabulary, file: String) throws -> Int32 {
        guard let id = vocabulary.id(of: token) else {
            throw MeraserError.badInput(
                "\(file): the special token '\(String(decoding: token, as: UTF8.self))' is not in the vocabulary")
        }
        return id
    }

    /// The lines of a text file, without their ends.
    private static func lines(_ bytes: [UInt8], file: String) throws -> [ArraySlice<UInt8>] {
        guard String(validating: bytes, as: UTF8.self) != nil else {
            throw MeraserError.badInput("\(file) is not valid UTF-8")
        }
        var lines = bytes.split(separator: 0x0A, omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true { lines.removeLast() }
        guard !lines.isEmpty else { throw MeraserError.badInput("\(file) is empty, expected a token a line") }
        return lines.map { $0.last == 0x0D ? $0.dropLast() : $0 }
    }
}

extension JSONValue {
    /// The members of a top level that is an object.
    fileprivate func members(_ file: String) throws -> [(key: JSONString, value: JSONValue)] {
        guard let object else { throw MeraserError.badInput("\(file): the top level is \(kind), expected an object") }
        return object.members
    }
}
