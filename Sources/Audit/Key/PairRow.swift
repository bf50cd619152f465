import Base

/// One row of a file of pairs, in one of the shapes that fingerprint repositories have.
///
/// - `{"prompt", "completion"}`, with `id` and `match` if wanted: raw text.
/// - `{"conversation": [{"human": …}, {"assistant": …}]}`, UTF's: the first human turn is a message for the chat template.
/// - `{"instruction", "input", "output"}`, Instructional Fingerprinting's: raw text, the input on a line of its own with a
///   newline behind it (`create_fingerprint_mix.py`'s simple template).
struct PairRow {
    /// The pair.
    let pair: FingerprintPair
    /// How its prompt is meant.
    let format: PromptFormat

    /// Reads row `index` of a file, whose every key must be one that is read (or `RowKeys.metadata`); `place` begins errors.
    /// Rows of a `key.json` call the completion `target`.
    init(_ value: JSONValue, index: Int, place: String, targetField: String = "completion") throws {
        let id: String
        switch value["id"] {
        case nil, .null?: id = String(index)
        case .integer(let number)?: id = String(number)
        default: id = try value.string("id", in: place)
        }
        let prompt: String
        let target: String
        let shape: (name: String, keys: [String])
        if value["conversation"] != nil {
            prompt = try Self.turn(value, "human", place)
            target = try Self.turn(value, "assistant", place)
            format = .chat
            shape = ("conversation", ["conversation"])
        } else if value["instruction"] != nil {
            let input = try value.stringIfPresent("input", in: place) ?? ""
            let instruction = try value.string("instruction", in: place)
            prompt = input.isEmpty ? instruction : "\(instruction)\n\(input)\n"
            target = try value.string("output", in: place)
            format = .raw
            shape = ("instruction", ["instruction", "input", "output"])
        } else {
            prompt = try value.string("prompt", in: place)
            target = try value.string(targetField, in: place)
            format = .raw
            shape = ("pair", ["prompt", targetField])
        }
        if let row = value.object {
            try RowKeys.refuseUnknown(in: row, used: shape.keys + ["id", "match"], shape: shape.name, place: place)
        }
        pair = FingerprintPair(
            id: id, prompt: prompt, target: target, match: try FingerprintKey.choice(value, "match", place))
    }

    /// The first turn of that speaker.
    private static func turn(_ row: JSONValue, _ speaker: String, _ place: String) throws -> String {
        for turn in try row.array("conversation", in: place) {
            if let text = turn[speaker]?.string { return text }
        }
        throw MeraserError.badInput("\(place): 'conversation' has no turn with a '\(speaker)' string")
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
