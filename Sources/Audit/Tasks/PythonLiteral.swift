import Base

/// A Python list of strings and whole numbers, `['a', "b", '''c''']`, as lm-eval's templates print them: what Python's
/// `ast.literal_eval` reads of it.
enum PythonLiteral {
    /// The elements; nil for anything else.
    static func list(_ text: String) -> [JSONValue]? {
        var reader = Reader(text: Array(text.unicodeScalars))
        return reader.list()
    }

    private struct Reader {
        let text: [Unicode.Scalar]
        var position = 0

        mutating func list() -> [JSONValue]? {
            skipBlanks()
            guard take("[") else { return nil }
            var elements: [JSONValue] = []
            while true {
                skipBlanks()
                if take("]") { break }
                guard let element = element() else { return nil }
                elements.append(element)
                skipBlanks()
                if take(",") { continue }
                guard take("]") else { return nil }
                break
            }
            skipBlanks()
            return position == text.count ? elements : nil
        }

        private mutating func element() -> JSONValue? {
            for quote in ["'''", "\"\"\"", "'", "\""] where take(quote) {
                return string(until: quote).map { .text($0) }
            }
            var digits = ""
            while position < text.count, text[position] == "-" || ("0"..."9").contains(text[position]) {
                digits.unicodeScalars.append(text[position])
                position += 1
            }
            return Int(digits).map { .integer($0) }
        }

        private mutating func string(until quote: String) -> String? {
            var result = String.UnicodeScalarView()
            while position < text.count {
                if take(quote) { return String(result) }
                let scalar = text[position]
                position += 1
                guard scalar == "\\" else {
                    if scalar == "\n", quote.count == 1 { return nil }
                    result.append(scalar)
                    continue
                }
                guard position < text.count else { return nil }
                let escaped = text[position]
                position += 1
                switch escaped {
                case "n": result.append("\n")
                case "t": result.append("\t")
                case "r": result.append("\r")
                case "\\", "'", "\"": result.append(escaped)
                case "\n": break
                case "x", "u", "U":
                    guard let scalar = code(escaped == "x" ? 2 : escaped == "u" ? 4 : 8) else { return nil }
                    result.append(scalar)
                default:
                    result.append("\\")
                    result.append(escaped)
                }
            }
            return nil
        }

        private mutating func code(_ digits: Int) -> Unicode.Scalar? {
            guard position + digits <= text.count else { return nil }
            var view = String.UnicodeScalarView()
            view.append(contentsOf: text[position..<position + digits])
            position += digits
            return UInt32(String(view), radix: 16).flatMap { Unicode.Scalar($0) }
        }

        private mutating func take(_ expected: String) -> Bool {
            let scalars = Array(expected.unicodeScalars)
            guard text[position...].starts(with: scalars) else { return false }
            position += scalars.count
            return true
        }

        private mutating func skipBlanks() {
            while position < text.count, text[position].properties.isWhitespace { position += 1 }
        }
    }
}
