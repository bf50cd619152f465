/// A word as a POSIX shell reads it back: as it is where that is safe, else in single quotes.
func shellQuoted(_ word: String) -> String {
    let safe = word.utf8.allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"):
            true
        default: "_-./,:=+@%".utf8.contains(byte)
        }
    }
    if safe && !word.isEmpty { return word }
    return "'" + word.replacing("'", with: "'\\''") + "'"
}

/// Words as one command line.
public func shellText(_ words: [String]) -> String { words.map(shellQuoted).joined(separator: " ") }

/// A command line cut into words: blanks part them, single and double quotes hold them together, a backslash takes the
/// next character as it is. No variables, no patterns, no pipes. Nil where a quote is not closed.
func shellWords(_ text: String) -> [String]? {
    var words: [String] = []
    var word: String?
    var quote: Character?
    var isEscaped = false
    for character in text {
        if isEscaped {
            word = (word ?? "") + String(character)
            isEscaped = false
        } else if let open = quote {
            if character == open {
                quote = nil
            } else if character == "\\" && open == "\"" {
                isEscaped = true
            } else {
                word = (word ?? "") + String(character)
            }
        } else if character == "'" || character == "\"" {
            quote = character
            word = word ?? ""
        } else if character == "\\" {
            isEscaped = true
        } else if character == " " || character == "\t" || character == "\n" {
            if let word { words.append(word) }
            word = nil
        } else {
            word = (word ?? "") + String(character)
        }
    }
    guard quote == nil, !isEscaped else { return nil }
    return words + (word.map { [$0] } ?? [])
}
