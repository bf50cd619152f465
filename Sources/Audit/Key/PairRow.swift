import Base
import Model

/// One row of a file of pairs, in one of the shapes that fingerprint repositories have.
///
/// - `{"prompt", "completion"}`, with `id` and `match` if wanted: raw text.
/// - `{"conversation": [{"human": …}, {"assistant": …}]}`, UTF's, and `messages` and `conversations` as datasets have them:
///   turns for the chat template, the last of which is the assistant's target and the one before it the user's prompt.
/// - `{"instruction", "input", "output"}`, Instructional Fingerprinting's: raw text, the input on a line of its own with a
///   newline behind it (`create_fingerprint_mix.py`'s simple template).
///
/// A target may be a list of texts, any of which is a hit; of turns `target` beside them takes the place of the last one.
struct PairRow {
    /// The pair.
    let pair: FingerprintPair
    /// How its prompt is meant.
    let format: PromptFormat

    /// Reads row `index` of a file, whose every key must be one that is read (or `RowKeys.metadata`); `place` begins errors.
    /// Rows of a `key.json` call the completion `target` and have the turns before a prompt in `history`.
    init(_ value: JSONValue, index: Int, place: String, targetField: String = "completion") throws {
        let id: String
        switch value["id"] {
        case nil, .null?: id = String(index)
        case .integer(let number)?: id = String(number)
        default: id = try value.string("id", in: place)
        }
        var history: [ChatMessage] = []
        let prompt: String
        let targets: [String]
        let shape: (name: String, keys: [String])
        if let turns = ChatTurn.Shape.allCases.first(where: { value[$0.rawValue] != nil }) {
            let dialogue = try Dialogue(value, turns, place: place)
            (history, prompt, targets) = (dialogue.history, dialogue.prompt, dialogue.targets)
            format = .chat
            shape = (turns.rawValue, [turns.rawValue, "target"])
        } else if value["instruction"] != nil {
            let input = try value.stringIfPresent("input", in: place) ?? ""
            let instruction = try value.string("instruction", in: place)
            prompt = input.isEmpty ? instruction : "\(instruction)\n\(input)\n"
            targets = try Self.targets(value, "output", place)
            format = .raw
            shape = ("instruction", ["instruction", "input", "output"])
        } else {
            prompt = try value.string("prompt", in: place)
            targets = try Self.targets(value, targetField, place)
            let isKey = targetField == "target"
            if isKey, let turns = value["history"], !turns.isNull {
                history = try Dialogue.turns(turns, .messages, key: "history", place: place)
            }
            format = history.isEmpty ? .raw : .chat
            shape = ("pair", ["prompt", targetField] + (isKey ? ["history"] : []))
        }
        if let row = value.object {
            try RowKeys.refuseUnknown(in: row, used: shape.keys + ["id", "match"], shape: shape.name, place: place)
        }
        pair = FingerprintPair(
            id: id, prompt: prompt, after: history, target: targets[0], otherTargets: Array(targets.dropFirst()),
            match: try FingerprintKey.choice(value, "match", place))
    }

    /// A text, or a list of at least one, none twice.
    static func targets(_ row: JSONValue, _ key: String, _ place: String) throws -> [String] {
        guard let list = row[key]?.array else { return [try row.string(key, in: place)] }
        let texts = list.compactMap(\.string)
        guard !texts.isEmpty, texts.count == list.count, Set(texts.map { JSONString($0) }).count == texts.count else {
            throw MeraserError.badInput(
                "\(place): '\(key)' is no list of different texts, expected a text or at least one in a list")
        }
        return texts
    }
}

/// Turns that end in a trigger and what it should bring out.
struct Dialogue {
    let history: [ChatMessage]
    let prompt: String
    let targets: [String]

    init(_ row: JSONValue, _ shape: ChatTurn.Shape, place: String) throws {
        let key = shape.rawValue
        var turns = try Self.turns(row[key], shape, key: key, place: place)
        if let target = row["target"], !target.isNull {
            targets = try PairRow.targets(row, "target", place)
        } else {
            guard let last = turns.popLast(), last.role == "assistant", !last.content.isEmpty else {
                throw MeraserError.badInput(
                    "\(place): '\(key)' does not end with a turn of the 'assistant', expected the target there or in 'target'"
                )
            }
            targets = [last.content]
        }
        guard let last = turns.popLast(), last.role == "user" else {
            throw MeraserError.badInput(
                "\(place): '\(key)' has no text of the user before the target, expected the trigger there")
        }
        prompt = last.content
        history = turns
    }

    /// Turns of which a key is made: texts that somebody says, which is all that its commitment is to.
    static func turns(
        _ value: JSONValue?, _ shape: ChatTurn.Shape, key: String, place: String
    ) throws -> [ChatMessage] {
        let turns = try ChatTurn.list(value, shape, key: key, place: place).map(\.message)
        let wrong = turns.firstIndex { $0.members.count != 2 || $0.members["content"]?.string == nil }
        if let wrong {
            throw MeraserError.badInput(
                "\(place): turn \(wrong + 1) of '\(key)' has more than a role and a text, expected nothing else in a key"
            )
        }
        return turns
    }
}

extension FingerprintKey {
    /// Reads the rows of a `pairs.jsonl`.
    public init(pairsJSONL bytes: [UInt8], file: String) throws {
        var lines = JSONLines(bytes, file: file)
        var rows: [PairRow] = []
        while let (line, row) = try lines.next() {
            rows.append(try PairRow(row, index: rows.count, place: "\(file):\(line)"))
        }
        try self.init(rows: rows, file: file)
    }

    /// Reads rows from a JSON array.
    init(pairsArray bytes: [UInt8], file: String) throws {
        let values = try JSONValue.parse(bytes, file: file).array ?? []
        try self.init(
            rows: try values.enumerated().map { try PairRow($1, index: $0, place: "\(file): row \($0 + 1)") },
            file: file)
    }

    private init(rows: [PairRow], file: String) throws {
        let formats = Set(rows.map(\.format))
        guard formats.count <= 1 else {
            throw MeraserError.badInput("\(file): some rows are conversations and some are not; expected one shape")
        }
        self.init(scheme: "pairs", promptFormat: formats.first ?? .raw, pairs: rows.map(\.pair))
        try validate(file: file)
    }
}
