import Quant

extension Tokenizer {
    /// GGUF's `tokenizer.ggml.token_type`.
    private enum GGUFTokenType {
        static let unknown = 2
        static let control = 3
        static let userDefined = 4
    }

    /// Reads a SentencePiece vocabulary (`tokenizer.ggml.model` = `llama`) from a GGUF file's metadata.
    /// Keys as in gguf.h and llama.cpp's constants; tokens that are control or unknown count as special.
    /// - Parameters:
    ///   - metadata: the metadata of the file.
    ///   - file: the file's name for errors.
    /// - Throws: ``MeraserError`` `badInput` naming the key that is missing, malformed or not supported yet.
    public convenience init(gguf metadata: Metadata, file: String) throws {
        let kind = metadata.string("tokenizer.ggml.model")
        guard kind == "llama" else {
            throw MeraserError.badInput(
                "\(file): tokenizer.ggml.model '\(kind ?? "missing")' is not supported yet, expected 'llama'")
        }
        guard let texts = metadata.strings("tokenizer.ggml.tokens"), !texts.isEmpty else {
            throw MeraserError.badInput("\(file): tokenizer.ggml.tokens is missing or no array of strings")
        }
        guard let scores = metadata.floats("tokenizer.ggml.scores"), scores.count == texts.count,
            scores.allSatisfy(\.isFinite)
        else {
            throw MeraserError.badInput(
                "\(file): tokenizer.ggml.scores is not an array of \(texts.count) finite numbers")
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
        let addsSpace = metadata.bool("tokenizer.ggml.add_space_prefix") ?? true
        let mark = Array("\u{2581}".utf8)
        let replace = Normalizer.replace([0x20], mark)
        var parts = Parts(
            model: .sentencePiece(SentencePieceModel(vocabulary: vocabulary, scores: scores, unknown: unknown)),
            decoder: [.replace(mark, [0x20]), .byteFallback, .fuse] + (addsSpace ? [.stripStart([0x20], count: 1)] : [])
        )
        parts.normalizer = addsSpace ? .sequence([.prepend(mark), replace]) : replace
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
        if let bos = parts.bosID, metadata.bool("tokenizer.ggml.add_bos_token") ?? true { parts.prefix = [bos] }
        if let eos = parts.eosID, metadata.bool("tokenizer.ggml.add_eos_token") ?? false { parts.suffix = [eos] }
        self.init(parts)
    }
}
