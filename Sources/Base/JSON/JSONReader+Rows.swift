// Rows as writers write them: texts without escapes, and small integers. Everything else is left to the reader that knows all
// of JSON, which also finds what is wrong.

extension JSONReader {
    /// Reads `"text": 123` of an object as long as that is what comes, and gives `add` each text and integer.
    @inline(__always)
    mutating func readPlainMembers(_ add: (_ text: Range<Int>, _ integer: Int) -> Void) {
        while var i = startOfRow(.keyOrEnd), let text = plainText(&i), skip(UInt8(ascii: ":"), &i) {
            let start = i
            var value = 0
            while i < bytes.count, bytes[i] &- 0x30 < 10 {
                value = value &* 10 &+ Int(bytes[i] &- 0x30)
                i += 1
            }
            guard i > start, i - start < 10, bytes[start] != 0x30 || i == start + 1, i < bytes.count,
                bytes[i] == UInt8(ascii: ",") || bytes[i] == UInt8(ascii: "}") || Self.isSpace(bytes[i])
            else { return }
            finishRow(i)
            add(text, value)
        }
    }

    /// Reads `"text"` or `["text", "text"]` of an array as long as that is what comes, and gives `add` the texts.
    @inline(__always)
    mutating func readPlainElements(_ add: (_ first: Range<Int>, _ second: Range<Int>?) -> Void) {
        while var i = startOfRow(.valueOrEnd), i < bytes.count {
            if bytes[i] != UInt8(ascii: "[") {
                guard let first = plainText(&i) else { return }
                finishRow(i)
                add(first, nil)
                continue
            }
            i += 1
            skipSpace(&i)
            guard let first = plainText(&i), skip(UInt8(ascii: ","), &i), let second = plainText(&i) else { return }
            skipSpace(&i)
            guard i < bytes.count, bytes[i] == UInt8(ascii: "]") else { return }
            finishRow(i + 1)
            add(first, second)
        }
    }

    /// Where a row begins: at once in the state `first`, else behind a comma; nil where there is none.
    @inline(__always)
    private func startOfRow(_ first: State) -> Int? {
        var i = position
        skipSpace(&i)
        if state == first { return i }
        guard state == .separatorOrEnd, skip(UInt8(ascii: ","), &i) else { return nil }
        return i
    }

    @inline(__always)
    private mutating func finishRow(_ end: Int) {
        position = end
        state = .separatorOrEnd
    }

    @inline(__always)
    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 }

    @inline(__always)
    private func skipSpace(_ i: inout Int) {
        while i < bytes.count, Self.isSpace(bytes[i]) { i += 1 }
    }

    /// Moves over white space, that byte and white space; false if it is not there.
    @inline(__always)
    private func skip(_ byte: UInt8, _ i: inout Int) -> Bool {
        skipSpace(&i)
        guard i < bytes.count, bytes[i] == byte else { return false }
        i += 1
        skipSpace(&i)
        return true
    }

    /// The bytes between quotes, if there is neither an escape nor anything that is no text; `i` moves behind them.
    @inline(__always)
    private func plainText(_ i: inout Int) -> Range<Int>? {
        guard i < bytes.count, bytes[i] == UInt8(ascii: "\"") else { return nil }
        let start = i + 1
        var end = start
        while true {
            end = JSONText.endOfPlainRun(bytes, from: end)
            guard end < bytes.count else { return nil }
            if bytes[end] == UInt8(ascii: "\"") {
                i = end + 1
                return start..<end
            }
            // An escape or a control character has no length here.
            let length = bytes[end] < 0x80 ? 0 : JSONText.lengthOfScalar(bytes, at: end)
            guard length > 0 else { return nil }
            end += length
        }
    }
}
