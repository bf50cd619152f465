import Foundation

/// A file that has no name: only the process that made it reads what it wrote there, and the file is gone when that process
/// is, however it ends.
///
/// Not thread-safe.
public final class NamelessFile {
    private let folder: String
    private let descriptor: Int32

    /// Makes an empty file on the disk of that folder, which must exist.
    ///
    /// - Throws: a run-time error if it cannot be made there.
    public init(folder: String) throws {
        // It has a name for a moment; what is left of it if the process ends just then, removeStaleTemporaries removes.
        let path = TemporaryName.make(for: folder + "/nameless")
        descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, ownerOnly)
        guard descriptor >= 0 else {
            throw MeraserError.runtime("cannot write into \(folder): \(systemErrorText())")
        }
        unlink(path)
        self.folder = folder
    }

    deinit { close(descriptor) }

    /// Bytes that are free on its disk; 0 where that cannot be asked.
    public var freeBytes: Int {
        var status = statvfs()
        guard fstatvfs(descriptor, &status) == 0 else { return 0 }
        return product(Int(clamping: status.f_bavail), Int(clamping: status.f_frsize)) ?? .max
    }

    /// Writes those bytes at that offset; false where they could not all be written, as on a full disk.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> Bool {
        precondition(offset >= 0, "offset \(offset)")
        return writeAll(bytes, to: descriptor, at: offset) == nil
    }

    /// Reads as many bytes as the buffer has, which must have been written there.
    ///
    /// - Throws: a run-time error if the disk does not give them back.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws {
        var done = 0
        while done < buffer.count {
            let n = pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + done))
            if n < 0 && errno == EINTR { continue }
            guard n > 0 else {
                throw MeraserError.runtime(
                    "cannot read back what was written into \(folder): "
                        + (n < 0 ? systemErrorText() : "the file is shorter than it was"))
            }
            done += n
        }
    }
}
