import Foundation

/// Little-endian bytes put together by a test, apart from the code under test.
struct LittleEndianBytes {
    var bytes: [UInt8] = []

    mutating func u8(_ value: UInt8) { bytes.append(value) }
    mutating func u32(_ value: UInt32) { for i in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * i))) } }
    mutating func u64(_ value: UInt64) { for i in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * i))) } }
    mutating func string(_ text: String) { string(Array(text.utf8)) }
    mutating func string(_ text: [UInt8]) {
        u64(UInt64(text.count))
        bytes += text
    }
}

/// CRC32C bit by bit: slow, but with nothing to get wrong.
func referenceCRC32C(_ bytes: some Sequence<UInt8>) -> UInt32 {
    var crc: UInt32 = 0xFFFF_FFFF
    for byte in bytes {
        crc ^= UInt32(byte)
        for _ in 0..<8 { crc = crc & 1 == 1 ? (crc >> 1) ^ 0x82F6_3B78 : crc >> 1 }
    }
    return ~crc
}

/// Calls `body` with every variant of a file in which one byte of `range` is xor'ed with a value of `flips`; the file is
/// changed in place, so `body` must not keep it mapped.
func forEachFlip(
    of path: String, _ bytes: [UInt8], in range: Range<Int>, flips: (Int) -> [UInt8], _ body: (Int) throws -> Void
) throws {
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    defer { try? handle.close() }
    for i in range {
        let values = flips(i)
        for flip in values.isEmpty ? [] : values + [0] {
            try handle.seek(toOffset: UInt64(i))
            try handle.write(contentsOf: [bytes[i] ^ flip])
            if flip != 0 { try body(i) }
        }
    }
}
