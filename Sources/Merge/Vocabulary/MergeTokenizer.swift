import Base

/// `tokenizer_source` or `tokenizer` of a recipe: which tokens the result has, and where their rows are from.
public struct MergeTokenizer: Sendable, Equatable {
    /// Whose tokens.
    public enum Source: Sendable, Equatable {
        /// The base's, or those of the first model.
        case base
        /// Those of all models: the base's with their numbers, the others behind them.
        case union
        /// Those of that model.
        case model(String)
    }

    /// Where a token's row is from.
    public enum Row: Sendable, Equatable {
        /// Zeros.
        case zero
        /// That model's own row of the token.
        case model(String)
        /// That model's row of another token.
        case token(model: String, text: String)
        /// That model's row of that number.
        case id(model: String, id: Int)
    }

    /// What is said of one token.
    public struct Rule: Sendable, Equatable {
        /// The row of models that lack the token.
        public let row: Row
        /// Models that have it get that row too.
        public let force: Bool
    }

    /// Whose tokens.
    public let source: Source
    /// Rules by token.
    public let rules: [String: Rule]
    /// Rows of the embedding are made a multiple of that; nil: as many as tokens.
    public let padToMultipleOf: Int?

    /// The models that it names, beside those that are merged.
    var models: [String] {
        let rows = rules.values.compactMap { rule -> String? in
            switch rule.row {
            case .zero: nil
            case .model(let model), .token(let model, _), .id(let model, _): model
            }
        }
        guard case .model(let model) = source else { return rows.sorted() }
        return [model] + rows.sorted()
    }

    /// True if the base's tokens are all that is asked for.
    var isPlainBase: Bool { source == .base && rules.isEmpty && padToMultipleOf == nil }
}

extension MergeTokenizer {
    /// Reads both keys of a recipe; nil where there is none of them. Errors (`badInput`) name place and key.
    init?(_ root: inout Settings, file: String) throws {
        let short = try root.text("tokenizer_source")
        var section = try root.section("tokenizer")
        guard section == nil || short == nil else {
            throw MeraserError.badInput("\(file): expected only one of 'tokenizer_source' and 'tokenizer'")
        }
        guard let text = try section?.text("source") ?? short ?? section.map({ _ in "union" }) else { return nil }
        source =
            switch text {
            case "base": .base
            case "union": .union
            default: .model(try Self.model(text, place: "\(file): the tokenizer's source"))
            }
        var rules: [String: Rule] = [:]
        if let tokens = try section?.section("tokens") {
            for (token, value) in tokens.rest() {
                rules[token] = try Self.rule(Settings(value, place: "\(tokens.place): \(quoted(token))"))
            }
        }
        self.rules = rules
        padToMultipleOf = try section?.int("pad_to_multiple_of", in: 1...1 << 20)
        try section?.requireNothingElse()
    }

    private static func model(_ path: String, place: String) throws -> String {
        guard !path.isEmpty else { throw MeraserError.badInput("\(place) is empty") }
        _ = try ModelReference(path, place: place)
        return path
    }

    private static func rule(_ settings: Settings) throws -> Rule {
        var settings = settings
        let force = try settings.flag("force") ?? false
        guard let source = settings.value("source") else {
            throw MeraserError.badInput("\(settings.place): 'source' is missing: a model, or an object with a 'kind'")
        }
        try settings.requireNothingElse()
        if let path = source.string {
            return Rule(row: .model(try model(path, place: "\(settings.place): 'source'")), force: force)
        }
        var row = try Settings(source, place: "\(settings.place): 'source'")
        let kind = try row.text("kind")
        if kind == "zero" {
            try row.requireNothingElse()
            return Rule(row: .zero, force: force)
        }
        guard kind == "model_token", let path = try row.text("model") else {
            throw MeraserError.badInput(
                "\(row.place): expected 'kind' zero, or 'kind' model_token with 'model' and one of 'token' and 'token_id'"
            )
        }
        let name = try model(path, place: "\(row.place): 'model'")
        let (token, id) = (try row.text("token"), try row.int("token_id", in: 0...Int(Int32.max)))
        try row.requireNothingElse()
        switch (token, id) {
        case (let token?, nil): return Rule(row: .token(model: name, text: token), force: force)
        case (nil, let id?): return Rule(row: .id(model: name, id: id), force: force)
        default: throw MeraserError.badInput("\(row.place): expected exactly one of 'token' and 'token_id'")
        }
    }
}
