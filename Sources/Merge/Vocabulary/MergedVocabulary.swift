import Base
import Quant

/// The tokens of a merge's result, and for each model which of its rows is which token's: mergekit's union of tokenizers,
/// with the difference that new tokens come in the order of their numbers, where mergekit's order is that of a hash table.
struct MergedVocabulary: Sendable {
    /// Numbers of the result's tokens, without padding.
    let count: Int
    /// Rows of the result's embedding.
    let rows: Int
    /// The files of the tokenizer; what is nil here does not travel.
    let files: [String: [UInt8]?]
    let warnings: [String]
    /// The tokens by their number; nil: no token has it.
    private let tokens: [JSONString?]
    /// Of each model the row that it has for each of them, −1 for none.
    private let places: [String: [Int32]]
    private let rules: [Int: MergeTokenizer.Rule]
    /// Every model's own numbers, for rules that name another token.
    private let ids: [String: [JSONString: Int]]

    /// What describes the old vocabulary in other words.
    private static let otherFiles = ["tokenizer.model", "added_tokens.json"] + HuggingFaceFiles.vocabularyNames
    /// What is the tokenizer's beside its tokens.
    private static let settings = ["tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"]

    /// Reads the models' tokenizers. Errors (`badInput`): the source has none, and rules about tokens or models that there
    /// are not.
    init(_ tokenizer: MergeTokenizer, models: [String: MergeModel], order: [String], donor: MergeModel) throws {
        var warnings: [String] = []
        func tokens(_ model: MergeModel) throws -> TokenizerTokens? {
            try model.textFile("tokenizer.json").map {
                try TokenizerTokens($0, rows: model.config?["vocab_size"]?.int, path: model.path)
            }
        }
        guard let base = try tokens(donor) else {
            throw MeraserError.badInput("\(donor.path) has no tokenizer.json, of which the result's is made")
        }
        var own = [donor.path: base]
        for path in order where path != donor.path {
            guard let model = models[path] else { continue }
            own[path] = try tokens(model)
            if own[path] == nil {
                warnings.append("\(path) has no tokenizer.json: its tokens are taken to be the base's")
            }
        }
        let made: TokenizerTokens
        var source = donor
        switch tokenizer.source {
        case .base: made = base
        case .union:
            made = try base.union(order.filter { $0 != donor.path }.compactMap { own[$0] }, path: donor.path)
        case .model(let path):
            let model = try models[path] ?? MergeModel(path: path)
            guard let bytes = try model.textFile("tokenizer.json") else {
                throw MeraserError.badInput("\(path) has no tokenizer.json, which the recipe asks for")
            }
            (made, source) = (try TokenizerTokens(bytes, rows: nil, path: path), model)
            warnings.append(
                "the tokens are those of \(path), config.json is that of \(donor.path): check its bos_token_id and "
                    + "eos_token_id")
        }
        count = (made.ids.values.max() ?? -1) + 1
        let multiple = tokenizer.padToMultipleOf ?? 1
        rows = (count + multiple - 1) / multiple * multiple
        var named = [JSONString?](repeating: nil, count: count)
        for (token, id) in made.ids { named[id] = token }
        self.tokens = named
        ids = own.mapValues(\.ids)
        places = Dictionary(
            uniqueKeysWithValues: order.map { path in
                let known = own[path] ?? base
                return (path, named.map { $0.flatMap { known.ids[$0] }.map(Int32.init) ?? -1 })
            })
        var rules: [Int: MergeTokenizer.Rule] = [:]
        for (token, rule) in tokenizer.rules {
            guard let id = made.ids[JSONString(token)] else {
                throw MeraserError.badInput("'tokens' of the tokenizer: \(quoted(token)) is no token of the result")
            }
            rules[id] = rule
        }
        self.rules = rules
        self.warnings = warnings
        var files: [String: [UInt8]?] = [:]
        files["tokenizer.json"] = Array(made.json.serialized().utf8)
        for name in Self.otherFiles { files[name] = [UInt8]?.none }
        if source.path != donor.path { for name in Self.settings { files[name] = try source.textFile(name) } }
        self.files = files
    }

    /// True for the tensors that have a row for each token.
    static func hasRows(_ name: String, of models: [MergeModel]) -> Bool {
        models.contains { $0.head.map { $0.name == name || $0.embedding == name } ?? false }
    }

    /// The inputs of a tensor with a row for each token of the result: a model's own, where it has the token, else the base's,
    /// else the mean of those that have it, or what a rule says.
    ///
    /// - Parameters:
    ///   - type: what the arithmetic is done in.
    ///   - base: the base of the slice.
    /// - Throws: `badInput` for rows that do not fit, and rules about models that have no such tensor.
    func aligned(
        _ readers: [ElementReader], of models: [String], base: String?, type: TensorType
    ) throws -> [ElementReader] {
        let columns = readers[0].entry.columns
        guard let other = readers.firstIndex(where: { $0.entry.shape.count != 2 || $0.entry.columns != columns }) else {
            return try aligned(readers, models, base, TokenRowSource(columns: columns, type: type))
        }
        throw MeraserError.badInput(
            "tensor '\(readers[other].entry.name)' has shape \(readers[other].entry.shape) in \(models[other]), but "
                + "\(readers[0].entry.shape) in \(models[0]); expected rows of one length")
    }

    private func aligned(
        _ readers: [ElementReader], _ models: [String], _ base: String?, _ source: TokenRowSource
    ) throws -> [ElementReader] {
        let places = models.map { self.places[$0] ?? [] }
        for (i, reader) in readers.enumerated() {
            guard let last = places[i].max(), last < reader.entry.rows else {
                throw MeraserError.badInput(
                    "\(models[i]): '\(reader.entry.name)' has \(reader.entry.rows) rows, its tokens need more")
            }
        }
        func row(_ model: String, _ id: Int?, _ token: Int) throws -> [Float] {
            guard let index = models.firstIndex(of: model) else {
                throw MeraserError.badInput("a token's row is from \(model), which has no part in this tensor")
            }
            guard let id, id >= 0, id < readers[index].entry.rows else {
                throw MeraserError.badInput(
                    "\(model) has no row for the token \(quoted(tokens[token]?.string ?? ""))")
            }
            return try source.row(id, of: readers[index])
        }
        var others: [Int: [Float]] = [:]
        for token in 0..<count where tokens[token] != nil {
            let has = places.indices.filter { places[$0][token] >= 0 }
            guard let rule = rules[token] else {
                if has.count == models.count { continue }
                let chosen = has.count == 1 ? has : has.filter { models[$0] == base }
                others[token] = try source.mean(
                    (chosen.isEmpty ? has : chosen).map { (readers[$0], Int(places[$0][token])) })
                continue
            }
            if !rule.force, has.count == models.count { continue }
            others[token] =
                switch rule.row {
                case .zero: source.zeros
                case .model(let model):
                    try row(model, models.firstIndex(of: model).map { Int(places[$0][token]) }, token)
                case .token(let model, let text): try row(model, ids[model]?[JSONString(text)], token)
                case .id(let model, let id): try row(model, id, token)
                }
        }
        return try readers.indices.map { i in
            let rows = (0..<count).map { token -> AlignedRows.Row in
                if places[i][token] >= 0, rules[token]?.force != true { return .own(Int(places[i][token])) }
                return .other(others[token] ?? source.zeros)
            }
            return try source.reader(readers[i], rows, padded: self.rows)
        }
    }
}

extension MergedVocabulary {
    /// What the recipe asks for; nil where nothing has to move: nothing is said, or only that the tokens are the base's, and
    /// all models have these.
    init?(
        _ recipe: MergeRecipe, _ models: [String: MergeModel], _ donor: MergeModel, _ warnings: inout [String]
    ) throws {
        guard let tokenizer = recipe.tokenizer else { return nil }
        if tokenizer.isPlainBase, try Self.areEqual(recipe.models.compactMap { models[$0] }, donor, &warnings) {
            return nil
        }
        try self.init(tokenizer, models: models, order: recipe.models, donor: donor)
        warnings += self.warnings
    }

    /// True if the vocabularies are the donor's, as far as models have one.
    private static func areEqual(
        _ models: [MergeModel], _ donor: MergeModel, _ warnings: inout [String]
    ) throws -> Bool {
        guard let bytes = try donor.textFile("tokenizer.json") else {
            throw MeraserError.badInput(
                "\(donor.path) has no tokenizer.json, whose vocabulary 'tokenizer_source: base' compares; leave it out"
            )
        }
        func vocabulary(_ bytes: [UInt8], _ path: String) throws -> [JSONValue?] {
            let json = try JSONValue.parse(bytes, file: path + "/tokenizer.json")
            return [json["model"]?["vocab"], json["added_tokens"]]
        }
        let wanted = try vocabulary(bytes, donor.path)
        var unknown: [String] = []
        for model in models where model.path != donor.path {
            guard let other = try model.textFile("tokenizer.json") else {
                unknown.append("\(model.path) has no tokenizer.json: its vocabulary was not compared with the base's")
                continue
            }
            if other != bytes, try vocabulary(other, model.path) != wanted { return false }
        }
        warnings += unknown
        return true
    }
}

extension TokenizerTokens {
    /// These tokens with their numbers, and behind them those of others that they lack: first words of a vocabulary, then
    /// added tokens. What one has in its vocabulary and another has added is an added token, as in mergekit.
    fileprivate func union(_ others: [TokenizerTokens], path: String) throws -> TokenizerTokens {
        var (known, next, list) = (ids, nextID, added.map(\.json))
        let all = Set(([self] + others).flatMap(\.added).map(\.token))
        func entry(_ token: JSONString, _ id: Int) -> JSONValue {
            [
                "id": .integer(id), "content": .string(token), "single_word": .bool(false), "lstrip": .bool(false),
                "rstrip": .bool(false), "normalized": .bool(true), "special": .bool(false),
            ]
        }
        for token in others.flatMap(\.own) where known[token] == nil && !all.contains(token) {
            known[token] = next
            list.append(entry(token, next))
            next += 1
        }
        var isAdded = Set(added.map(\.token))
        for token in others.flatMap(\.added) where isAdded.insert(token.token).inserted {
            let id = known[token.token] ?? next
            if id == next { next += 1 }
            known[token.token] = id
            list.append(token.json.with("id") { _ in .integer(id) })
        }
        let whole: JSONValue =
            json["added_tokens"] == nil
            ? .object(
                JSONObject(
                    (json.object?.members ?? []).map { (key: $0.key.string, value: $0.value) } + [
                        (key: "added_tokens", value: .null)
                    ]))
            : json
        let text = whole.with("added_tokens") { _ in .array(list) }.serialized()
        return try TokenizerTokens(Array(text.utf8), rows: nil, path: path)
    }
}
