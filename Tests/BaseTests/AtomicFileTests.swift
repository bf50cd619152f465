import Foundation
import TestSupport
import Testing

@testable import Base

@Suite("Atomic files")
struct AtomicFileTests {
    private func names(_ folder: URL) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
    }

    @Test("appears under its name when it is committed, not before")
    func commit() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("a.bin").path
            let file = try AtomicFile(path: path)
            try file.write([1, 2, 3])
            try file.write([4])
            try [UInt8](repeating: 9, count: 2).withUnsafeBytes { try file.write($0, at: 1) }
            #expect(!FileManager.default.fileExists(atPath: path))
            try file.commit()
            #expect(try Array(Data(contentsOf: URL(fileURLWithPath: path))) == [1, 9, 9, 4])
            #expect(try names(folder) == ["a.bin"])
        }
    }

    @Test("leaves nothing when it is dropped")
    func dropped() throws {
        try withTemporaryFolder { folder in
            do {
                let file = try AtomicFile(path: folder.appendingPathComponent("a.bin").path)
                try file.write([1, 2, 3])
                #expect(try names(folder).count == 1)
            }
            #expect(try names(folder) == [])
        }
    }

    @Test("an existing file is refused unless it may be overwritten, and survives a failure")
    func existing() throws {
        try withTemporaryFolder { folder in
            let path = try write([7], to: folder, "a.bin")
            let text = errorText(.usage) { _ = try AtomicFile(path: path) }
            #expect(text == "\(path) exists; choose another name or pass `overwrite`")
            do {
                let file = try AtomicFile(path: path, overwrite: true, mode: 0o666, maximumByteCount: 4)
                let full = errorText(.runtime) { try file.write([1, 2, 3, 4, 5]) }
                #expect(full == "cannot write \(path): the disk is full; free some space or choose another disk")
            }
            #expect(try Array(Data(contentsOf: URL(fileURLWithPath: path))) == [7])
            #expect(try names(folder) == ["a.bin"])
            try writeFileAtomically(path: path, [8], overwrite: true)
            #expect(try Array(Data(contentsOf: URL(fileURLWithPath: path))) == [8])
        }
    }

    @Test("the mode is that of the caller")
    func mode() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("key.json").path
            try writeFileAtomically(path: path, [1], mode: 0o600)
            let attributes = try FileManager.default.attributesOfItem(atPath: path)
            #expect(attributes[.posixPermissions] as? Int == 0o600)
        }
    }

    @Test("a folder in the way and a missing folder are usage errors")
    func places() throws {
        try withTemporaryFolder { folder in
            #expect(
                errorText(.usage) { _ = try AtomicFile(path: folder.path, overwrite: true) }
                    == "cannot write \(folder.path): it is a folder; name a file")
            let path = folder.appendingPathComponent("none/a.bin").path
            #expect(
                errorText(.usage) { _ = try AtomicFile(path: path) }
                    == "cannot write \(path): there is no folder \(folder.path)/none; make it first")
        }
    }

    @Test("too large a file for the disk is refused before it is begun")
    func freeSpace() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("a.bin").path
            let text = errorText(.runtime) { try checkFreeSpace(for: 1 << 60, path: path) }
            #expect(text.hasPrefix("cannot write \(path): it needs 1048576 TiB, the disk has "))
            try checkFreeSpace(for: 1, path: path)
        }
    }
}
