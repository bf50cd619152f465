import Base
import Model

/// Lengths of the rows of a dataset: least, mean, percentiles, greatest.
public struct LengthSummary: Sendable, Equatable {
    /// The lengths, ascending.
    private let sorted: [Int]

    /// A summary of those lengths, at least one.
    public init(_ lengths: [Int]) {
        precondition(!lengths.isEmpty, "no lengths")
        sorted = lengths.sorted()
    }

    /// The mean.
    public var mean: Double { Double(sorted.reduce(0, +)) / Double(sorted.count) }

    /// The least length that `percent` per cent of the rows do not exceed (the nearest rank).
    public func percentile(_ percent: Int) -> Int {
        sorted[max(0, (percent * sorted.count + 99) / 100 - 1)]
    }

    /// How many are longer than that.
    public func count(above length: Int) -> Int { sorted.count { $0 > length } }

    /// `{"min", "mean", "p50", "p90", "p95", "p99", "max"}`.
    public var json: JSONValue {
        [
            "min": .integer(sorted[0]), "mean": .real(mean), "p50": .integer(percentile(50)),
            "p90": .integer(percentile(90)), "p95": .integer(percentile(95)), "p99": .integer(percentile(99)),
            "max": .integer(sorted[sorted.count - 1]),
        ]
    }
}

/// What a dataset is like.
public struct DatasetStatistics: Sendable {
    /// The file's shape.
    public let shape: DatasetShape
    /// Rows.
    public let rows: Int
    /// Rows of each type of question, where rows have questions.
    public let questionTypes: [(type: QuestionType, count: Int)]
    /// Rows whose question stands in an earlier row, but for case, blanks, punctuation and Unicode form.
    public let duplicates: Int
    /// Lengths in characters and, with a tokenizer, in tokens: of `question`, `answer` and the whole `row`.
    public let lengths: [(name: String, characters: LengthSummary, tokens: LengthSummary?)]

    /// Reads a dataset of any shape.
    ///
    /// - Parameters:
    ///   - tokenizer: counts tokens, special ones left out; nil: no tokens are counted.
    ///   - chatTemplate: a model's, which conversations are counted in.
    /// - Throws: bad-input errors of the file or the template.
    public init(
        path: String, removing columns: [String] = [], tokenizer: (any TextEncoder)? = nil,
        chatTemplate: ChatTemplate? = nil
    ) throws {
        let file = try DatasetFile(path: path, removing: columns)
        shape = file.shape
        rows = file.rows.count
        duplicates = rows - Set(file.rows.map { JSONString($0.identity) }).count
        let exchanges = file.rows.compactMap { $0.exchange() }
        questionTypes = QuestionType.allCases.map { type in
            (type, exchanges.count { QuestionType(of: $0.question) == type })
        }
        func summary(_ name: String, _ texts: [[String]]) -> (String, LengthSummary, LengthSummary?)? {
            guard !texts.isEmpty else { return nil }
            let characters = LengthSummary(texts.map { $0.reduce(0) { $0 + $1.unicodeScalars.count } })
            let tokens = tokenizer.map { tokenizer in
                LengthSummary(texts.map { $0.reduce(0) { $0 + tokenizer.encode($1, addSpecialTokens: false).count } })
            }
            return (name, characters, tokens)
        }
        let whole = try file.rows.indices.map { index -> [String] in
            switch file.rows[index] {
            case .pair(let prompt, let completion): return [prompt, completion]
            case .text(let text): return [text]
            case .chat(let conversation, _):
                guard let chatTemplate else { return conversation.messages.map(\.content) }
                return try file.naming(row: index) {
                    try chatTemplate.requireReading(conversation)
                    return [try chatTemplate.render(conversation)]
                }
            }
        }
        let pairs = file.rows.compactMap { row -> (String, String)? in
            if case .pair(let prompt, let completion) = row { (prompt, completion) } else { nil }
        }
        lengths = [
            summary("question", pairs.map { [$0.0] }), summary("answer", pairs.map { [$0.1] }), summary("row", whole),
        ].compactMap { $0 }
    }

    /// Everything as one object; `cut` with the rows that `maxLength` tokens would cut.
    public func json(maxLength: Int?) -> JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("shape", .text(shape.rawValue)), ("rows", .integer(rows)), ("duplicates", .integer(duplicates)),
            (
                "question_types",
                .object(JSONObject(questionTypes.map { (key: $0.type.rawValue, value: .integer($0.count)) }))
            ),
            ("characters", .object(JSONObject(lengths.map { (key: $0.name, value: $0.characters.json) }))),
        ]
        let tokens = lengths.compactMap { length in length.tokens.map { (key: length.name, value: $0.json) } }
        if !tokens.isEmpty { members.append(("tokens", .object(JSONObject(tokens)))) }
        if let maxLength, let cut = cut(maxLength) {
            members.append(
                (
                    "cut",
                    [
                        "max_length": .integer(maxLength), "rows": .integer(cut),
                        "share": .real(Double(cut) / Double(rows)),
                    ]
                ))
        }
        return .object(JSONObject(members))
    }

    /// Rows longer than that many tokens; nil where none were counted.
    public func cut(_ maxLength: Int) -> Int? {
        lengths.first { $0.name == "row" }?.tokens?.count(above: maxLength)
    }
}
