import Base

/// What tokenizer_config.json and special_tokens_map.json say about a tokenizer.
struct TokenizerConfig: Sendable {
    let file = "tokenizer_config.json"
    /// The special tokens that the files name.
    let special: SpecialTokens
    var bos: [UInt8]? { special["bos_token"] }
    var eos: [UInt8]? { special["eos_token"] }
    var unk: [UInt8]? { special["unk_token"] }
    var pad: [UInt8]? { special["pad_token"] }
    var sep: [UInt8]? { special["sep_token"] }
    var cls: [UInt8]? { special["cls_token"] }
    /// `added_tokens_decoder`; overrides the flags in tokenizer.json.
    private(set) var addedTokens: [AddedToken] = []
    /// Transformers' Llama classes rebuild the post-processor from the next two, whatever tokenizer.json says.
    private(set) var isLlamaClass = false
    /// Transformers' BERT classes set these on the normalizer, whatever tokenizer.json says.
    private(set) var bertNormalizer: BertNormalizer?
    private var addsBOS = true
    private var addsEOS = false
    /// `split_special_tokens`: special tokens that are written out in a text are text.
    private(set) var splitsSpecialTokens = false
    /// `clean_up_tokenization_spaces`: decoding takes spaces out (`SpaceCleanup`).
    private(set) var cleansUpSpaces = false
    /// `add_prefix_space`; nil where it is null.
    private var addsPrefixSpace: Bool?

    /// Reads both files; each may be missing.
    init(_ config: [UInt8]?, _ specialTokensMap: [UInt8]?) throws {
        let name = file
        let root = try config.map { try JSONValue.parse($0, file: name) }
        let map = try specialTokensMap.map { try JSONValue.parse($0, file: "special_tokens_map.json") }
        special = try SpecialTokens(config: root, map: map, file: file)
        guard let root else { return }
        for (key, value) in try root.objectIfPresent("added_tokens_decoder", in: file)?.members ?? [] {
            guard let id = Int(key.string) else {
                throw MeraserError.badInput("\(file): 'added_tokens_decoder.\(key.string)' is not an id")
            }
            addedTokens.append(try Self.addedToken(value, id: id, file: file))
        }
        let llamaClasses = [
            "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast", "GemmaTokenizer",
            "GemmaTokenizerFast",
        ]
        if ["BertTokenizer", "BertTokenizerFast"].contains(
            try root.stringIfPresent("tokenizer_class", in: file) ?? "")
        {
            var normalizer = BertNormalizer()
            normalizer.lowersCase = try root.boolIfPresent("do_lower_case", in: file) ?? true
            normalizer.spacesIdeographs = try root.boolIfPresent("tokenize_chinese_chars", in: file) ?? true
            normalizer.stripsAccents = try root.boolIfPresent("strip_accents", in: file)
            bertNormalizer = normalizer
        }
        isLlamaClass = llamaClasses.contains(try root.stringIfPresent("tokenizer_class", in: file) ?? "")
        addsBOS = try root.boolIfPresent("add_bos_token", in: file) ?? true
        addsEOS = try root.boolIfPresent("add_eos_token", in: file) ?? false
        splitsSpecialTokens = try root.boolIfPresent("split_special_tokens", in: file) ?? false
        cleansUpSpaces = try root.boolIfPresent("clean_up_tokenization_spaces", in: file) ?? false
        addsPrefixSpace = try root.boolIfPresent("add_prefix_space", in: file)
        if addsPrefixSpace == nil, !isLlamaClass, root["add_prefix_space"]?.isNull != true { addsPrefixSpace = false }
    }

    /// An added token from its JSON object.
    static func addedToken(_ json: JSONValue, id: Int, file: String) throws -> AddedToken {
        let content = try json.utf8("content", in: file)
        guard let id32 = Int32(exactly: id), id >= 0 else {
            throw MeraserError.badInput(
                "\(file): added token '\(String(decoding: content, as: UTF8.self))' has id \(id), expected 0 or more")
        }
        var token = AddedToken(id: id32, content: content)
        token.isSpecial = try json.boolIfPresent("special", in: file) ?? false
        token.stripsLeft = try json.boolIfPresent("lstrip", in: file) ?? false
        token.stripsRight = try json.boolIfPresent("rstrip", in: file) ?? false
        token.isSingleWord = try json.boolIfPresent("single_word", in: file) ?? false
        token.isNormalized = try json.boolIfPresent("normalized", in: file) ?? !token.isSpecial
        return token
    }

    /// What BertTokenizerFast does on loading: case, accents and ideographs as the configuration says.
    func replaceNormalizer(of parts: inout Tokenizer.Parts) {
        guard let bertNormalizer, case .bert(let old) = parts.normalizer else { return }
        var normalizer = bertNormalizer
        normalizer.cleansText = old.cleansText
        parts.normalizer = .bert(normalizer)
    }

    /// What Transformers does on loading with `add_prefix_space` (false where it is not given): the byte-level pre-tokenizer
    /// takes it over, whatever tokenizer.json says.
    ///
    /// - Throws: a bad-input error for Llama's classes, which then make the tokenizer anew from tokenizer.model, unless
    ///   tokenizer.json says the same.
    func replacePrefixSpace(of parts: inout Tokenizer.Parts) throws {
        guard let addsPrefixSpace else { return }
        if isLlamaClass {
            guard parts.putsSpaceFirst == addsPrefixSpace else {
                throw MeraserError.badInput(
                    "\(file): add_prefix_space is \(addsPrefixSpace), tokenizer.json has it the other way round; make it anew "
                        + "from tokenizer.model, or remove the key")
            }
        } else if case .byteLevel(let pattern, _)? = parts.preTokenizer {
            parts.preTokenizer = .byteLevel(pattern, addsSpace: addsPrefixSpace)
        }
    }

    /// What LlamaTokenizerFast does on loading: BOS and EOS as `add_bos_token` (true) and `add_eos_token` (false) say.
    func replacePostProcessor(of parts: inout Tokenizer.Parts) throws {
        func id(_ id: Int32?, _ adds: Bool, _ name: String) throws -> [Int32] {
            guard adds else { return [] }
            guard let id else {
                throw MeraserError.badInput("\(file): add_\(name)_token is true but \(name)_token is no known token")
            }
            return [id]
        }
        parts.prefix = try id(parts.bosID, addsBOS, "bos")
        parts.suffix = try id(parts.eosID, addsEOS, "eos")
    }

    /// Hands on what is said about the text's special tokens and about decoding.
    func setFlags(of parts: inout Tokenizer.Parts) {
        parts.specialTokens = special.variables
        parts.splitsSpecialTokens = splitsSpecialTokens
        parts.cleansUpSpaces = cleansUpSpaces
    }
}

extension Tokenizer.Parts {
    /// True if SentencePiece's mark of a word's beginning is put before a text.
    fileprivate var putsSpaceFirst: Bool {
        func prepends(_ normalizer: Normalizer) -> Bool {
            switch normalizer {
            case .prepend: true
            case .sequence(let steps): steps.contains(where: prepends)
            default: false
            }
        }
        switch preTokenizer {
        case .metaspace(_, let scheme, _): return scheme != .never
        case .byteLevel(_, let addsSpace): return addsSpace
        default: return normalizer.map(prepends) ?? false
        }
    }
}
