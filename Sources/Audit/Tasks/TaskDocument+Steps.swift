import Base
import Foundation

/// What lm-evaluation-harness's Python functions do to rows of ReCoRD and WikiText before templates see them.
extension TaskDocument {
    /// Entities and answers each once and in the order of their code points, with `choices` (the query with each entity in
    /// its place) and `target` (with the first answer).
    static func record(_ row: JSONObject, place: String) throws -> JSONObject {
        let value = JSONValue.object(row)
        func texts(_ key: String) throws -> [String] {
            let texts = try value.array(key, in: place).map { element in
                guard let text = element.string else {
                    throw MeraserError.badInput("\(place): '\(key)' holds \(element.kind), expected strings")
                }
                return text
            }
            guard !texts.isEmpty else { throw MeraserError.badInput("\(place): '\(key)' is an empty list") }
            return Set(texts).sorted { $0.unicodeScalars.lexicographicallyPrecedes($1.unicodeScalars) }
        }
        let query = "  - " + (try value.string("query", in: place))
        func filled(_ entity: String) -> JSONValue {
            .text(query.replacingOccurrences(of: "@placeholder", with: entity))
        }
        let (entities, answers) = (try texts("entities"), try texts("answers"))
        return row.setting([
            ("entities", .array(entities.map { .text($0) })), ("answers", .array(answers.map { .text($0) })),
            ("choices", .array(entities.map(filled))), ("target", filled(answers[0])),
        ])
    }

    /// `text`: the page without the blanks that WikiText's tokenizer put around numbers, punctuation and brackets.
    static func wikitext(_ row: JSONObject, place: String) throws -> JSONObject {
        var text = try JSONValue.object(row).string("page", in: place)
        func replace(_ old: String, _ new: String) { text = text.replacingOccurrences(of: old, with: new) }
        replace("s '", "s'")
        // lm-eval has a pattern between slashes, which are characters in Python.
        text = try substituting("/' [0-9]/", "/'[0-9]/", in: text)
        for sign in ["-", ",", "."] { replace(" @\(sign)@ ", sign) }
        for sign in [":", ";", ".", "!", "?", ","] { replace(" \(sign) ", "\(sign) ") }
        for (open, close) in [("(", ")"), ("[", "]"), ("{", "}"), ("\"", "\""), ("'", "'")] {
            text = try substituting(
                "\\\(open)\\s*([^\\\(close)]*?)\\s*\\\(close)", "\\\(open)$1\\\(close)", in: text)
        }
        for (old, new) in [
            ("= = = =", "===="), ("= = =", "==="), ("= =", "=="), (" \u{B0} ", "\u{B0}"), (" \n", "\n"), ("\n ", "\n"),
            (" N ", " 1 "), (" 's", "'s"),
        ] {
            replace(old, new)
        }
        return row.setting([("text", .text(text))])
    }

    private static func substituting(_ pattern: String, _ template: String, in text: String) throws -> String {
        let expression = try NSRegularExpression(pattern: pattern)
        return expression.stringByReplacingMatches(
            in: text, range: NSRange(text.startIndex..., in: text), withTemplate: template)
    }
}

extension JSONObject {
    /// The object with those members in the place of its own of the same names.
    fileprivate func setting(_ added: [(key: String, value: JSONValue)]) -> JSONObject {
        let names = Set(added.map(\.key))
        return JSONObject(
            members.map { (key: $0.key.string, value: $0.value) }.filter { !names.contains($0.key) } + added)
    }
}
