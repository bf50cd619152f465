import Base
import Foundation
import Quant
import TestSupport
import Testing

@Test("a folder appears only when it is committed, and replaces another only when asked to")
func atomicFolder() throws {
    try withTemporaryFolder { parent in
        let path = parent.appendingPathComponent("out").path
        do {
            let folder = try AtomicFolder(path: path)
            try writeFileAtomically(path: folder.temporaryPath + "/file", [1])
        }
        #expect(try FileManager.default.contentsOfDirectory(atPath: parent.path) == [])

        let first = try AtomicFolder(path: path)
        try writeFileAtomically(path: first.temporaryPath + "/old", [1])
        try first.commit()
        let refused = try #require(throws: MeraserError.self) { try AtomicFolder(path: path) }
        #expect(refused.kind == .usage && refused.message.contains("`overwrite`"))

        let second = try AtomicFolder(path: path, overwrite: true)
        try writeFileAtomically(path: second.temporaryPath + "/new", [2])
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).sorted() == [".meraser.json", "old"])
        try second.commit()
        #expect(try FileManager.default.contentsOfDirectory(atPath: path).sorted() == [".meraser.json", "new"])
        #expect(try FileManager.default.contentsOfDirectory(atPath: parent.path) == ["out"])
    }
}

@Test("a folder without a parent is a usage error that names the parent")
func atomicFolderWithoutParent() throws {
    try withTemporaryFolder { parent in
        let error = try #require(throws: MeraserError.self) { try AtomicFolder(path: parent.path + "/missing/out") }
        #expect(error.kind == .usage && error.message.contains(parent.path + "/missing"))
    }
}

@Test("plain types round to nearest even, and the first number that is not finite is found")
func plainNumbers() {
    // 1 + 2⁻⁸ lies half way between two bf16 numbers, 1 and 1 + 2⁻⁷: the even one is 1.
    #expect(plainBytes([1, 1.00390625, -2], type: .bf16) == [0x80, 0x3F, 0x80, 0x3F, 0x00, 0xC0])
    #expect(plainBytes([1, 65504], type: .f16) == [0x00, 0x3C, 0xFF, 0x7B])
    #expect(plainBytes([1.5], type: .f32) == [0x00, 0x00, 0xC0, 0x3F])
    #expect(firstNonFinite([0, 1, .infinity, .nan]) == 2)
    #expect(firstNonFinite([0, 1]) == nil)
}
