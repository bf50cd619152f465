import Base
import Model

/// A row of a task's data.
public struct TaskDocument: Sendable {
    /// `file:line`, for errors.
    let place: String
    /// The columns.
    let object: JSONObject
    /// The columns for templates.
    let values: TemplateValues

    /// A row, after the task's step on it.
    ///
    /// - Throws: a bad-input error for a row that the step cannot work on.
    public init(_ object: JSONObject, place: String, step: DocumentStep?) throws {
        self.place = place
        self.object =
            switch step {
            case .hellaswag: try Self.hellaswag(object, place: place)
            case .record: try Self.record(object, place: place)
            case .wikitext: try Self.wikitext(object, place: place)
            case nil: object
            }
        values = TemplateValues(self.object)
    }

    /// The rows of a `.jsonl` or `.json` file (an array of objects); of a subset those that belong to it.
    ///
    /// - Throws: a bad-input error that names file and line.
    public static func load(
        path: String, step: DocumentStep?, subset: TaskSubset? = nil
    ) throws -> [TaskDocument] {
        let bytes = try readInputFile(path)
        let values: [(place: String, value: JSONValue)]
        if path.lowercased().hasSuffix(".jsonl") {
            var lines = JSONLines(bytes, file: path)
            values = try lines.all().map { ("\(path):\($0.line)", $0.value) }
        } else {
            guard let rows = try JSONValue.parse(bytes, file: path).array else {
                throw MeraserError.badInput("\(path): expected an array of objects, or a .jsonl file")
            }
            values = rows.enumerated().map { ("\(path): row \($0 + 1)", $1) }
        }
        guard !values.isEmpty else { throw MeraserError.badInput("\(path): no rows in it") }
        let rows: [TaskDocument] = try values.compactMap { place, value in
            guard let object = value.object else {
                throw MeraserError.badInput("\(place) is \(value.kind), expected an object")
            }
            // A file of one subject may leave its name out.
            if let subset, let found = object[subset.column], found.string != subset.value { return nil }
            return try TaskDocument(object, place: place, step: step)
        }
        guard !rows.isEmpty else {
            throw MeraserError.badInput("\(path): no row with '\(subset?.column ?? "")' \(quoted(subset?.value ?? ""))")
        }
        return rows
    }

    // MARK: HellaSwag

    /// The row with `query`, `choices` and `gold`, as lm-eval makes them: the second sentence capitalised, artifacts of
    /// WikiHow removed.
    private static func hellaswag(_ row: JSONObject, place: String) throws -> JSONObject {
        let value = JSONValue.object(row)
        let (a, b) = (try value.string("ctx_a", in: place), try value.string("ctx_b", in: place))
        let label = try value.string("activity_label", in: place)
        let endings = try value.array("endings", in: place).map { ending in
            guard let text = ending.string else {
                throw MeraserError.badInput("\(place): 'endings' holds \(ending.kind), expected strings")
            }
            return text
        }
        let gold = row["label"].flatMap { $0.int ?? $0.string.flatMap { Int($0) } }
        let added: [(key: String, value: JSONValue)] = [
            ("query", .text(withoutArtifacts("\(label): \(a) \(capitalized(b))"))),
            ("choices", .array(endings.map { .text(withoutArtifacts($0)) })),
            ("gold", gold.map { .integer($0) } ?? .null),
        ]
        let names = Set(added.map(\.key))
        let kept = row.members.map { (key: $0.key.string, value: $0.value) }.filter { !names.contains($0.key) }
        return JSONObject(kept + added)
    }

    /// Python's `capitalize`: the first code point in title case, the rest in lower case.
    private static func capitalized(_ text: String) -> String {
        guard let first = text.unicodeScalars.first else { return "" }
        return first.properties.titlecaseMapping + String(text.unicodeScalars.dropFirst()).lowercased()
    }

    /// Outer blanks gone, ` [title]` as `. `, what stands in brackets (on one line) deleted, then each two spaces as one.
    static func withoutArtifacts(_ text: String) -> String {
        let scalars = Array(text.unicodeScalars)
        let isBlank = { (scalar: Unicode.Scalar) in scalar.properties.isWhitespace }
        let trimmed = scalars.drop(while: isBlank).reversed().drop(while: isBlank).reversed()
        let titled = replacing(" [title]", in: Array(trimmed), by: ". ")
        var kept: [Unicode.Scalar] = []
        var i = 0
        while i < titled.count {
            if titled[i] == "[",
                let end = titled[i...].firstIndex(where: { $0 == "]" || $0 == "\n" }), titled[end] == "]"
            {
                i = end + 1
            } else {
                kept.append(titled[i])
                i += 1
            }
        }
        var result = String.UnicodeScalarView()
        result.append(contentsOf: replacing("  ", in: kept, by: " "))
        return String(result)
    }

    private static func replacing(_ old: String, in text: [Unicode.Scalar], by new: String) -> [Unicode.Scalar] {
        let pattern = Array(old.unicodeScalars)
        var result: [Unicode.Scalar] = []
        var i = 0
        while i < text.count {
            if text[i...].starts(with: pattern) {
                result += Array(new.unicodeScalars)
                i += pattern.count
            } else {
                result.append(text[i])
                i += 1
            }
        }
        return result
    }
}
