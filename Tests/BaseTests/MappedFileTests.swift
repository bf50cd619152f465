import Foundation
import TestSupport
import Testing

@testable import Base

@Suite("Mapped files")
struct MappedFileTests {
    @Test("the map and pread give the file's bytes")
    func contents() throws {
        try withTemporaryFolder { folder in
            let bytes = (0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            let file = try MappedFile(path: write(bytes, to: folder))
            #expect(file.count == 10_000)
            #expect(file.withBytes { Array($0) } == bytes)
            var part = [UInt8](repeating: 0, count: 100)
            try part.withUnsafeMutableBytes { try file.read(into: $0, at: 9_900) }
            #expect(part == Array(bytes[9_900...]))
        }
    }

    @Test("a file that became shorter is an error of read")
    func shortened() throws {
        try withTemporaryFolder { folder in
            let path = try write([UInt8](repeating: 1, count: 100), to: folder)
            let file = try MappedFile(path: path)
            #expect(truncate(path, 50) == 0)
            var part = [UInt8](repeating: 0, count: 100)
            let text = errorText { try part.withUnsafeMutableBytes { try file.read(into: $0, at: 0) } }
            #expect(text == "\(path) has become shorter while it was read: no byte at 50")
        }
    }

    @Test("a FIFO, a device and links to them are refused at once")
    func noRegularFile() throws {
        try withTemporaryFolder { folder in
            let fifo = folder.appendingPathComponent("fifo").path
            #expect(mkfifo(fifo, 0o600) == 0)
            let link = folder.appendingPathComponent("link").path
            #expect(symlink(fifo, link) == 0)
            for path in [fifo, link, "/dev/zero", "/dev/null"] {
                let text = errorText { _ = try MappedFile(path: path) }
                #expect(text == "cannot read \(path): it is not a regular file")
            }
        }
    }

    @Test("missing files, folders and empty files are refused")
    func refused() throws {
        try withTemporaryFolder { folder in
            let missing = folder.appendingPathComponent("none").path
            #expect(
                errorText { _ = try MappedFile(path: missing) } == "cannot open \(missing): No such file or directory")
            #expect(
                errorText { _ = try MappedFile(path: folder.path) }
                    == "cannot read \(folder.path): it is not a regular file")
            let empty = try write([], to: folder, "empty")
            #expect(errorText { _ = try MappedFile(path: empty) } == "\(empty) is empty (0 bytes)")
        }
    }
}
