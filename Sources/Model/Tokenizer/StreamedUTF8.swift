/// What the beginning of a growing byte sequence is.
enum StreamedUTF8: Equatable {
    case complete(Int)
    case incomplete
    case invalid

    /// Judges the first character of `bytes`, which are not empty.
    static func first(_ bytes: [UInt8]) -> StreamedUTF8 {
        let byte = bytes[0]
        guard byte >= 0x80 else { return .complete(1) }
        guard (0xC2...0xF4).contains(byte) else { return .invalid }
        let length = UTF8Text.length(first: byte)
        // The second byte's range excludes overlong forms, surrogates and what lies beyond U+10FFFF.
        let low: UInt8 = byte == 0xE0 ? 0xA0 : byte == 0xF0 ? 0x90 : 0x80
        let high: UInt8 = byte == 0xED ? 0x9F : byte == 0xF4 ? 0x8F : 0xBF
        for i in 1..<min(length, bytes.count) {
            guard bytes[i] >= (i == 1 ? low : 0x80), bytes[i] <= (i == 1 ? high : 0xBF) else { return .invalid }
        }
        return bytes.count >= length ? .complete(length) : .incomplete
    }
}
