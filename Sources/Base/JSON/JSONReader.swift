/// What a ``JSONReader`` meets next.
enum JSONEvent {
    case beginObject
    case key(JSONString)
    case endObject
    case beginArray
    case endArray
    case scalar(JSONValue)
}

/// A pull parser over bytes in memory: strict RFC 8259, at most 64 levels deep, no allocation but for strings.
///
/// It does not check for duplicate keys; the DOM does. The buffer must outlive the reader.
struct JSONReader {
    /// The deepest nesting that is read.
    static let maximumDepth = 64
    /// The longest number, in characters: longer ones have no use and are slow to convert.
    static let maximumNumberLength = 512

    enum State { case value, valueOrEnd, key, keyOrEnd, separatorOrEnd, finished }

    let bytes: UnsafeBufferPointer<UInt8>
    private let count: Int
    private let file: String
    private let firstLine: Int
    /// One entry a level: true for an object.
    private var isObject: [Bool] = []
    var state = State.value
    var position = 0
    /// Where the last key began.
    private(set) var keyStart = 0

    init(_ bytes: UnsafeBufferPointer<UInt8>, file: String, firstLine: Int = 1) {
        self.bytes = bytes
        count = bytes.count
        self.file = file
        self.firstLine = firstLine
    }

    /// The next event; nil after the one value and the whitespace behind it, up to the end of the bytes.
    mutating func next() throws -> JSONEvent? {
        skipWhitespace()
        if state == .separatorOrEnd {
            let inObject = isObject[isObject.count - 1]
            if peek() == UInt8(ascii: ",") {
                position += 1
                skipWhitespace()
                state = inObject ? .key : .value
            } else if peek() == (inObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) {
                return close()
            } else {
                throw unexpected(inObject ? "',' or '}'" : "',' or ']'")
            }
        }
        switch state {
        case .finished:
            guard position == count else { throw unexpected("the end of the file") }
            return nil
        case .keyOrEnd where peek() == UInt8(ascii: "}"), .valueOrEnd where peek() == UInt8(ascii: "]"):
            return close()
        case .key, .keyOrEnd:
            guard peek() == UInt8(ascii: "\"") else {
                throw unexpected(state == .key ? "a key in double quotes" : "a key in double quotes or '}'")
            }
            keyStart = position
            let key = try string()
            skipWhitespace()
            guard peek() == UInt8(ascii: ":") else { throw unexpected("':' after a key") }
            position += 1
            state = .value
            return .key(key)
        default:
            return try value()
        }
    }

    private mutating func value() throws -> JSONEvent {
        guard let byte = peek() else { throw unexpected("a value") }
        switch byte {
        case UInt8(ascii: "{"): return try open(object: true)
        case UInt8(ascii: "["): return try open(object: false)
        case UInt8(ascii: "\""): return finish(.string(try string()))
        case UInt8(ascii: "t"): return finish(try literal("true", .bool(true)))
        case UInt8(ascii: "f"): return finish(try literal("false", .bool(false)))
        case UInt8(ascii: "n"): return finish(try literal("null", .null))
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return finish(try number())
        default: throw unexpected(state == .valueOrEnd ? "a value or ']'" : "a value")
        }
    }

    private mutating func open(object: Bool) throws -> JSONEvent {
        guard isObject.count < Self.maximumDepth else {
            throw error("nested deeper than \(Self.maximumDepth) levels", at: position)
        }
        position += 1
        isObject.append(object)
        state = object ? .keyOrEnd : .valueOrEnd
        return object ? .beginObject : .beginArray
    }

    private mutating func close() -> JSONEvent {
        position += 1
        let wasObject = isObject.removeLast()
        state = isObject.isEmpty ? .finished : .separatorOrEnd
        return wasObject ? .endObject : .endArray
    }

    private mutating func finish(_ value: JSONValue) -> JSONEvent {
        state = isObject.isEmpty ? .finished : .separatorOrEnd
        return .scalar(value)
    }

    private func peek() -> UInt8? { position < count ? bytes[position] : nil }

    private mutating func skipWhitespace() {
        while position < count {
            let byte = bytes[position]
            guard byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 else { return }
            position += 1
        }
    }

    private mutating func literal(_ word: StaticString, _ value: JSONValue) throws -> JSONValue {
        for i in 0..<word.utf8CodeUnitCount {
            guard position + i < count, bytes[position + i] == word.utf8Start[i] else {
                throw unexpected("'\(word)'")
            }
        }
        position += word.utf8CodeUnitCount
        return value
    }
}

// MARK: - Numbers

extension JSONReader {
    private mutating func number() throws -> JSONValue {
        let start = position
        if peek() == UInt8(ascii: "-") { position += 1 }
        if peek() == UInt8(ascii: "0") {
            position += 1
        } else {
            try digits()
        }
        var isInteger = true
        if peek() == UInt8(ascii: ".") {
            isInteger = false
            position += 1
            try digits()
        }
        if peek() == UInt8(ascii: "e") || peek() == UInt8(ascii: "E") {
            isInteger = false
            position += 1
            if peek() == UInt8(ascii: "+") || peek() == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        if let next = peek(), Self.isNumberByte(next) { throw unexpected("the end of a number") }
        guard position - start <= Self.maximumNumberLength else {
            throw error("a number of more than \(Self.maximumNumberLength) characters", at: start)
        }
        let text = String(decoding: UnsafeBufferPointer(rebasing: bytes[start..<position]), as: UTF8.self)
        if isInteger, let value = Int(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else {
            throw error("the number \(text) is too large", at: start)
        }
        return .number(value)
    }

    private mutating func digits() throws {
        let start = position
        while position < count, bytes[position] >= UInt8(ascii: "0"), bytes[position] <= UInt8(ascii: "9") {
            position += 1
        }
        guard position > start else { throw unexpected("a digit") }
    }

    private static func isNumberByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "+"), UInt8(ascii: "-"),
            UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"):
            return true
        default:
            return false
        }
    }
}

// MARK: - Without a tree

extension JSONReader {
    /// The byte with which the value behind a key begins.
    mutating func peekValue() -> UInt8? {
        skipWhitespace()
        return peek()
    }

    /// The byte with which the next element of an array, or the value behind a key, begins; `]` at the array's end.
    /// Nothing is read but white space: what is missing, `next` finds.
    mutating func peekElement() -> UInt8? {
        skipWhitespace()
        guard state == .separatorOrEnd, peek() == UInt8(ascii: ",") else { return peek() }
        var i = position + 1
        while i < count, bytes[i] == 0x20 || bytes[i] == 0x0A || bytes[i] == 0x0D || bytes[i] == 0x09 { i += 1 }
        return i < count ? bytes[i] : nil
    }

    /// Reads the next key of an object, its text into `result`; false at the object's end, which is read.
    mutating func nextKey(into result: inout [UInt8]) throws -> Bool {
        guard try separate() else {
            _ = close()
            return false
        }
        guard peek() == UInt8(ascii: "\"") else { throw unexpected("a key in double quotes") }
        keyStart = position
        try string(into: &result)
        skipWhitespace()
        guard peek() == UInt8(ascii: ":") else { throw unexpected("':' after a key") }
        position += 1
        state = .value
        return true
    }

    /// Reads the text that comes next, which `peekElement` has seen, into `result`.
    mutating func nextText(into result: inout [UInt8]) throws {
        guard try separate() else { throw unexpected("a value") }
        try string(into: &result)
        state = isObject.isEmpty ? .finished : .separatorOrEnd
    }

    /// Reads an integer of up to nine digits that comes next; nil, and nothing read, for anything else.
    mutating func nextSmallInteger() throws -> Int? {
        skipWhitespace()
        guard state == .value else { return nil }
        var i = position
        var value = 0
        while i < count, i - position < 10, bytes[i] &- 0x30 < 10 {
            value = value &* 10 &+ Int(bytes[i] &- 0x30)
            i += 1
        }
        guard i > position, i - position < 10, i < count, !Self.isNumberByte(bytes[i]),
            bytes[position] != 0x30 || i == position + 1
        else { return nil }
        position = i
        state = .separatorOrEnd
        return value
    }

    /// Reads white space and the comma before an element or a key; false at the end of the array or object.
    private mutating func separate() throws -> Bool {
        skipWhitespace()
        switch state {
        case .separatorOrEnd:
            let end = isObject[isObject.count - 1] ? UInt8(ascii: "}") : UInt8(ascii: "]")
            if peek() == end { return false }
            guard peek() == UInt8(ascii: ",") else {
                throw unexpected(end == UInt8(ascii: "}") ? "',' or '}'" : "',' or ']'")
            }
            position += 1
            skipWhitespace()
            return true
        case .keyOrEnd: return peek() != UInt8(ascii: "}")
        case .valueOrEnd: return peek() != UInt8(ascii: "]")
        default: return true
        }
    }
}

// MARK: - Strings

extension JSONReader {
    private mutating func string() throws -> JSONString {
        var result: [UInt8] = []
        try string(into: &result)
        return JSONString(utf8: result)
    }

    /// Reads a string and appends its bytes.
    private mutating func string(into result: inout [UInt8]) throws {
        position += 1
        var run = position
        while true {
            position = JSONText.endOfPlainRun(bytes, from: position)
            guard position < count else { throw unexpected("'\"' at the end of a string") }
            switch bytes[position] {
            case UInt8(ascii: "\""):
                result.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[run..<position]))
                position += 1
                return
            case UInt8(ascii: "\\"):
                result.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[run..<position]))
                try escape(into: &result)
                run = position
            case 0..<0x20:
                throw unexpected("an escape in place of a control character in a string")
            default:
                let length = JSONText.lengthOfScalar(bytes, at: position)
                guard length > 0 else { throw error("a string is not valid UTF-8", at: position) }
                position += length
            }
        }
    }

    private mutating func escape(into result: inout [UInt8]) throws {
        let start = position
        position += 1
        guard let letter = peek() else { throw unexpected("an escape") }
        position += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): result.append(letter)
        case UInt8(ascii: "b"): result.append(0x08)
        case UInt8(ascii: "f"): result.append(0x0C)
        case UInt8(ascii: "n"): result.append(0x0A)
        case UInt8(ascii: "r"): result.append(0x0D)
        case UInt8(ascii: "t"): result.append(0x09)
        case UInt8(ascii: "u"):
            var code = try hex4()
            if (0xD800..<0xDC00).contains(code), position + 1 < count, bytes[position] == UInt8(ascii: "\\"),
                bytes[position + 1] == UInt8(ascii: "u")
            {
                position += 2
                let low = try hex4()
                guard (0xDC00..<0xE000).contains(low) else { throw error("an unpaired surrogate", at: start) }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw error("an unpaired surrogate", at: start) }
            result.append(contentsOf: UTF8.encode(scalar).map { Array($0) } ?? [])
        default:
            position -= 1
            throw unexpected("one of \" \\ / b f n r t u after a backslash")
        }
    }

    private mutating func hex4() throws -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek(), let digit = JSONText.hexDigit(byte) else {
                throw unexpected("four hexadecimal digits")
            }
            code = code << 4 | digit
            position += 1
        }
        return code
    }
}

// MARK: - Errors

extension JSONReader {
    /// `file:line:column: …`, columns in bytes from 1.
    func error(_ what: String, at offset: Int) -> MeraserError {
        var line = firstLine
        var lineStart = 0
        for i in 0..<min(offset, count) where bytes[i] == 0x0A {
            line += 1
            lineStart = i + 1
        }
        return .badInput("\(file):\(line):\(offset - lineStart + 1): invalid JSON: \(what)")
    }

    private func unexpected(_ expected: String) -> MeraserError {
        guard let byte = peek() else { return error("expected \(expected), found the end of the file", at: position) }
        let found: String
        if position == 0, count >= 3, bytes[0] == 0xEF, bytes[1] == 0xBB, bytes[2] == 0xBF {
            found = "a byte order mark (save the file without it)"
        } else if byte > 0x20, byte < 0x7F {
            found = "'\(Unicode.Scalar(byte))'"
        } else {
            found = "byte 0x\(String(byte, radix: 16, uppercase: true))"
        }
        return error("expected \(expected), found \(found)", at: position)
    }
}
