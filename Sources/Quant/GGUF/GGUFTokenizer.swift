import Base

/// tokenizer.json and tokenizer_config.json of a GGUF file's vocabulary.
///
/// They make the ids that llama.cpp makes, in `tokenizers`, Transformers and meraser alike. Where a family's own
/// tokenizer.json normalizes text (NFC), this one does too, and llama.cpp does not.
struct GGUFTokenizer {
    private let vocabulary: GGUFVocabulary
    private let metadata: Metadata
    private let words: GGUFWords?
    private let addsBOS: Bool
    private let addsEOS: Bool

    /// Throws `badInput` naming a pre-tokenizer that is not known, or a switch that is no boolean.
    init(_ vocabulary: GGUFVocabulary, _ metadata: Metadata) throws {
        self.vocabulary = vocabulary
        self.metadata = metadata
        let file = vocabulary.file
        words = vocabulary.kind == .byteLevel ? try GGUFWords(metadata, file: file) : nil
        addsBOS = try Self.flag("add_bos_token", metadata, default: words?.addsBOS ?? true, file: file)
        addsEOS = try Self.flag("add_eos_token", metadata, default: false, file: file)
        guard !addsBOS || vocabulary.bos != nil, !addsEOS || vocabulary.eos != nil else {
            let name = addsBOS && vocabulary.bos == nil ? "bos" : "eos"
            throw MeraserError.badInput(
                "\(file): tokenizer.ggml.add_\(name)_token is true, but there is no tokenizer.ggml.\(name)_token_id")
        }
    }

    private static func flag(_ name: String, _ metadata: Metadata, default fallback: Bool, file: String) throws -> Bool
    {
        let key = "tokenizer.ggml.\(name)"
        guard let value = metadata[key] else { return fallback }
        guard case .bool(let flag) = value else {
            throw MeraserError.badInput("\(file): \(key) is \(value), expected a boolean")
        }
        return flag
    }

    /// tokenizer.json. Throws `badInput` for a token or a merge that occurs twice, and for merges or scores that are
    /// missing, malformed or too many.
    func tokenizerJSON() throws -> JSONValue {
        let parts = try words.map { try byteLevel($0) } ?? sentencePiece()
        return [
            "version": .text("1.0"), "truncation": .null, "padding": .null,
            "added_tokens": .array(addedTokens.map { id, token in token.json(id: id) }),
            "normalizer": parts.normalizer, "pre_tokenizer": parts.preTokenizer, "post_processor": postProcessor,
            "decoder": parts.decoder, "model": parts.model,
        ]
    }

    private typealias Parts = (normalizer: JSONValue, preTokenizer: JSONValue, decoder: JSONValue, model: JSONValue)

    // MARK: Byte-level BPE

    private func byteLevel(_ words: GGUFWords) throws -> Parts {
        (
            words.isComposed ? ["type": .text("NFC")] : .null, words.preTokenizer,
            [
                "type": .text("ByteLevel"), "add_prefix_space": .bool(true), "trim_offsets": .bool(true),
                "use_regex": .bool(true),
            ],
            try model(
                merges: try fileMerges(), unknown: nil, isSentencePiece: false, ignoresMerges: words.ignoresMerges)
        )
    }

    /// `tokenizer.ggml.merges`: "left right", best first.
    private func fileMerges() throws -> [JSONValue] {
        let key = "tokenizer.ggml.merges"
        guard let lines = metadata.strings(key) else {
            throw MeraserError.badInput("\(vocabulary.file): \(key) is missing or no array of strings")
        }
        var seen: Set<JSONString> = []
        seen.reserveCapacity(lines.count)
        return try lines.enumerated().map { rank, line in
            let line = JSONString(line)
            let parts = line.utf8.split(separator: 0x20, omittingEmptySubsequences: false)
            guard parts.count == 2, parts.allSatisfy({ !$0.isEmpty }) else {
                throw MeraserError.badInput("\(vocabulary.file): merge \(rank) is not a pair of tokens")
            }
            guard seen.insert(line).inserted else {
                throw MeraserError.badInput("\(vocabulary.file): merge \(rank) '\(line.string)' occurs twice")
            }
            return .array(parts.map { .string(JSONString(utf8: Array($0))) })
        }
    }

    // MARK: SentencePiece

    /// What Transformers' LlamaConverter writes for the same vocabulary.
    private func sentencePiece() throws -> Parts {
        let file = vocabulary.file
        let mark = JSONValue.text("\u{2581}")
        let space = JSONValue.text(" ")
        let addsSpace = try Self.flag("add_space_prefix", metadata, default: true, file: file)
        let replace: JSONValue = ["type": .text("Replace"), "pattern": ["String": space], "content": mark]
        var decoders: [JSONValue] = [
            ["type": .text("Replace"), "pattern": ["String": mark], "content": space],
            ["type": .text("ByteFallback")], ["type": .text("Fuse")],
        ]
        if addsSpace {
            decoders.append(["type": .text("Strip"), "content": space, "start": .integer(1), "stop": .integer(0)])
        }
        let merges = try ScoredMerges(vocabulary.tokens, scores: try scores(), file: file).pairs.map { left, right in
            JSONValue.array([.string(vocabulary.tokens[left]), .string(vocabulary.tokens[right])])
        }
        return (
            addsSpace
                ? [
                    "type": .text("Sequence"),
                    "normalizers": .array([["type": .text("Prepend"), "prepend": mark], replace]),
                ] : replace,
            .null, ["type": .text("Sequence"), "decoders": .array(decoders)],
            try model(
                merges: merges, unknown: vocabulary.unknown.map { vocabulary.tokens[$0] }, isSentencePiece: true,
                ignoresMerges: false)
        )
    }

    private func scores() throws -> [Float] {
        let key = "tokenizer.ggml.scores"
        guard let scores = metadata.floats(key), scores.count == vocabulary.tokens.count, scores.allSatisfy(\.isFinite)
        else {
            throw MeraserError.badInput(
                "\(vocabulary.file): \(key) is not an array of \(vocabulary.tokens.count) finite numbers")
        }
        return scores
    }

    // MARK: What both have

    private func model(
        merges: [JSONValue], unknown: JSONString?, isSentencePiece: Bool, ignoresMerges: Bool
    ) throws -> JSONValue {
        var vocab = JSONObject()
        for (id, token) in vocabulary.tokens.enumerated() where !vocab.append(token, .integer(id)) {
            throw MeraserError.badInput("\(vocabulary.file): token '\(token.string)' occurs twice")
        }
        return [
            "type": .text("BPE"), "dropout": .null, "unk_token": unknown.map { .string($0) } ?? .null,
            "continuing_subword_prefix": .null, "end_of_word_suffix": .null, "fuse_unk": .bool(isSentencePiece),
            "byte_fallback": .bool(isSentencePiece), "ignore_merges": .bool(ignoresMerges), "vocab": .object(vocab),
            "merges": .array(merges),
        ]
    }

    /// A token that is found in the text before anything else happens to it.
    private struct AddedToken {
        let content: JSONString
        let isSpecial: Bool
        /// Takes the white space behind it into the match.
        let stripsRight: Bool

        /// Its object; the id is the key of the object in tokenizer_config.json and a member in tokenizer.json.
        func json(id: Int?) -> JSONValue {
            let members: [(key: String, value: JSONValue)] = [
                ("content", .string(content)), ("single_word", .bool(false)), ("lstrip", .bool(false)),
                ("rstrip", .bool(stripsRight)), ("normalized", .bool(false)), ("special", .bool(isSpecial)),
            ]
            return .object(JSONObject((id.map { [("id", .integer($0))] } ?? []) + members))
        }
    }

    /// Control and unknown tokens are special, user-defined ones are not; empty ones would match everywhere. The metadata
    /// does not say what of the white space around them belongs to them; llama.cpp knows it of Phi 3.
    private var addedTokens: [(id: Int, token: AddedToken)] {
        let isPhi3 = metadata.string("general.architecture") == "phi3"
        return vocabulary.types.enumerated().compactMap { id, type in
            let content = vocabulary.tokens[id]
            guard [.control, .unknown, .userDefined].contains(type), !content.utf8.isEmpty else { return nil }
            let stripsRight = isPhi3 && !["<unk>", "<s>", "<|endoftext|>"].contains(content)
            return (id, AddedToken(content: content, isSpecial: type != .userDefined, stripsRight: stripsRight))
        }
    }

    /// BOS before the text and EOS behind it, where the file says so.
    private var postProcessor: JSONValue {
        let before = addsBOS ? vocabulary.bos : nil
        let after = addsEOS ? vocabulary.eos : nil
        guard before != nil || after != nil else { return .null }
        func special(_ id: Int?, _ type: Int) -> [JSONValue] {
            guard let id else { return [] }
            return [["SpecialToken": ["id": .string(vocabulary.tokens[id]), "type_id": .integer(type)]]]
        }
        func sequence(_ name: String, _ type: Int) -> [JSONValue] {
            special(before, type) + [["Sequence": ["id": .text(name), "type_id": .integer(type)]]]
                + special(after, type)
        }
        var tokens = JSONObject()
        for case let id? in [before, after] {
            let token = JSONValue.string(vocabulary.tokens[id])
            // BOS and EOS may be one token.
            _ = tokens.append(
                vocabulary.tokens[id], ["id": token, "ids": .array([.integer(id)]), "tokens": .array([token])])
        }
        return [
            "type": .text("TemplateProcessing"), "single": .array(sequence("A", 0)),
            "pair": .array(sequence("A", 0) + sequence("B", 1)), "special_tokens": .object(tokens),
        ]
    }

    // MARK: tokenizer_config.json

    /// tokenizer_config.json: a class of Transformers that takes tokenizer.json as it is. Throws `badInput` for a chat
    /// template that is no string.
    func tokenizerConfig() throws -> JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("add_bos_token", .bool(addsBOS)), ("add_eos_token", .bool(addsEOS)),
            (
                "added_tokens_decoder",
                .object(JSONObject(addedTokens.map { (key: String($0.id), value: $0.token.json(id: nil)) }))
            ),
        ]
        func name(_ key: String, _ id: Int?) {
            if let id { members.append((key, .string(vocabulary.tokens[id]))) }
        }
        name("bos_token", vocabulary.bos)
        if let template = try chatTemplate() { members.append(("chat_template", template)) }
        members.append(("clean_up_tokenization_spaces", .bool(false)))
        name("eos_token", vocabulary.eos)
        if let architecture = metadata.string("general.architecture"),
            let context = metadata.int("\(architecture).context_length"), context >= 1
        {
            members.append(("model_max_length", .integer(context)))
        }
        name("pad_token", vocabulary.padding)
        members.append(("tokenizer_class", .text("PreTrainedTokenizerFast")))
        name("unk_token", vocabulary.unknown)
        return .object(JSONObject(members))
    }

    /// The template, or where the file has several a list of them with their names, the main one as `default`.
    private func chatTemplate() throws -> JSONValue? {
        func template(_ key: String) throws -> JSONValue? {
            guard let value = metadata[key] else { return nil }
            guard case .string(let text) = value else {
                throw MeraserError.badInput("\(vocabulary.file): \(key) is no string")
            }
            return .text(text)
        }
        let key = "tokenizer.chat_template"
        let names = metadata.keys.filter { $0.hasPrefix(key + ".") }
        guard !names.isEmpty else { return try template(key) }
        var list: [JSONValue] = []
        if let main = try template(key) { list.append(["name": .text("default"), "template": main]) }
        for name in names {
            guard let text = try template(name) else { continue }
            list.append(["name": .text(String(name.dropFirst(key.count + 1))), "template": text])
        }
        return .array(list)
    }
}
