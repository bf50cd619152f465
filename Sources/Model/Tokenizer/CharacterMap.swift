import Base
import Foundation

/// SentencePiece's table of what characters become (`precompiled_charsmap`), as `tokenizers` applies it: to whole grapheme
/// clusters of up to five bytes, else to every character of one.
///
/// The format (sentencepiece, src/normalizer.cc; darts-clone): the size of a double array as 32 bits, little-endian; the
/// array of 32-bit units; texts that end in zero bytes, which the array's values are places of.
struct CharacterMap: Sendable {
    private let units: [UInt32]
    private let texts: [UInt8]
    /// By ASCII character, where its text begins and ends; nil: it stays.
    private let ascii: [Range<Int>?]
    /// The most bytes that it makes out of one.
    let growth: Int

    /// The most bytes of a table; that of T5 and XLM-RoBERTa has 240 KB.
    private static let maximumByteCount = 16 << 20

    /// Reads the table of a file. Errors (`badInput`) name `file`: no Base64, a size that does not fit.
    init(base64: String, file: String) throws {
        guard let data = Data(base64Encoded: base64) else {
            throw MeraserError.badInput("\(file): precompiled_charsmap is no Base64")
        }
        try self.init([UInt8](data), file: file)
    }

    /// Reads the table itself; an empty one changes nothing.
    init(_ bytes: [UInt8], file: String) throws {
        func bad(_ what: String) -> MeraserError { .badInput("\(file): precompiled_charsmap \(what)") }
        guard bytes.count <= Self.maximumByteCount else {
            throw bad("has more than \(Self.maximumByteCount >> 20) MiB")
        }
        guard !bytes.isEmpty else {
            (units, texts, ascii, growth) = ([], [], [Range<Int>?](repeating: nil, count: 128), 1)
            return
        }
        let size = bytes.count >= 4 ? Int(Self.word(bytes, 0)) : 0
        guard bytes.count >= 4, size % 4 == 0, size > 0, size <= bytes.count - 4 else {
            throw bad("says that its array has \(size) bytes, of \(bytes.count)")
        }
        let units = stride(from: 4, to: 4 + size, by: 4).map { Self.word(bytes, $0) }
        let texts = Array(bytes[(4 + size)...])
        var longest = 0
        var run = 0
        for byte in texts {
            run = byte == 0 ? 0 : run + 1
            longest = max(longest, run)
        }
        (self.units, self.texts) = (units, texts)
        growth = max(1, longest)
        ascii = (0..<128).map { byte in
            [UInt8(byte)].withUnsafeBufferPointer { Self.find($0, units, texts) }
        }
    }

    private static func word(_ bytes: [UInt8], _ i: Int) -> UInt32 {
        UInt32(bytes[i]) | UInt32(bytes[i + 1]) << 8 | UInt32(bytes[i + 2]) << 16 | UInt32(bytes[i + 3]) << 24
    }

    /// Normalizes a text.
    func apply(to text: inout NormalizedText) {
        guard !units.isEmpty else { return }
        var result: [UInt8] = []
        result.reserveCapacity(text.bytes.count + text.bytes.count / 4)
        text.bytes.withUnsafeBufferPointer { bytes in
            var i = 0
            while i < bytes.count {
                // Between two ASCII characters, but for CR LF, is a border of clusters.
                var end = i + 1
                while end < bytes.count,
                    bytes[end - 1] | bytes[end] >= 0x80 || bytes[end - 1] == 0x0D && bytes[end] == 0x0A
                {
                    end += 1
                }
                let part = UnsafeBufferPointer(rebasing: bytes[i..<end])
                if part.count == 1 { character(part, into: &result) } else { clusters(part, into: &result) }
                i = end
            }
        }
        text.bytes = result
    }

    private func clusters(_ text: UnsafeBufferPointer<UInt8>, into result: inout [UInt8]) {
        var i = 0
        for cluster in String(decoding: text, as: UTF8.self) {
            let end = i + cluster.utf8.count
            let part = UnsafeBufferPointer(rebasing: text[i..<end])
            if part.count < 6, let found = Self.find(part, units, texts) {
                result.append(contentsOf: texts[found])
            } else {
                while i < end {
                    let length = UTF8Text.length(first: text[i])
                    character(UnsafeBufferPointer(rebasing: text[i..<i + length]), into: &result)
                    i += length
                }
            }
            i = end
        }
    }

    private func character(_ text: UnsafeBufferPointer<UInt8>, into result: inout [UInt8]) {
        if let found = text[0] < 0x80 ? ascii[Int(text[0])] : Self.find(text, units, texts) {
            result.append(contentsOf: texts[found])
        } else {
            result.append(contentsOf: text)
        }
    }

    /// Where the text lies that the shortest beginning of `key` which the array has stands for.
    private static func find(_ key: UnsafeBufferPointer<UInt8>, _ units: [UInt32], _ texts: [UInt8]) -> Range<Int>? {
        func offset(_ unit: UInt32) -> Int { Int((unit >> 10) << ((unit & (1 << 9)) >> 6)) }
        var node = offset(units[0])
        for byte in key {
            guard byte != 0 else { return nil }
            node ^= Int(byte)
            guard node < units.count, units[node] & (1 << 31 | 0xFF) == UInt32(byte) else { return nil }
            let unit = units[node]
            node ^= offset(unit)
            guard unit >> 8 & 1 == 1 else { continue }
            guard node < units.count else { return nil }
            let start = Int(units[node] & 0x7FFF_FFFF)
            guard start <= texts.count else { return nil }
            return start..<(texts[start...].firstIndex(of: 0) ?? texts.count)
        }
        return nil
    }
}
