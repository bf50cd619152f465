/// Helpers on text that is an array of valid UTF-8 bytes.
enum UTF8Text {
    /// The length of the sequence that begins with that byte.
    static func length(first byte: UInt8) -> Int { byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4 }

    /// The scalar that begins at `i`, with its length.
    static func scalar(_ text: [UInt8], at i: Int) -> (scalar: Unicode.Scalar, length: Int) {
        text.withUnsafeBufferPointer { scalar($0, at: i) }
    }

    /// The scalar that begins at `i`, with its length.
    @inline(__always)
    static func scalar(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> (scalar: Unicode.Scalar, length: Int) {
        let first = UInt32(text[i])
        func next(_ j: Int) -> UInt32 { UInt32(text[i + j]) & 0x3F }
        let code: UInt32
        let length: Int
        switch first {
        case 0..<0x80: (code, length) = (first, 1)
        case 0x80..<0xE0: (code, length) = ((first & 0x1F) << 6 | next(1), 2)
        case 0xE0..<0xF0: (code, length) = ((first & 0x0F) << 12 | next(1) << 6 | next(2), 3)
        default: (code, length) = ((first & 0x07) << 18 | next(1) << 12 | next(2) << 6 | next(3), 4)
        }
        return (Unicode.Scalar(code) ?? "\u{FFFD}", length)
    }

    /// The scalar that ends before `i`, with its length.
    static func scalar(_ text: [UInt8], before i: Int) -> (scalar: Unicode.Scalar, length: Int) {
        var start = i - 1
        while start > 0, text[start] & 0xC0 == 0x80 { start -= 1 }
        return scalar(text, at: start)
    }

    /// True if `pattern`, which is not empty, stands at `i`.
    static func has(_ text: [UInt8], _ pattern: [UInt8], at i: Int) -> Bool {
        guard i + pattern.count <= text.count else { return false }
        for j in 0..<pattern.count where text[i + j] != pattern[j] { return false }
        return true
    }

    /// True if `pattern`, which is not empty, stands at `i`.
    @inline(__always)
    static func has(_ text: UnsafeBufferPointer<UInt8>, _ pattern: [UInt8], at i: Int) -> Bool {
        guard i + pattern.count <= text.count else { return false }
        for j in 0..<pattern.count where text[i + j] != pattern[j] { return false }
        return true
    }

    /// `text` with every occurrence of `pattern`, from the left and without overlap, replaced.
    static func replacing(_ text: [UInt8], _ pattern: [UInt8], with content: [UInt8]) -> [UInt8] {
        guard !pattern.isEmpty else { return text }
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 2)
        var i = 0
        while i < text.count {
            if text[i] == pattern[0], has(text, pattern, at: i) {
                result.append(contentsOf: content)
                i += pattern.count
            } else {
                result.append(text[i])
                i += 1
            }
        }
        return result
    }

}
