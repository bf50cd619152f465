/// GPT-2's spelling of bytes by printable characters, in which byte-level vocabularies are written: printable bytes of
/// Latin-1 stand for themselves, the 68 others for U+0100 onwards (`bytes_to_unicode` of GPT-2's encoder).
enum ByteLevel {
    /// GPT-2's words: contractions, letters, numbers, other signs, each with a space before them, and white space.
    static let pattern = #"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    private static let scalars: [Unicode.Scalar] = {
        var next: UInt32 = 0x100
        return (0..<256).map { (byte: UInt32) in
            switch byte {
            case 0x21...0x7E, 0xA1...0xAC, 0xAE...0xFF:
                return Unicode.Scalar(byte) ?? " "
            default:
                next += 1
                return Unicode.Scalar(next - 1) ?? " "
            }
        }
    }()
    /// By byte, the UTF-8 of its character.
    private static let spelling = scalars.map { Array(String($0).utf8) }
    /// By character below U+0144, the byte or -1.
    private static let bytes: [Int16] = {
        var table = [Int16](repeating: -1, count: 0x144)
        for (byte, scalar) in scalars.enumerated() { table[Int(scalar.value)] = Int16(byte) }
        return table
    }()

    /// Appends the character that stands for a byte.
    @inline(__always)
    static func spell(_ byte: UInt8, into result: inout [UInt8]) {
        switch byte {
        case 0x21...0x7E: result.append(byte)
        default: for unit in spelling[Int(byte)] { result.append(unit) }
        }
    }

    /// The characters that stand for those bytes.
    static func spell(_ text: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 4)
        for byte in text { spell(byte, into: &result) }
        return result
    }

    /// The bytes that a token spells; the token itself where a character in it stands for no byte.
    static func bytes(of token: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(token.count)
        var i = 0
        while i < token.count {
            let (scalar, length) = UTF8Text.scalar(token, at: i)
            guard scalar.value < bytes.count, bytes[Int(scalar.value)] >= 0 else { return token }
            result.append(UInt8(bytes[Int(scalar.value)]))
            i += length
        }
        return result
    }
}
