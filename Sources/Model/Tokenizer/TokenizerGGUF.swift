import Quant

extension Tokenizer {
    /// GGUF's `tokenizer.ggml.token_type`.
    private enum GGUFTokenType {
        static let unknown = 2
        static let control = 3
        static let userDefined = 4
    }

    /// Reads the tokenizer of a GGUF file's metadata: SentencePiece (`tokenizer.ggml.model` = `llama`) or byte-level BPE
    /// (`gpt2`). Keys as in gguf.h and llama.cpp's constants; tokens that are control or unknown count as special.
    /// - Parameters:
    ///   - metadata: the metadata of the file.
    ///   - file: the file's name for errors.
    /// - Throws: ``MeraserError`` `badInput` naming the key that is missing, malformed or not supported yet.
    public convenience init(gguf metadata: Metadata, file: String) throws {
        guard let texts = metadata.strings("tokenizer.ggml.tokens"), !texts.isEmpty else {
            throw MeraserError.badInput("\(file): tokenizer.ggml.tokens is missing or no array of strings")
        }
        let types = metadata.ints("tokenizer.ggml.token_type") ?? [Int](repeating: 1, count: texts.count)
        guard types.count == texts.count else {
            throw MeraserError.badInput(
                "\(file): tokenizer.ggml.token_type has \(types.count) of \(texts.count) entries")
        }
        func id(_ key: String) throws -> Int32? {
            guard let value = metadata["tokenizer.ggml.\(key)_token_id"] else { return nil }
            guard let id = metadata.int("tokenizer.ggml.\(key)_token_id"), texts.indices.contains(id) else {
                throw MeraserError.badInput(
                    "\(file): tokenizer.ggml.\(key)_token_id is \(value), expected 0 to \(texts.count - 1)")
            }
            return Int32(id)
        }
        let vocabulary = try Vocabulary(texts.enumerated().map { (Array($1.utf8), $0) }, file: file)
        let unknown = try id("unknown")
        var parts: Parts
        switch metadata.string("tokenizer.ggml.model") {
        case "llama":
            parts = try Self.sentencePiece(metadata, vocabulary, unknown: unknown, file: file)
        case "gpt2":
            parts = try Self.byteLevel(metadata, vocabulary, file: file)
        case let kind:
            throw MeraserError.badInput(
                "\(file): tokenizer.ggml.model '\(kind ?? "missing")' is not supported yet, expected 'llama' or 'gpt2'")
        }
        for (index, type) in types.enumerated() {
            let isSpecial = type == GGUFTokenType.control || type == GGUFTokenType.unknown
            guard isSpecial || type == GGUFTokenType.userDefined else { continue }
            parts.added.append(
                AddedToken(id: Int32(index), content: Array(texts[index].utf8), isSpecial: isSpecial))
        }
        parts.bosID = try id("bos")
        parts.eosID = try id("eos")
        parts.unkID = unknown
        parts.padID = try id("padding")
        let isSentencePiece = metadata.string("tokenizer.ggml.model") == "llama"
        if let bos = parts.bosID, metadata.bool("tokenizer.ggml.add_bos_token") ?? isSentencePiece {
            parts.prefix = [bos]
        }
        if let eos = parts.eosID, metadata.bool("tokenizer.ggml.add_eos_token") ?? false { parts.suffix = [eos] }
        self.init(parts)
    }

    private static func sentencePiece(
        _ metadata: Metadata, _ vocabulary: Vocabulary, unknown: Int32?, file: String
    ) throws -> Parts {
        let count = vocabulary.endID
        guard let scores = metadata.floats("tokenizer.ggml.scores"), scores.count == count,
            scores.allSatisfy(\.isFinite)
        else {
            throw MeraserError.badInput("\(file): tokenizer.ggml.scores is not an array of \(count) finite numbers")
        }
        let addsSpace = metadata.bool("tokenizer.ggml.add_space_prefix") ?? true
        let mark = Array("\u{2581}".utf8)
        let replace = Normalizer.replace([0x20], mark)
        var parts = Parts(
            model: .sentencePiece(SentencePieceModel(vocabulary: vocabulary, scores: scores, unknown: unknown)),
            decoder: [.replace(mark, [0x20]), .byteFallback, .fuse] + (addsSpace ? [.stripStart([0x20], count: 1)] : [])
        )
        parts.normalizer = addsSpace ? .sequence([.prepend(mark), replace]) : replace
        return parts
    }

    /// What `tokenizer.ggml.pre` stands for: the pattern of a word, and what else differs between the families, as
    /// their own tokenizer.json files say.
    private static func byteLevel(_ metadata: Metadata, _ vocabulary: Vocabulary, file: String) throws -> Parts {
        guard let merges = metadata.strings("tokenizer.ggml.merges") else {
            throw MeraserError.badInput("\(file): tokenizer.ggml.merges is missing or no array of strings")
        }
        let contractions = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
        let pattern: String
        let name = metadata.string("tokenizer.ggml.pre")
        switch name {
        case "gpt-2", "mpt", "olmo", "jais":
            pattern = ByteLevel.pattern
        case "llama-bpe", "llama3", "qwen2":
            let digits = name == "qwen2" ? "" : "{1,3}"
            pattern =
                contractions + #"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"# + digits
                + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
        default:
            throw MeraserError.badInput("\(file): tokenizer.ggml.pre '\(name ?? "missing")' is not supported yet")
        }
        let isLlama3 = name == "llama-bpe" || name == "llama3"
        let model = try BPEModel(vocabulary: vocabulary, merges: merges, ignoresMerges: isLlama3, file: file)
        var parts = Parts(model: .bpe(model), decoder: [.byteLevel, .fuse])
        parts.preTokenizer = .byteLevel(try TextPattern(pattern, file: file), addsSpace: false)
        if name == "qwen2" { parts.normalizer = .unicode(.composed) }
        return parts
    }
}
