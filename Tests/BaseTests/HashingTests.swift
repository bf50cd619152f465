import TestSupport
import Testing

@testable import Base

@Suite("SHA-256")
struct HashingTests {
    @Test("SHA-256 of the vectors of FIPS 180-2")
    func sha256() throws {
        #expect(sha256Hex([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(sha256Hex("abc".utf8) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        let million = [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000)
        let digest = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        #expect(sha256Hex(million) == digest)
        try withTemporaryFolder { folder in
            let path = try write(million, to: folder)
            #expect(try sha256Hex(ofFile: path) == digest)
            // More than one piece.
            let long = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let longPath = try write(long, to: folder, "long")
            #expect(try sha256Hex(ofFile: longPath) == sha256Hex(long))
        }
    }
}
