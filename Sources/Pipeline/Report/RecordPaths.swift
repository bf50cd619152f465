import Base
import Foundation

/// Takes the folders of the machine out of what is published: an absolute path becomes its last component.
enum RecordPaths {
    /// A value whose strings are not absolute paths any more. Rows of a check are left as they are: a model may say a path.
    static func withoutFolders(_ value: JSONValue) -> JSONValue {
        switch value {
        case .string(let text):
            let path = text.string
            return path.hasPrefix("/") || path.hasPrefix("~/") ? .text(fileName(ofPath: path)) : value
        case .array(let values): return .array(values.map(withoutFolders))
        case .object(let object):
            return .object(
                JSONObject(
                    object.members.map {
                        (key: $0.key.string, value: $0.key == "rows" ? $0.value : withoutFolders($0.value))
                    }))
        default: return value
        }
    }

    /// A recipe's text without folders: a path begins with `/` or `~/` behind white space, a quote or an opening bracket, and
    /// goes on to the closing quote, a comma, a bracket, a comment or the line's end.
    static func withoutFolders(text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { line($0) }.joined(
            separator: "\n")
    }

    private static func line(_ line: Substring) -> String {
        var result = ""
        var rest = line
        var before: Character = " "
        while let character = rest.first {
            if " \t\"'[{(,:=".contains(before), beginsPath(rest) {
                let quote = "\"'".contains(before) ? before : nil
                let end = pathEnd(rest, quote)
                let path = rest[..<end]
                result += fileName(ofPath: String(path))
                before = path.last ?? before
                rest = rest[end...]
            } else {
                result.append(character)
                before = character
                rest = rest.dropFirst()
            }
        }
        return result
    }

    private static func beginsPath(_ text: Substring) -> Bool {
        let path = text.hasPrefix("~/") ? text.dropFirst() : text
        return path.hasPrefix("/") && path.dropFirst().first.map { $0 != " " } ?? false
    }

    private static func pathEnd(_ text: Substring, _ quote: Character?) -> Substring.Index {
        if let quote { return text.firstIndex(of: quote) ?? text.endIndex }
        var end = text.firstIndex { ",]}\"'".contains($0) } ?? text.endIndex
        if let comment = text.range(of: " #")?.lowerBound, comment < end { end = comment }
        return end
    }
}

extension JSONValue {
    /// This object with another value of that member, if it has it.
    func replacing(_ key: String, with value: JSONValue) -> JSONValue {
        .object(
            JSONObject(
                (object?.members ?? []).map { (key: $0.key.string, value: $0.key.string == key ? value : $0.value) }))
    }

    /// This object with only the last component of the path in that member.
    func withoutFolder(_ key: String) -> JSONValue {
        replacing(key, with: self[key]?.string.map { .text(fileName(ofPath: $0)) } ?? .null)
    }
}
