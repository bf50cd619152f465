import Foundation

/// A whole file mapped read-only. The map and the descriptor are released when the last reference goes.
///
/// Thread-safe. If another program shortens the file while it is mapped, touching the lost pages raises SIGBUS; the
/// command line turns that signal into one line.
public final class MappedFile: @unchecked Sendable {
    // @unchecked: all stored values are constant, and the memory they point to is never written.

    /// The path as given.
    public let path: String
    /// Bytes in the file, at least 1.
    public let count: Int
    /// The first byte. Valid while this object lives.
    public let baseAddress: UnsafeRawPointer

    private let descriptor: Int32

    /// Maps the file. Errors (`badInput`): it cannot be opened, is no regular file, is empty, or cannot be mapped;
    /// `outOfMemory` if the process may not have so much address space.
    public init(path: String) throws {
        // O_NONBLOCK: a FIFO without a writer would hold the open for ever; regular files do not heed it.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
        guard descriptor >= 0 else { throw MeraserError.badInput("cannot open \(path): \(systemErrorText())") }
        var isKept = false
        defer { if !isKept { close(descriptor) } }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw MeraserError.badInput("cannot read \(path): \(systemErrorText())")
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw MeraserError.badInput("cannot read \(path): it is not a regular file")
        }
        guard status.st_size > 0 else { throw MeraserError.badInput("\(path) is empty (0 bytes)") }
        let count = Int(status.st_size)
        guard let map = mmap(nil, count, PROT_READ, MAP_SHARED, descriptor, 0), map != MAP_FAILED else {
            let code = errno
            throw MeraserError(
                code == ENOMEM ? .outOfMemory : .badInput,
                "cannot map \(path) (\(count) bytes): \(systemErrorText(code))")
        }
        isKept = true
        self.path = path
        self.count = count
        self.baseAddress = UnsafeRawPointer(map)
        self.descriptor = descriptor
    }

    deinit {
        munmap(UnsafeMutableRawPointer(mutating: baseAddress), count)
        close(descriptor)
    }

    /// Lends all bytes to `body`; they must not be kept beyond it.
    public func withBytes<R>(_ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        defer { withExtendedLifetime(self) {} }
        return try body(UnsafeRawBufferPointer(start: baseAddress, count: count))
    }

    /// Takes the map's pages out of this process's resident memory, after work that has read all of them; they come back
    /// from the system's cache where they are read again.
    public func releasePages() {
        madvise(UnsafeMutableRawPointer(mutating: baseAddress), count, MADV_DONTNEED)
    }

    /// The same for the pages that those bytes lie in, which must be in the file.
    public func releasePages(at offset: Int, count: Int) {
        precondition(offset >= 0 && count >= 0 && offset <= self.count - count, "\(path): \(count) bytes at \(offset)")
        let start = offset - offset % Self.pageSize
        madvise(UnsafeMutableRawPointer(mutating: baseAddress + start), offset + count - start, MADV_DONTNEED)
    }

    private static let pageSize = max(Int(sysconf(Int32(_SC_PAGESIZE))), 1)

    /// Lets the system read bytes ahead; what lies beyond the end is ignored.
    public func willNeed(at offset: Int, count: Int) {
        guard offset < self.count else { return }
        posix_fadvise(descriptor, off_t(offset), off_t(min(count, self.count - offset)), POSIX_FADV_WILLNEED)
    }

    /// Copies bytes from `offset` on into `buffer` with `pread`, so that they do not count as resident pages of the map
    /// and a file that has become shorter is an error instead of a signal.
    public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws {
        precondition(
            offset >= 0 && buffer.count <= count && offset <= count - buffer.count,
            "\(path): \(buffer.count) bytes at \(offset) in a file of \(count)")
        var done = 0
        while done < buffer.count {
            let n = pread(descriptor, buffer.baseAddress.map { $0 + done }, buffer.count - done, off_t(offset + done))
            if n < 0 && errno == EINTR { continue }
            guard n >= 0 else {
                throw MeraserError.runtime("cannot read \(path) at \(offset + done): \(systemErrorText())")
            }
            guard n > 0 else {
                throw MeraserError.badInput("\(path) has become shorter while it was read: no byte at \(offset + done)")
            }
            done += n
        }
    }
}

/// What the C library says about `errno` (or about `code`).
public func systemErrorText(_ code: Int32 = errno) -> String { String(cString: strerror(code)) }
