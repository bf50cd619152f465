/// Python's string methods on UTF-8 bytes. All take time that is linear in what they are given.
enum TemplateStrings {
    /// Calls `body` with the places where `pattern`, which is not empty, stands in `text`, from the left and without
    /// overlap, until it returns false (Knuth, Morris and Pratt).
    static func forEachOccurrence(
        of pattern: [UInt8], in text: [UInt8], _ body: (Int) throws -> Bool
    ) rethrows {
        var failure = [Int](repeating: 0, count: pattern.count)
        var length = 0
        for i in pattern.indices.dropFirst() {
            while length > 0, pattern[i] != pattern[length] { length = failure[length - 1] }
            if pattern[i] == pattern[length] { length += 1 }
            failure[i] = length
        }
        length = 0
        for i in text.indices {
            while length > 0, text[i] != pattern[length] { length = failure[length - 1] }
            if text[i] == pattern[length] { length += 1 }
            if length == pattern.count {
                guard try body(i + 1 - length) else { return }
                length = 0
            }
        }
    }

    /// The first place of `pattern`; an empty one stands at 0.
    static func find(_ pattern: [UInt8], in text: [UInt8]) -> Int? {
        if pattern.isEmpty { return 0 }
        var found: Int?
        forEachOccurrence(of: pattern, in: text) {
            found = $0
            return false
        }
        return found
    }

    /// The text without the scalars of `set`, or without blanks, at its ends.
    static func strip(_ text: [UInt8], _ set: [UInt8]?, left: Bool, right: Bool) -> [UInt8] {
        let scalars = set.map { Set(String(decoding: $0, as: UTF8.self).unicodeScalars) }
        func isCut(_ scalar: Unicode.Scalar) -> Bool { scalars?.contains(scalar) ?? isBlank(scalar) }
        var start = 0
        var end = text.count
        while left, start < end {
            let (scalar, length) = UTF8Text.scalar(text, at: start)
            guard isCut(scalar) else { break }
            start += length
        }
        while right, start < end {
            let (scalar, length) = UTF8Text.scalar(text, before: end)
            guard isCut(scalar) else { break }
            end -= length
        }
        return Array(text[start..<end])
    }

    /// What Python's `str.isspace` says of a character.
    static func isBlank(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.isWhitespace || (0x1C...0x1F).contains(scalar.value)
    }

    /// The runs between blanks, none of them empty.
    static func words(_ text: [UInt8]) -> [Range<Int>] {
        var words: [Range<Int>] = []
        var start: Int?
        var i = 0
        while i < text.count {
            let (scalar, length) = UTF8Text.scalar(text, at: i)
            if isBlank(scalar) {
                if let begin = start { words.append(begin..<i) }
                start = nil
            } else if start == nil {
                start = i
            }
            i += length
        }
        if let begin = start { words.append(begin..<text.count) }
        return words
    }

    /// First character in title case, the rest in lower case.
    static func capitalized(_ text: String) -> String {
        guard let first = text.unicodeScalars.first else { return text }
        var rest = String.UnicodeScalarView()
        rest.append(contentsOf: text.unicodeScalars.dropFirst())
        return first.properties.titlecaseMapping + String(rest).lowercased()
    }
}
