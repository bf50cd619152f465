import Base
import Quant

/// A model's tokenizer and chat template as the keys of a GGUF file. What they stand for has one description, GGUF's
/// reader (`GGUFTextFiles`): it reads what is written here, and must make the model's own ids of it.
public struct GGUFVocabularyKeys: Sendable {
    /// The keys `tokenizer.…`.
    public let metadata: Metadata
    /// What the user should know.
    public let warnings: [String]

    /// The keys of a model whose embedding has that many rows; of a model without tokenizer that it has none.
    ///
    /// - Throws: `badInput` for a tokenizer that GGUF cannot say, and what reading it throws.
    public init(of store: any TextFileSource, vocabularySize: Int) throws {
        let files: any TextFileSource = try SentencePieceFiles(store) ?? store
        if let bytes = try files.textFile("tokenizer.json") {
            let json = try JSONValue.parse(bytes, file: "\(store.path): tokenizer.json")
            let made = try Maker(files, json, tokenizer: Tokenizer(store: store), vocabularySize: vocabularySize)
            (metadata, warnings) = (made.metadata, made.warnings)
            return
        }
        if let name = try HuggingFaceFiles.vocabularyNames.first(where: { try files.textFile($0) != nil }) {
            throw MeraserError.badInput(
                "\(store.path) has a tokenizer of \(name); a GGUF file can hold that of a tokenizer.json only")
        }
        var none = Metadata()
        none["tokenizer.ggml.model"] = .string("none")
        // Whoever writes the weights says that there is none.
        (metadata, warnings) = (none, [])
    }
}

/// Puts the keys together.
private struct Maker {
    private(set) var metadata = Metadata()
    private(set) var warnings: [String] = []

    private let path: String
    private let tokenizer: Tokenizer
    /// tokenizer.json.
    private let json: JSONValue
    private let tokens: [String]

    init(_ files: any TextFileSource, _ json: JSONValue, tokenizer: Tokenizer, vocabularySize: Int) throws {
        let path = files.path
        guard tokenizer.vocabularySize <= vocabularySize else {
            throw MeraserError.badInput(
                "\(path): the tokenizer has \(tokenizer.vocabularySize) tokens, the embedding \(vocabularySize) rows; "
                    + "llama.cpp needs a row for each")
        }
        tokens = try (0..<vocabularySize).map { id in
            guard let token = tokenizer.token(Int32(id)) else { return "[PAD\(id)]" }
            guard let text = String(validating: token, as: UTF8.self) else {
                throw MeraserError.badInput("\(path): token \(id) is not valid UTF-8")
            }
            return text
        }
        (self.path, self.tokenizer, self.json) = (path, tokenizer, json)
        try addSpecialTokens(files)
        try addTemplates(files)
        try addModel()
    }

    // MARK: Tokens

    /// The vocabulary with merges or scores, as the first of the ways to cut words that gives the model's ids.
    private mutating func addModel() throws {
        guard let model = json["model"], model["merges"] != nil else {
            throw MeraserError.badInput(
                "\(path): tokenizer.json is of type \(quoted(json["model"]?["type"]?.string ?? "none")); a GGUF file can "
                    + "hold BPE with merges only")
        }
        let isSentencePiece = model["byte_fallback"]?.bool == true
        metadata["tokenizer.ggml.tokens"] = .array(.string(tokens))
        metadata["tokenizer.ggml.token_type"] = .array(.int32(types(isSentencePiece).map { Int32($0.rawValue) }))
        let merges = try merges(model)
        if isSentencePiece {
            metadata["tokenizer.ggml.model"] = .string("llama")
            metadata["tokenizer.ggml.scores"] = .array(.float32(scores(merges)))
            let first = tokenizer.encode("a", addSpecialTokens: false).first.flatMap(tokenizer.token) ?? []
            metadata["tokenizer.ggml.add_space_prefix"] = .bool(first.starts(with: Array("\u{2581}".utf8)))
            if let text = try differing() { throw other(text) }
            return
        }
        metadata["tokenizer.ggml.model"] = .string("gpt2")
        metadata["tokenizer.ggml.merges"] = .array(.string(merges.map { "\($0.left) \($0.right)" }))
        let names = GGUFWords.names(
            like: json["pre_tokenizer"] ?? .null, ignoresMerges: model["ignore_merges"]?.bool == true)
        var first: String?
        for name in names {
            metadata["tokenizer.ggml.pre"] = .string(name)
            guard let text = try differing() else { return }
            first = first ?? text
        }
        throw other(first ?? "")
    }

    private func other(_ text: String) -> MeraserError {
        .badInput(
            "\(path): none of llama.cpp's tokenizers gives this model's ids, of \(quoted(text)) for one; it can be written as a "
                + "folder (`format` hf) only")
    }

    private func types(_ isSentencePiece: Bool) -> [GGUFTokenType] {
        (0..<Int32(tokens.count)).map { id in
            guard tokenizer.token(id) != nil else { return .unused }
            if isSentencePiece, id == tokenizer.unkID { return .unknown }
            if tokenizer.isAdded(id) { return tokenizer.isSpecial(id) ? .control : .userDefined }
            return isSentencePiece && isByte(tokens[Int(id)]) ? .byte : .normal
        }
    }

    /// `<0x0A>`.
    private func isByte(_ token: String) -> Bool {
        token.utf8.count == 6 && token.hasPrefix("<0x") && token.hasSuffix(">")
            && UInt8(token.dropFirst(3).dropLast(), radix: 16) != nil
    }

    /// Pairs of tokens, best first.
    private func merges(_ model: JSONValue) throws -> [(left: String, right: String)] {
        try model.array("merges", in: "\(path): tokenizer.json").enumerated().map { rank, merge in
            // Bytes: a space and a combining mark behind it are one Character.
            let line = merge.utf8?.split(separator: 0x20, maxSplits: 1, omittingEmptySubsequences: false)
            let parts =
                line?.map { String(decoding: $0, as: UTF8.self) } ?? merge.array?.compactMap(\.string) ?? []
            guard parts.count == 2 else {
                throw MeraserError.badInput("\(path): tokenizer.json: merge \(rank) is not a pair of tokens")
            }
            return (parts[0], parts[1])
        }
    }

    /// Scores that give these merges: a token's falls with the rank of the first that makes it; what none makes comes
    /// last.
    private func scores(_ merges: [(left: String, right: String)]) -> [Float] {
        // Bytes: Strings that differ only in how characters are composed are equal.
        let ranks = Dictionary(
            merges.enumerated().map { (Array($1.left.utf8) + Array($1.right.utf8), $0) },
            uniquingKeysWith: { first, _ in first })
        return tokens.map { -Float(ranks[Array($0.utf8)] ?? merges.count) }
    }

    /// A text of which the file's tokenizer makes other ids; nil: there is none.
    private func differing() throws -> String? {
        let files = try GGUFTextFiles(metadata: metadata, tensors: [], path: "\(path) as a GGUF file")
        let made = try Tokenizer(store: files)
        return Self.probes.first { tokenizer.encode($0) != made.encode($0) }
    }

    /// Texts that the families cut differently: digits, contractions, white space, line ends, signs, scripts, capitals.
    private static let probes = [
        "The quick brown fox didn't see that it's 3 33 333 3333 33333 333333 days in 2024, 1,234.56 or 0x1F.",
        "I'VE WE'LL 'tIS don't'll  two  spaces   three    four\tTab\t\ttabs \n line\n\n lines \r\n\r\nends \n \n\n end ",
        "def f(x):\n    return x[0] + {'a': 1}['a'] // 2 != None  # ok?\n\n\n\tpass;;; --> <= >= && || !!! ... \"\"\" ``` ~~~",
        "camelCase HTTPServer iPhone XMLHttpRequest snake_case kebab-case a/b/c\\d C:\\x 100% $5 @user #tag a+b=c (x) [y] {z} <w>",
        "Straße naïve façade Ελλάδα Привет, мир! שלום مرحبا नमस्ते สวัสดี 你好，世界。 これはテストです。 한국어 １２３ ½ ² Ⅷ",
        "🚀 🏳️‍🌈 👩‍👩‍👧‍👧 e² = mc², “quotes” ‘single’ – — … € £ ¥ © ® ™ \u{A0}nbsp \u{3000}wide \u{200B}zero",
        " leading", "trailing ", "", " ", "\n", "a", "'s 's' s'",
        "https://example.com/a?b=c&d=e#f user.name+tag@mail.org",
    ]

    // MARK: Special tokens and templates

    private mutating func addSpecialTokens(_ files: any TextFileSource) throws {
        func set(_ name: String, _ id: Int32?) {
            if let id { metadata["tokenizer.ggml.\(name)_token_id"] = .uint32(UInt32(id)) }
        }
        let (prefix, suffix) = tokenizer.specialTokensAround
        let bos = prefix.first ?? tokenizer.bosID
        let stops = try StopTokens.read(path: path, vocabularySize: tokens.count, textFile: files.textFile).sorted()
        let eos =
            suffix.first ?? tokenizer.eosID.flatMap { stops.isEmpty || stops.contains($0) ? $0 : nil } ?? stops.first
        guard prefix.count <= 1, suffix.count <= 1 else {
            throw MeraserError.badInput(
                "\(path): the tokenizer puts more than one token before or behind a text, which GGUF cannot say")
        }
        set("bos", bos)
        set("eos", eos)
        set("unknown", tokenizer.unkID)
        set("padding", tokenizer.padID)
        let others = stops.filter { $0 != eos }
        set("eot", others.first)
        set("eom", others.dropFirst().first)
        if others.count > 2 {
            warnings.append(
                "of the \(stops.count) tokens that end a text GGUF can name 3: left out are "
                    + others.dropFirst(2).map { quoted(tokens[Int($0)]) }.joined(separator: ", "))
        }
        metadata["tokenizer.ggml.add_bos_token"] = .bool(!prefix.isEmpty)
        metadata["tokenizer.ggml.add_eos_token"] = .bool(!suffix.isEmpty)
    }

    /// `chat_template` and, where the model has several, the others under their names.
    private mutating func addTemplates(_ files: any TextFileSource) throws {
        let key = "tokenizer.chat_template"
        let templates = try ChatTemplate.sources(store: files) ?? []
        for (name, text) in templates {
            metadata[name == "default" ? key : "\(key).\(name)"] = .string(text)
        }
        let named = templates.map(\.name).filter { $0 != "default" }
        if !named.isEmpty { metadata["tokenizer.chat_templates"] = .array(.string(named)) }
    }
}
