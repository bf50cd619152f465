import Base
import Foundation
import Model

/// A chat template in Ollama's language, Go's, of a model's own: found by rendering conversations, and only where what
/// the parts make is what the model's template makes of each of them.
///
/// Source: Ollama, docs/template.md. Ollama puts BOS in front itself where the tokenizer does.
public struct OllamaTemplate: Sendable, Equatable {
    /// What stands around a message.
    struct Turn: Equatable {
        let before: String
        let after: String
    }

    /// In front of everything where there is no system message.
    let head: String
    /// Nil: the model's template takes none.
    let system: Turn?
    /// A system message opens the user's turn.
    let isSystemFolded: Bool
    /// Behind it the model answers.
    let user: Turn
    let assistant: Turn

    /// The parts of a model's template; nil where it is not made of such parts.
    ///
    /// - Parameters:
    ///   - bos: what the tokenizer puts in front of a text itself.
    ///   - ends: texts of the tokens that end an answer.
    ///   - render: the text of a conversation, up to where the model answers.
    init?(bos: String, ends: [String], render: ([ChatMessage]) throws -> String) {
        func text(_ roles: [(String, String)]) -> String? {
            guard let text = try? render(roles.map { ChatMessage(role: $0.0, content: $0.1) }) else { return nil }
            return text.hasPrefix(bos) ? String(text.dropFirst(bos.count)) : text
        }
        let (s, u, a, v) = ("Wsystemq", "Wuserq", "Wanswerq", "Wagainq")
        let talk = [("user", u), ("assistant", a), ("user", v)]
        guard let one = text([talk[0]]).flatMap({ Self.cut($0, at: [u]) }),
            let all = text(talk).flatMap({ Self.cut($0, at: [u, a, v]) }), one[0] == all[0],
            all[1].hasPrefix(one[1]), all[3] == one[1]
        else { return nil }
        let answers = one[1]
        // What a later user's turn begins with, without the end of the answer before it.
        var opening = Self.commonEnding(all[0], all[2])
        for end in ends where opening.hasPrefix(end) {
            opening = String(opening.dropFirst(end.count).drop(while: \.isWhitespace))
        }
        let withSystem = text([("system", s), talk[0]]).flatMap { Self.cut($0, at: [s, u]) }
        isSystemFolded = withSystem.map { !$0[1].hasSuffix(opening) || opening.isEmpty } ?? false
        let folded = isSystemFolded
        system = withSystem.map {
            Turn(before: $0[0], after: folded ? $0[1] : String($0[1].dropLast(opening.count)))
        }
        head = String(all[0].dropLast(opening.count))
        user = Turn(before: opening, after: answers)
        assistant = Turn(
            before: String(all[1].dropFirst(answers.count)), after: String(all[2].dropLast(opening.count)))
        let conversations = [[talk[0]], talk] + (withSystem == nil ? [] : [[("system", s)] + talk])
        guard conversations.allSatisfy({ text($0) == rendered($0) }), isWritable else { return nil }
    }

    /// What lies around texts that occur once each, in that order; nil where they do not.
    private static func cut(_ text: String, at words: [String]) -> [String]? {
        var (parts, rest) = ([String](), text)
        for word in words {
            let pieces = rest.components(separatedBy: word)
            guard pieces.count == 2 else { return nil }
            parts.append(pieces[0])
            rest = pieces[1]
        }
        return parts + [rest]
    }

    private static func commonEnding(_ a: String, _ b: String) -> String {
        String(zip(a.reversed(), b.reversed()).prefix { $0 == $1 }.map(\.0).reversed())
    }

    /// What Ollama makes of a conversation.
    func rendered(_ messages: [(role: String, content: String)]) -> String {
        let hasSystem = messages.contains { $0.role == "system" }
        return messages.enumerated().reduce(hasSystem ? "" : head) { text, item in
            let (index, (role, content)) = item
            switch role {
            case "system": return text + (system?.before ?? "") + content + (system?.after ?? "")
            case "user":
                let opens = !(isSystemFolded && hasSystem && index == 1)
                return text + (opens ? user.before : "") + content + user.after
            default: return text + assistant.before + content + assistant.after
            }
        }
    }

    /// Nothing in it is a sign of Go's templates or of Modelfiles.
    private var isWritable: Bool {
        let all =
            head + (system.map { $0.before + $0.after } ?? "") + user.before + user.after + assistant.before
            + assistant.after
        return !all.contains("{{") && !all.contains("}}") && !all.contains("\"\"\"")
    }

    /// The template's text.
    public var text: String {
        var text = head.isEmpty ? "" : "{{ if not .System }}\(head){{ end }}"
        text += "{{ range $i, $_ := .Messages }}"
        if let system {
            text += "{{ if eq .Role \"system\" }}\(system.before){{ .Content }}\(system.after){{ else "
        } else {
            text += "{{ "
        }
        let before =
            isSystemFolded && !user.before.isEmpty
            ? "{{ if not (and $.System (eq $i 1)) }}\(user.before){{ end }}" : user.before
        text += "if eq .Role \"user\" }}\(before){{ .Content }}\(user.after)"
        text += "{{ else if eq .Role \"assistant\" }}\(assistant.before){{ .Content }}\(assistant.after){{ end }}"
        return text + "{{ end }}"
    }
}
