import TestSupport
import Testing

@testable import Quant

@Suite("Checksums")
struct ChecksumTests {
    @Test("CRC32C of the check string and of awkward lengths")
    func crc() {
        #expect(Array("123456789".utf8).withUnsafeBytes { crc32c($0) } == 0xE306_9283)
        var random = SeededRandom(seed: 1)
        for count in [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 255, 1000, 4097] {
            let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            #expect(bytes.withUnsafeBytes { crc32c($0) } == referenceCRC32C(bytes), "\(count) bytes")
        }
    }

    @Test("CRCs of pieces combine to the CRC of the whole")
    func combined() {
        var random = SeededRandom(seed: 2)
        let bytes = (0..<1000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        let whole = referenceCRC32C(bytes)
        for cut in [0, 1, 3, 8, 500, 999, 1000] {
            let a = referenceCRC32C(bytes[..<cut])
            let b = referenceCRC32C(bytes[cut...])
            #expect(crc32cCombined(a, b, lengthOfB: 1000 - cut) == whole, "cut at \(cut)")
        }
    }
}
