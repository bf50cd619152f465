import Foundation

/// A file that appears under its name only when it is complete: a temporary file in the same folder, written, fsync'ed
/// and renamed by `commit`. Without `commit` the temporary file is removed when the object goes.
///
/// `write(_:at:)` may be called from several threads for ranges that do not overlap; the rest from one.
public final class AtomicFile: @unchecked Sendable {
    // @unchecked: the stored values are constant but for `end` and `isOpen`, which only the single-threaded calls touch.

    /// Where the file will appear.
    public let path: String

    private let temporaryPath: String
    private let overwrite: Bool
    private let descriptor: Int32
    private let maximumByteCount: Int?
    private var end = 0
    private var isOpen = true

    /// Creates the temporary file beside `path`, see `TemporaryName`.
    ///
    /// - Parameters:
    ///   - path: the file to make. If it exists and `overwrite` is false, that is a `usage` error.
    ///   - overwrite: replace a file of that name.
    ///   - mode: permission bits, before the umask.
    public convenience init(path: String, overwrite: Bool = false, mode: mode_t = 0o666) throws {
        try self.init(path: path, overwrite: overwrite, mode: mode, maximumByteCount: nil)
    }

    /// `maximumByteCount` pretends that the disk is full behind that many bytes, for tests.
    public init(path: String, overwrite: Bool, mode: mode_t, maximumByteCount: Int?) throws {
        try Self.checkDestination(path, overwrite: overwrite)
        temporaryPath = TemporaryName.make(for: path)
        descriptor = open(temporaryPath, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard descriptor >= 0 else { throw Self.failure(writing: path) }
        // Tells whoever cleans up that it is in use.
        flock(descriptor, LOCK_EX | LOCK_NB)
        self.path = path
        self.overwrite = overwrite
        self.maximumByteCount = maximumByteCount
    }

    deinit { discard() }

    /// Appends those bytes.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        try write(bytes, at: end)
        end += bytes.count
    }

    /// Appends those bytes.
    public func write(_ bytes: [UInt8]) throws { try bytes.withUnsafeBytes { try write($0) } }

    /// Writes those bytes at that offset; does not move the place where `write(_:)` appends.
    public func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws {
        precondition(offset >= 0, "offset \(offset)")
        if let maximumByteCount, offset + bytes.count > maximumByteCount {
            throw Self.failure(writing: path, ENOSPC)
        }
        if let code = writeAll(bytes, to: descriptor, at: offset) { throw Self.failure(writing: path, code) }
    }

    /// Makes the file that long; new bytes are zero.
    public func setLength(_ count: Int) throws {
        guard ftruncate(descriptor, off_t(count)) == 0 else { throw Self.failure(writing: path) }
        end = count
    }

    /// Flushes the file to the disk and gives it its name. Nothing may be written afterwards.
    public func commit() throws {
        precondition(isOpen, "\(path) was committed or discarded before")
        guard fsync(descriptor) == 0 else { throw Self.failure(writing: path) }
        if !overwrite { try Self.checkIsNew(path) }
        guard rename(temporaryPath, path) == 0 else { throw Self.failure(writing: path) }
        isOpen = false
        close(descriptor)
        syncFolder(URL(fileURLWithPath: path).deletingLastPathComponent().path)
    }

    /// Removes the temporary file, unless `commit` has made it the file.
    public func discard() {
        guard isOpen else { return }
        isOpen = false
        close(descriptor)
        unlink(temporaryPath)
    }

    /// Throws a `usage` error if no file can appear at `path`: it exists and may not be overwritten, it is a folder, or its
    /// folder is missing. For callers that work long before they write.
    public static func checkDestination(_ path: String, overwrite: Bool) throws {
        if !overwrite { try checkIsNew(path) }
        var isFolder: ObjCBool = false
        guard !FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) || !isFolder.boolValue else {
            throw MeraserError.usage("cannot write \(path): it is a folder; name a file")
        }
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        guard FileManager.default.fileExists(atPath: folder, isDirectory: &isFolder), isFolder.boolValue else {
            throw MeraserError.usage("cannot write \(path): there is no folder \(folder); make it first")
        }
    }

    private static func checkIsNew(_ path: String) throws {
        var status = stat()
        guard lstat(path, &status) != 0 else {
            throw MeraserError.usage("\(path) exists; choose another name or pass `overwrite`")
        }
    }

    private static func failure(writing path: String, _ code: Int32 = errno) -> MeraserError {
        let path = TemporaryName.shown(path)
        return switch code {
        case ENOSPC, EDQUOT:
            .runtime("cannot write \(path): the disk is full; free some space or choose another disk")
        case EFBIG:
            .runtime("cannot write \(path): the file would exceed the largest size that is allowed here (ulimit -f)")
        default:
            .runtime("cannot write \(path): \(systemErrorText(code))")
        }
    }
}

/// Writes those bytes at that offset of a file; gives the error's number where that failed, nil where all are written.
func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int) -> Int32? {
    var done = 0
    while done < bytes.count {
        let n = pwrite(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done, off_t(offset + done))
        if n < 0 && errno == EINTR { continue }
        guard n > 0 else { return n < 0 ? errno : ENOSPC }
        done += n
    }
    return nil
}

/// Flushes a folder's entries to the disk, so that a rename survives a power cut. Failure is not an error: some file
/// systems do not offer it.
func syncFolder(_ path: String) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    fsync(descriptor)
    close(descriptor)
}

/// The permissions of files that may hold triggers and targets: as a key's, for nobody but their owner.
public let ownerOnly: mode_t = 0o600

/// Writes a whole small file atomically; see `AtomicFile`.
public func writeFileAtomically(
    path: String, _ bytes: [UInt8], overwrite: Bool = false, mode: mode_t = 0o666
) throws {
    let file = try AtomicFile(path: path, overwrite: overwrite, mode: mode)
    try file.write(bytes)
    try file.commit()
}
