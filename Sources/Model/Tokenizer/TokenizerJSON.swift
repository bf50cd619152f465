import Base
import Quant

extension Tokenizer {
    /// Reads Hugging Face's tokenizer.json.
    /// - Parameters:
    ///   - json: the bytes of tokenizer.json.
    ///   - config: the bytes of tokenizer_config.json, which names BOS, EOS and the other special tokens.
    ///   - specialTokensMap: the bytes of special_tokens_map.json, for what `config` does not name.
    ///   - file: the name of tokenizer.json that errors show.
    /// - Throws: ``MeraserError`` `badInput` naming the file and what is wrong or not supported yet.
    public convenience init(
        json: [UInt8], config: [UInt8]?, specialTokensMap: [UInt8]? = nil, file: String = "tokenizer.json"
    ) throws {
        self.init(
            try json.withUnsafeBufferPointer {
                try Self.parts($0, try TokenizerConfig(config, specialTokensMap), file: file)
            })
    }

    /// Reads tokenizer.json, tokenizer_config.json and special_tokens_map.json of a model; without the first,
    /// tokenizer.model or the vocabulary files of a BERT or RoBERTa model.
    public convenience init(store: any TextFileSource) throws {
        let store = try SentencePieceFiles(store) ?? store
        let file = "\(store.path): tokenizer.json"
        let config = try TokenizerConfig(
            try store.textFile("tokenizer_config.json"), try store.textFile("special_tokens_map.json"))
        let parts = try store.withTextFile("tokenizer.json") { json in
            try json.map { try Self.parts($0, config, file: file) }
        }
        if let parts {
            self.init(parts)
        } else if var parts = try Self.olderParts(store, config) {
            try config.replacePrefixSpace(of: &parts)
            config.setFlags(of: &parts)
            self.init(parts)
        } else {
            throw MeraserError.badInput("\(file) is missing; expected a Hugging Face tokenizer beside the weights")
        }
    }

    private static func parts(
        _ text: UnsafeBufferPointer<UInt8>, _ config: TokenizerConfig, file: String
    ) throws -> Parts {
        let (root, rows) = try JSONValue.parse(text, file: file, rowsOf: "model", keys: ["vocab", "merges"])
        guard let json = try root.value("model", in: file) else {
            throw MeraserError.badInput("\(file): 'model' is missing, expected an object")
        }
        let model = try model(json, rows, file: file)
        let vocabulary = model.vocabulary
        var parts = Parts(model: model, decoder: try DecoderStep.steps(root.value("decoder", in: file), file: file))
        parts.normalizer = try root.value("normalizer", in: file).map { try Normalizer($0, file: file) }
        parts.preTokenizer = try root.value("pre_tokenizer", in: file).map { try PreTokenizer($0, file: file) }
        parts.added = try addedTokens(root, config, vocabulary, file: file)
        let ids = Dictionary(parts.added.map { ($0.content, $0.id) }) { $1 }
        func id(_ content: [UInt8]?) -> Int32? { content.flatMap { ids[$0] ?? vocabulary.id(of: $0) } }
        parts.bosID = id(config.bos)
        parts.eosID = id(config.eos)
        parts.padID = id(config.pad)
        parts.unkID = try id(config.unk ?? json.value("unk_token", in: file)?.utf8) ?? model.unknown
        if let processor = try root.value("post_processor", in: file) {
            try addPostProcessor(processor, ids, vocabulary, to: &parts, file: file)
        }
        if config.isLlamaClass { try config.replacePostProcessor(of: &parts) }
        config.replaceNormalizer(of: &parts)
        try config.replacePrefixSpace(of: &parts)
        config.setFlags(of: &parts)
        return parts
    }
}

// MARK: - Models

extension Tokenizer {
    private static func model(_ json: JSONValue, _ rows: [String: JSONRows], file: String) throws -> Model {
        let type: String
        if let name = try json.stringIfPresent("type", in: file) {
            type = name
        } else {
            // Files of 2019 and 2020 have no type: they are BPE if they have merges.
            type =
                rows["merges"] != nil || rows["vocab"] == nil
                ? "BPE" : rows["vocab"]?.isObject == true ? "WordPiece" : "Unigram"
        }
        switch type {
        case "BPE":
            let vocabulary = try Vocabulary(rows["vocab"], file: file)
            return .bpe(try BPEModel(json, vocabulary: vocabulary, merges: rows["merges"], file: file))
        case "WordPiece":
            let vocabulary = try Vocabulary(rows["vocab"], file: file)
            return .wordPiece(try WordPieceModel(json, vocabulary: vocabulary, file: file))
        case "WordLevel":
            let vocabulary = try Vocabulary(rows["vocab"], file: file)
            return .wordLevel(try WordLevelModel(json, vocabulary: vocabulary, file: file))
        case "Unigram": return .unigram(try UnigramModel(json, vocabulary: rows["vocab"], file: file))
        default: throw TokenizerPattern.unsupported("model", type, file: file)
        }
    }
}

extension Tokenizer.Model {
    /// The unknown token that a model has without a name for it.
    fileprivate var unknown: Int32? {
        if case .unigram(let model) = self { return model.unknown }
        return nil
    }
}

// MARK: - Added tokens

extension Tokenizer {
    /// `added_tokens`, changed and extended by what tokenizer_config.json says, as Transformers does when it loads.
    private static func addedTokens(
        _ root: JSONValue, _ config: TokenizerConfig, _ vocabulary: Vocabulary, file: String
    ) throws -> [AddedToken] {
        var tokens: [AddedToken] = []
        var indices: [[UInt8]: Int] = [:]
        func add(_ token: AddedToken, mayReplace: Bool, file: String) throws {
            let name = String(decoding: token.content, as: UTF8.self)
            if let known = vocabulary.id(of: token.content), known != token.id {
                throw MeraserError.badInput(
                    "\(file): added token \(quoted(name)) has id \(token.id), but \(known) in the vocabulary")
            }
            if let other = vocabulary.token(token.id), other != token.content {
                throw MeraserError.badInput(
                    "\(file): added token \(quoted(name)) has id \(token.id), which is \(quoted(other)) in the "
                        + "vocabulary")
            }
            if let index = indices[token.content] {
                guard mayReplace, tokens[index].id == token.id else {
                    throw MeraserError.badInput("\(file): added token \(quoted(name)) occurs twice")
                }
                tokens[index] = token
            } else {
                indices[token.content] = tokens.count
                tokens.append(token)
            }
        }
        for entry in try root.arrayIfPresent("added_tokens", in: file) ?? [] {
            let id = try entry.int("id", in: file)
            try add(try TokenizerConfig.addedToken(entry, id: id, file: file), mayReplace: false, file: file)
        }
        for token in config.addedTokens { try add(token, mayReplace: true, file: config.file) }
        for token in config.special.all {
            // What is only named is added all the same: with its id in the vocabulary, else behind all others.
            let known = indices[token.content].map { tokens[$0].id } ?? vocabulary.id(of: token.content)
            guard indices[token.content] == nil || token.replacesKnown else { continue }
            let next = max(vocabulary.count, Int(tokens.map(\.id).max() ?? -1) + 1)
            let added = token.flags ?? AddedToken(id: 0, content: token.content, isSpecial: true)
            try add(added.with(id: known ?? Int32(clamping: next)), mayReplace: true, file: config.file)
        }
        let limit = 2 * (vocabulary.count + tokens.count) + Vocabulary.allowedHoles
        var names: [Int32: [UInt8]] = [:]
        for token in tokens {
            let name = String(decoding: token.content, as: UTF8.self)
            guard token.id < limit else {
                throw MeraserError.badInput(
                    "\(file): added token \(quoted(name)) has id \(token.id), expected 0 to \(limit - 1)")
            }
            if let other = names.updateValue(token.content, forKey: token.id) {
                throw MeraserError.badInput(
                    "\(file): id \(token.id) is given to both \(quoted(other)) and \(quoted(name))")
            }
        }
        return tokens
    }
}

// MARK: - Post-processors

extension Tokenizer {
    private static func addPostProcessor(
        _ json: JSONValue, _ added: [[UInt8]: Int32], _ vocabulary: Vocabulary, to parts: inout Parts, file: String
    ) throws {
        switch try json.string("type", in: file) {
        case "Sequence":
            for processor in try json.array("processors", in: file) {
                guard (parts.prefix + parts.suffix).isEmpty || processor["type"]?.string == "ByteLevel" else {
                    throw MeraserError.badInput(
                        "\(file): post_processor Sequence has more than one part that adds tokens, of which `tokenizers` takes "
                            + "the second as the template of a pair; keep one")
                }
                try addPostProcessor(processor, added, vocabulary, to: &parts, file: file)
            }
        case "ByteLevel":
            break  // Changes offsets only.
        case "TemplateProcessing":
            try addTemplate(json, to: &parts, file: file)
        case "BertProcessing", "RobertaProcessing":
            parts.prefix = [try framingToken(json, "cls", parts, file: file)] + parts.prefix
            parts.suffix.append(try framingToken(json, "sep", parts, file: file))
        case let type:
            throw TokenizerPattern.unsupported("post_processor", type, file: file)
        }
        guard parts.prefix.count + parts.suffix.count <= maximumSpecialTokensAround else {
            throw MeraserError.badInput(
                "\(file): post_processor puts more than \(maximumSpecialTokensAround) tokens around a text")
        }
    }

    /// The most tokens that a post-processor may put around a text.
    private static let maximumSpecialTokensAround = 64

    /// `single` is special tokens around one `Sequence` A. A later template goes around an earlier one.
    private static func addTemplate(_ json: JSONValue, to parts: inout Parts, file: String) throws {
        var before: [Int32] = []
        var after: [Int32] = []
        var hasText = false
        for piece in try json.array("single", in: file) {
            if try piece.value("Sequence", in: file) != nil {
                guard try piece.string("Sequence", "id", in: file) == "A", !hasText else {
                    throw MeraserError.badInput("\(file): post_processor.single has a sequence other than one A")
                }
                hasText = true
                continue
            }
            let name = try piece.string("SpecialToken", "id", in: file)
            let ids = try json.array("special_tokens", name, "ids", in: file)
            for value in ids.prefix(maximumSpecialTokensAround + 1) {
                guard let number = value.int, let id = Int32(exactly: number), isToken(id, parts) else {
                    throw MeraserError.badInput(
                        "\(file): post_processor names \(quoted(name)) with id \(value.int.map(String.init) ?? value.kind), "
                            + "which is no token")
                }
                if hasText { after.append(id) } else { before.append(id) }
            }
        }
        guard hasText else { throw MeraserError.badInput("\(file): post_processor.single has no sequence A") }
        parts.prefix = before + parts.prefix
        parts.suffix += after
    }

    /// The id of `"cls": ["<s>", 0]`.
    private static func framingToken(_ json: JSONValue, _ key: String, _ parts: Parts, file: String) throws -> Int32 {
        let pair = try json.array(key, in: file)
        guard pair.count == 2, let number = pair[1].int, let id = Int32(exactly: number), isToken(id, parts) else {
            throw MeraserError.badInput("\(file): post_processor.\(key) is not a token with its id")
        }
        return id
    }

    private static func isToken(_ id: Int32, _ parts: Parts) -> Bool {
        parts.model.vocabulary.token(id) != nil || parts.added.contains { $0.id == id }
    }
}
