import Base

/// `tokenizer.ggml.token_type`, by llama.cpp's numbers; `undefined` is what early files have for normal tokens.
public enum GGUFTokenType: Int, Sendable {
    case undefined = 0
    case normal = 1
    case unknown = 2
    case control = 3
    case userDefined = 4
    case unused = 5
    case byte = 6
}

/// The tokens of a GGUF file and what its metadata says about them, checked. Thread-safe.
///
/// Source of keys and defaults: llama.cpp, gguf-py/gguf/constants.py and src/llama-vocab.cpp.
struct GGUFVocabulary: Sendable {
    /// How texts become tokens.
    enum Kind: Sendable {
        /// SentencePiece's BPE by scores (`llama`).
        case sentencePiece
        /// Byte-level BPE by merges (`gpt2`).
        case byteLevel
    }

    let kind: Kind
    /// By id.
    let tokens: [JSONString]
    /// By id.
    let types: [GGUFTokenType]
    let bos: Int?
    let eos: Int?
    let unknown: Int?
    let padding: Int?
    /// The ends of a turn and of a message, where the file names them.
    let otherEnds: [Int]
    let file: String

    /// Nil for a file without a vocabulary. Throws `badInput` naming the key that is missing, malformed or not supported.
    init?(_ metadata: Metadata, file: String) throws {
        guard let model = metadata["tokenizer.ggml.model"] else { return nil }
        switch model {
        case .string("llama"): kind = .sentencePiece
        case .string("gpt2"): kind = .byteLevel
        case .string("none"), .string("no_vocab"): return nil
        default:
            throw MeraserError.badInput(
                "\(file): tokenizer.ggml.model is \(model); supported are 'llama' (SentencePiece's BPE) and 'gpt2' "
                    + "(byte-level BPE)")
        }
        guard let texts = metadata.strings("tokenizer.ggml.tokens"), !texts.isEmpty else {
            throw MeraserError.badInput("\(file): tokenizer.ggml.tokens is missing or no array of strings")
        }
        let numbers: [Int]
        if metadata["tokenizer.ggml.token_type"] == nil {
            numbers = [Int](repeating: GGUFTokenType.normal.rawValue, count: texts.count)
        } else {
            numbers = metadata.ints("tokenizer.ggml.token_type") ?? []
        }
        guard numbers.count == texts.count else {
            throw MeraserError.badInput(
                "\(file): tokenizer.ggml.token_type is not an array of \(texts.count) integers, one for each token")
        }
        types = try numbers.enumerated().map { id, number in
            guard let type = GGUFTokenType(rawValue: number) else {
                throw MeraserError.badInput(
                    "\(file): tokenizer.ggml.token_type of token \(id) is \(number), expected 0 to 6")
            }
            return type
        }
        func id(_ name: String, default fallback: Int? = nil) throws -> Int? {
            let key = "tokenizer.ggml.\(name)_token_id"
            guard let value = metadata[key] else { return fallback.flatMap { texts.indices.contains($0) ? $0 : nil } }
            guard let id = metadata.int(key), texts.indices.contains(id) else {
                throw MeraserError.badInput("\(file): \(key) is \(value), expected 0 to \(texts.count - 1)")
            }
            return id
        }
        // llama.cpp's ids where a file of SentencePiece's names none.
        let isSentencePiece = kind == .sentencePiece
        bos = try id("bos", default: isSentencePiece ? 1 : nil)
        eos = try id("eos", default: isSentencePiece ? 2 : nil)
        unknown = try id("unknown", default: isSentencePiece ? 0 : nil)
        padding = try id("padding")
        otherEnds = try [id("eot"), id("eom")].compactMap { $0 }
        tokens = texts.map { JSONString($0) }
        self.file = file
    }

    /// What Transformers' `generate` reads: ids of BOS, of everything that ends a text, and of padding; nil if there is
    /// no end. llama.cpp also ends at tokens of certain names (`<|endoftext|>`), named in its metadata or not.
    var generationConfig: JSONValue? {
        guard let eos else { return nil }
        var ends = [eos]
        for end in otherEnds where !ends.contains(end) { ends.append(end) }
        var members: [(key: String, value: JSONValue)] = []
        if let bos { members.append(("bos_token_id", .integer(bos))) }
        members.append(("eos_token_id", ends.count == 1 ? .integer(eos) : .array(ends.map { .integer($0) })))
        if let padding { members.append(("pad_token_id", .integer(padding))) }
        return .object(JSONObject(members))
    }
}
