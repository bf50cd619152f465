import Base

/// The special tokens that tokenizer_config.json and special_tokens_map.json name, as Transformers 4.57 reads them.
///
/// special_tokens_map.json counts only where tokenizer_config.json has no `added_tokens_decoder`, and then before it. What
/// neither names, the tokenizer's class may.
struct SpecialTokens: Sendable {
    /// A named token: its text, and the flags that it has if it is written as an object.
    struct Token: Sendable {
        let content: [UInt8]
        let flags: AddedToken?
        /// Its flags hold also where it is an added token already: Transformers adds such objects once more.
        var replacesKnown = false
    }

    /// Transformers' attributes, in its order.
    private static let attributes = [
        "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token",
    ]

    /// By attribute, in Transformers' order; those of `extra_special_tokens` at the end.
    private(set) var named: [(name: String, token: Token)] = []
    /// `additional_special_tokens`.
    private(set) var additional: [Token] = []

    /// Every token, each once, in the order in which Transformers adds those that the vocabulary lacks.
    var all: [Token] {
        var seen: Set<[UInt8]> = []
        let standard = named.filter { Self.attributes.contains($0.name) }.map(\.token)
        let extra = named.filter { !Self.attributes.contains($0.name) }.map(\.token)
        return (standard + additional + extra).filter { !$0.content.isEmpty && seen.insert($0.content).inserted }
    }

    /// The token of that attribute.
    subscript(_ name: String) -> [UInt8]? { named.first { $0.name == name }?.token.content }

    /// What Transformers gives chat templates: texts by attribute, and the list of the additional ones.
    var variables: JSONObject {
        var members: [(key: String, value: JSONValue)] = named.filter { !$0.token.content.isEmpty }.map {
            ($0.name, .string(JSONString(utf8: $0.token.content)))
        }
        if !additional.isEmpty {
            members.append(
                ("additional_special_tokens", .array(additional.map { .string(JSONString(utf8: $0.content)) })))
        }
        return JSONObject(members)
    }

    /// Reads both files; each may be missing.
    ///
    /// - Parameter file: what errors call tokenizer_config.json.
    /// - Throws: a bad-input error that names the file and the key for what is no token.
    init(config: JSONValue?, map: JSONValue?, file: String) throws {
        let mapFile = "special_tokens_map.json"
        let usedMap = try config?.value("added_tokens_decoder", in: file) == nil ? map?.object : nil
        let tokenizerClass = try config?.stringIfPresent("tokenizer_class", in: file)
        let defaults = Self.classDefaults.first { $0.classes.contains(tokenizerClass ?? "") }?.tokens ?? [:]
        for name in Self.attributes {
            if let value = usedMap?[name] {
                try add(name, value, mapFile)
            } else if let value = config?[name] {
                try add(name, value, file)
            } else if let text = defaults[name] {
                named.append((name, Token(content: Array(text.utf8), flags: nil)))
            }
        }
        let key = "additional_special_tokens"
        for (source, name) in [(config?.object, file), (usedMap, mapFile)] {
            guard let value = source?[key], !value.isNull else { continue }
            guard let tokens = value.array else {
                throw MeraserError.badInput("\(name): '\(key)' is \(value.kind), expected a list of tokens")
            }
            for value in tokens {
                var token = try Self.token(value, key, name)
                token.replacesKnown = token.flags != nil
                if !additional.contains(where: { $0.content == token.content }) { additional.append(token) }
            }
        }
        for (name, value) in try config?.objectIfPresent("extra_special_tokens", in: file)?.members ?? [] {
            guard !Self.attributes.contains(name.string) else {
                throw MeraserError.badInput(
                    "\(file): 'extra_special_tokens' names '\(name.string)', which has a key of its own")
            }
            try add(name.string, value, file)
        }
    }

    private mutating func add(_ name: String, _ value: JSONValue, _ file: String) throws {
        if !value.isNull { named.append((name, try Self.token(value, name, file))) }
    }

    private static func token(_ value: JSONValue, _ key: String, _ file: String) throws -> Token {
        if let content = value.utf8 { return Token(content: content, flags: nil) }
        guard value.object != nil else {
            throw MeraserError.badInput("\(file): '\(key)' is \(value.kind), expected a token")
        }
        // The id comes from the vocabulary.
        var flags = try TokenizerConfig.addedToken(value, id: 0, file: file)
        flags.isSpecial = true
        return Token(content: flags.content, flags: flags)
    }

    /// What the constructors of Transformers' classes name where the files do not.
    private static let classDefaults: [(classes: Set<String>, tokens: [String: String])] = [
        (
            ["LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast"],
            ["bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"]
        ),
        (
            ["GemmaTokenizer", "GemmaTokenizerFast"],
            ["bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>"]
        ),
        (
            ["GPT2Tokenizer", "GPT2TokenizerFast"],
            ["bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"]
        ),
        (
            ["Qwen2Tokenizer", "Qwen2TokenizerFast"],
            ["eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": "<|endoftext|>"]
        ),
        (
            ["BertTokenizer", "BertTokenizerFast"],
            [
                "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
                "mask_token": "[MASK]",
            ]
        ),
        (
            ["RobertaTokenizer", "RobertaTokenizerFast"],
            [
                "bos_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "cls_token": "<s>", "unk_token": "<unk>",
                "pad_token": "<pad>", "mask_token": "<mask>",
            ]
        ),
    ]
}
