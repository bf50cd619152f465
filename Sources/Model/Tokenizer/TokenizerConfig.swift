import Quant

/// What tokenizer_config.json and special_tokens_map.json say about a tokenizer.
struct TokenizerConfig: Sendable {
    let file = "tokenizer_config.json"
    private(set) var bos: [UInt8]?
    private(set) var eos: [UInt8]?
    private(set) var unk: [UInt8]?
    private(set) var pad: [UInt8]?
    private(set) var sep: [UInt8]?
    private(set) var cls: [UInt8]?
    /// Every token that is named as special, in the order of Transformers' attributes.
    private(set) var specialTokens: [[UInt8]] = []
    /// `added_tokens_decoder`; overrides the flags in tokenizer.json.
    private(set) var addedTokens: [AddedToken] = []
    /// Transformers' Llama classes rebuild the post-processor from the next two, whatever tokenizer.json says.
    private(set) var isLlamaClass = false
    /// Transformers' BERT classes set these on the normalizer, whatever tokenizer.json says.
    private(set) var bertNormalizer: BertNormalizer?
    private var addsBOS = true
    private var addsEOS = false

    /// Reads both files; each may be missing.
    init(_ config: [UInt8]?, _ specialTokensMap: [UInt8]?) throws {
        let root = try config.map { try JSONValue.parse($0, file: file) }
        let mapFile = "special_tokens_map.json"
        let map = try specialTokensMap.map { try JSONValue.parse($0, file: mapFile) }
        func name(_ key: String) throws -> [UInt8]? {
            try root.flatMap { try Self.content($0, key, file: file) }
                ?? map.flatMap { try Self.content($0, key, file: mapFile) }
        }
        bos = try name("bos_token")
        eos = try name("eos_token")
        unk = try name("unk_token")
        pad = try name("pad_token")
        sep = try name("sep_token")
        cls = try name("cls_token")
        let others = [sep, cls, try name("mask_token")]
        var seen: Set<[UInt8]> = []
        specialTokens = ([bos, eos, unk] + others + [pad]).compactMap { $0 }.filter {
            !$0.isEmpty && seen.insert($0).inserted
        }
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
    }

    /// The text of a special token: a string, or an object with `content`.
    private static func content(_ root: JSONValue, _ key: String, file: String) throws -> [UInt8]? {
        guard let value = try root.value(key, in: file) else { return nil }
        return try value.object == nil ? root.utf8(key, in: file) : value.utf8("content", in: file)
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
}
