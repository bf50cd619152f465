import Base

/// tokenizer.json and tokenizer_config.json of a model that has only `tokenizer.model`, as Transformers' converters make
/// them: LlamaConverter, which AutoTokenizer takes for Llama's and Mistral's models, and GemmaConverter.
public struct SentencePieceFiles: TextFileSource {
    /// The path of the model.
    public var path: String { files.path }

    private let files: any TextFileSource
    private let model: SentencePieceModel
    private let family: Family
    private let config: JSONValue?

    private enum Family {
        case llama, gemma
    }

    private static let mark = "\u{2581}"

    /// The files of a model; nil for one that has tokenizer.json or no tokenizer.model.
    ///
    /// - Throws: a bad-input error naming what is wrong in tokenizer.model, or a class of tokenizers that is not supported.
    public init?(_ files: any TextFileSource) throws {
        // In this order: a GGUF file makes its tokenizer.json anew whenever it is asked.
        guard let bytes = try files.textFile("tokenizer.model"),
            try files.withTextFile("tokenizer.json", { $0 == nil })
        else { return nil }
        let file = "tokenizer_config.json"
        config = try files.textFile(file).map { try JSONValue.parse($0, file: file) }
        switch try config?.stringIfPresent("tokenizer_class", in: file) {
        case nil, "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast":
            family = .llama
        case "GemmaTokenizer", "GemmaTokenizerFast": family = .gemma
        case let name?:
            throw MeraserError.badInput(
                "\(files.path) has a tokenizer.model of \(quoted(name)) and no tokenizer.json: supported are Llama's and Gemma's; "
                    + "write tokenizer.json with AutoTokenizer.from_pretrained(…).save_pretrained(…) of Transformers")
        }
        model = try SentencePieceModel(bytes, file: "\(files.path): tokenizer.model")
        self.files = files
    }

    /// A file of the model, or one that is made.
    public func textFile(_ name: String) throws -> [UInt8]? {
        switch name {
        case "tokenizer.json": return Array(try tokenizer().serialized().utf8)
        case "tokenizer_config.json":
            return try files.textFile(name) ?? Array(tokenizerConfig.serialized(indent: 2).utf8)
        default: return try files.textFile(name)
        }
    }

    /// What Transformers' class has without a file.
    private var tokenizerConfig: JSONValue {
        var members: [(key: String, value: JSONValue)] = [("add_bos_token", .bool(model.bos != nil))]
        for (key, id) in [("bos_token", model.bos), ("eos_token", model.eos), ("unk_token", model.unknown)] {
            if let id { members.append((key, .string(model.tokens[id]))) }
        }
        members.append(("tokenizer_class", .text("LlamaTokenizer")))
        return .object(JSONObject(members))
    }

    private func flag(_ key: String, _ standard: Bool) throws -> Bool {
        try config?.boolIfPresent(key, in: "tokenizer_config.json") ?? standard
    }

    private func tokenizer() throws -> JSONValue {
        let parts = try steps()
        let added: [JSONValue] = model.tokens.indices.compactMap { id in
            let type = model.types[id]
            guard type == .control || type == .userDefined, !model.tokens[id].utf8.isEmpty else { return nil }
            let isTurn = family == .gemma && ["<start_of_turn>", "<end_of_turn>"].contains(model.tokens[id])
            return [
                "id": .integer(id), "content": .string(tokens[id]), "single_word": .bool(false), "lstrip": .bool(false),
                "rstrip": .bool(false), "normalized": .bool(false), "special": .bool(type == .control || isTurn),
            ]
        }
        return [
            "version": .text("1.0"), "truncation": .null, "padding": .null, "added_tokens": .array(added),
            "normalizer": parts.normalizer, "pre_tokenizer": parts.preTokenizer, "post_processor": try postProcessor(),
            "decoder": parts.decoder, "model": try modelJSON(),
        ]
    }

    /// The tokens' texts: older models of Gemma have no tab, whose byte stands for it.
    private var tokens: [JSONString] {
        guard family == .gemma, !model.tokens.contains("\t") else { return model.tokens }
        return model.tokens.map { $0 == "<0x09>" ? "\t" : $0 }
    }

    private func modelJSON() throws -> JSONValue {
        let tokens = tokens
        let unknown = family == .gemma ? min(3, tokens.count - 1) : 0
        let scores = tokens.indices.map { $0 < 3 || tokens[$0] == "\t" && family == .gemma ? 0 : model.scores[$0] }
        switch model.kind {
        case .unigram:
            return [
                "type": .text("Unigram"), "unk_id": .integer(unknown), "byte_fallback": .bool(true),
                "vocab": .array(zip(tokens, scores).map { .array([.string($0), .number(Double($1))]) }),
            ]
        case .bpe:
            let file = "\(path): tokenizer.model"
            var vocab = JSONObject()
            for (id, token) in tokens.enumerated() where !vocab.append(token, .integer(id)) {
                throw MeraserError.badInput("\(file): token '\(token.string)' occurs twice")
            }
            let merges = try ScoredMerges(tokens, scores: scores, longestFirst: true, file: file).pairs
            return [
                "type": .text("BPE"), "dropout": .null, "unk_token": .string(tokens[model.unknown]),
                "continuing_subword_prefix": .null, "end_of_word_suffix": .null, "fuse_unk": .bool(true),
                "byte_fallback": .bool(true), "ignore_merges": .bool(false), "vocab": .object(vocab),
                "merges": .array(merges.map { .array([.string(tokens[$0.left]), .string(tokens[$0.right])]) }),
            ]
        }
    }

    private func steps() throws -> (normalizer: JSONValue, preTokenizer: JSONValue, decoder: JSONValue) {
        func replace(_ text: String, _ content: String) -> JSONValue {
            ["type": .text("Replace"), "pattern": ["String": .text(text)], "content": .text(content)]
        }
        var decoders = [replace(Self.mark, " "), ["type": .text("ByteFallback")], ["type": .text("Fuse")]]
        let marks = replace(" ", Self.mark)
        func sequence(_ key: String, _ steps: [JSONValue]) -> JSONValue {
            ["type": .text("Sequence"), key: .array(steps)]
        }
        if family == .gemma {
            let split: JSONValue = [
                "type": .text("Split"), "pattern": ["String": .text(" ")], "behavior": .text("MergedWithPrevious"),
                "invert": .bool(false),
            ]
            return (marks, split, sequence("decoders", decoders))
        }
        let addsSpace = try flag("add_prefix_space", true)
        if addsSpace {
            decoders.append(["type": .text("Strip"), "content": .text(" "), "start": .integer(1), "stop": .integer(0)])
        }
        let decoder = sequence("decoders", decoders)
        guard try flag("legacy", true) else {
            return (
                .null,
                [
                    "type": .text("Metaspace"), "replacement": .text(Self.mark),
                    "prepend_scheme": .text(addsSpace ? "first" : "never"), "split": .bool(false),
                ], decoder
            )
        }
        let prepend: JSONValue = ["type": .text("Prepend"), "prepend": .text(Self.mark)]
        return (sequence("normalizers", addsSpace ? [prepend, marks] : [marks]), .null, decoder)
    }

    /// BOS before the text and EOS behind it, as the class does it.
    private func postProcessor() throws -> JSONValue {
        func part(_ id: Int?) -> [JSONValue] {
            id.map { [["SpecialToken": ["id": .string(tokens[$0]), "type_id": .integer(0)]]] } ?? []
        }
        let before = try flag("add_bos_token", true) ? model.bos : nil
        let after = try flag("add_eos_token", false) ? model.eos : nil
        guard before != nil || after != nil else { return .null }
        var special = JSONObject()
        for case let id? in [before, after] {
            let token = JSONValue.string(tokens[id])
            // BOS and EOS may be one token.
            _ = special.append(tokens[id], ["id": token, "ids": .array([.integer(id)]), "tokens": .array([token])])
        }
        let text: JSONValue = ["Sequence": ["id": .text("A"), "type_id": .integer(0)]]
        return [
            "type": .text("TemplateProcessing"), "single": .array(part(before) + [text] + part(after)),
            "pair": .array([text]), "special_tokens": .object(special),
        ]
    }
}
