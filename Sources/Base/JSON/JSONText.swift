/// Byte-level helpers of the JSON reader.
enum JSONText {
    /// The first position from `start` whose byte is not printable ASCII other than `"` and `\`; eight bytes at a time.
    @inline(__always)
    static func endOfPlainRun(_ bytes: UnsafeBufferPointer<UInt8>, from start: Int) -> Int {
        let raw = UnsafeRawBufferPointer(bytes)
        let count = raw.count
        var i = start
        while i + 8 <= count {
            let special = specialBytes(UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: i, as: UInt64.self)))
            if special != 0 { return i + special.trailingZeroBitCount / 8 }
            i += 8
        }
        while i < count {
            let byte = raw[i]
            if byte < 0x20 || byte >= 0x80 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { break }
            i += 1
        }
        return i
    }

    /// Not 0 where one of the eight bytes is a control character, `"`, `\` or beyond ASCII; the lowest bit that is set is the
    /// highest of the first such byte.
    @inline(__always)
    private static func specialBytes(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let highs: UInt64 = 0x8080_8080_8080_8080
        let quote = word ^ 0x2222_2222_2222_2222
        let backslash = word ^ 0x5C5C_5C5C_5C5C_5C5C
        // x - k borrows into bit 7 exactly where a byte with bit 7 clear is below k (lowest such byte is exact).
        return ((word &- ones &* 0x20) | (quote &- ones) | (backslash &- ones) | word) & highs
    }

    /// The length of the well-formed UTF-8 sequence at `i` (RFC 3629: no overlong forms, no surrogates), or 0.
    @inline(__always)
    static func lengthOfScalar(_ bytes: UnsafeBufferPointer<UInt8>, at i: Int) -> Int {
        // Two bytes are what most are that vocabularies have: `Ġ`.
        if 0xC2...0xDF ~= bytes[i], i + 1 < bytes.count, bytes[i + 1] & 0xC0 == 0x80 { return 2 }
        return lengthOfAnyScalar(bytes, at: i)
    }

    private static func lengthOfAnyScalar(_ bytes: UnsafeBufferPointer<UInt8>, at i: Int) -> Int {
        let first = bytes[i]
        let length: Int
        var second: ClosedRange<UInt8> = 0x80...0xBF
        switch first {
        case 0..<0x80: return 1
        case 0xC2...0xDF: length = 2
        case 0xE0...0xEF:
            length = 3
            if first == 0xE0 { second = 0xA0...0xBF }
            if first == 0xED { second = 0x80...0x9F }
        case 0xF0...0xF4:
            length = 4
            if first == 0xF0 { second = 0x90...0xBF }
            if first == 0xF4 { second = 0x80...0x8F }
        default: return 0
        }
        guard i + length <= bytes.count, second.contains(bytes[i + 1]) else { return 0 }
        for j in 2..<max(2, length) where bytes[i + j] & 0xC0 != 0x80 { return 0 }
        return length
    }

    /// The value of a hexadecimal digit, or nil.
    static func hexDigit(_ byte: UInt8) -> UInt32? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): return UInt32(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): return UInt32(byte - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): return UInt32(byte - UInt8(ascii: "A") + 10)
        default: return nil
        }
    }
}
