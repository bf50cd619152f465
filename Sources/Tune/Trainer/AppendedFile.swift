import Base
import Foundation

/// A file that grows as a run goes: what was there is replaced first, whole or not at all.
final class AppendedFile {
    private let path: String
    private let descriptor: Int32

    /// Makes the file with what it begins with.
    ///
    /// - Throws: a run-time error if it cannot be written.
    init(path: String, beginning: [UInt8]) throws {
        self.path = path
        try writeFileAtomically(path: path, beginning, overwrite: true, mode: ownerOnly)
        descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw MeraserError.runtime("cannot write \(path): \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(descriptor) }

    /// Appends bytes at once.
    ///
    /// - Throws: a run-time error if they could not all be written.
    func append(_ bytes: [UInt8]) throws {
        let written = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
        guard written == bytes.count else {
            throw MeraserError.runtime(
                "cannot write \(path): \(written < 0 ? String(cString: strerror(errno)) : "the disk is full")")
        }
    }
}
