import Foundation

/// The right to make one file or folder: a lock (flock) on `.NAME.lock` beside it, which the kernel releases when the
/// process dies. The file goes with the object; one that a killed process has left is taken over by the next.
///
/// On a file system that has no locks nothing is locked. Not thread-safe.
public final class OutputLock {
    private var descriptor: Int32
    private let lockPath: String

    /// Takes the lock.
    ///
    /// - Parameters:
    ///   - path: what is to be made, links resolved: the same place has the same lock by every name.
    ///   - makingParents: make the folders above it, as commands do which make their folder's parents.
    /// - Throws: a run-time error that names the process which makes it, or a folder that it lies in; `compare`'s commands
    ///   may write into the folder that the process above them holds.
    public init(_ path: String, makingParents: Bool = false) throws {
        let place = canonicalPath(path)
        let parent = URL(fileURLWithPath: place).deletingLastPathComponent().path
        if makingParents {
            do {
                try FileManager.default.createDirectory(atPath: parent, withIntermediateDirectories: true)
            } catch {
                throw MeraserError.runtime("cannot make the folder \(parent): \(error.localizedDescription)")
            }
        }
        try Self.requireFree(above: parent, for: path)
        (descriptor, lockPath) = try Self.take(place, named: path)
    }

    deinit {
        guard descriptor >= 0 else { return }
        unlink(lockPath)
        close(descriptor)
    }

    /// The lock's file of a canonical path.
    static func lockPath(of place: String) -> String {
        let url = URL(fileURLWithPath: place)
        let parent = url.deletingLastPathComponent().path
        return (parent == "/" ? "" : parent) + "/.\(TemporaryName.stem(url.lastPathComponent)).lock"
    }

    // MARK: Taking it

    /// Looks that often, in pauses of 20 ms: another process may be looking at the lock just now.
    private static let attempts = 5

    private static func take(_ place: String, named path: String) throws -> (descriptor: Int32, lockPath: String) {
        var lockPath = lockPath(of: place)
        var attemptsLeft = attempts
        while true {
            var descriptor = openLock(lockPath)
            if descriptor < 0, errno == EACCES || errno == EROFS || errno == EPERM {
                // A folder that is handed in from elsewhere: it can be written, what is around it cannot.
                lockPath = place + "/.lock"
                descriptor = openLock(lockPath)
            }
            // What hinders here hinders the work as well, and is reported there in its own words.
            guard descriptor >= 0 else { return (-1, lockPath) }
            if flock(descriptor, LOCK_EX | LOCK_NB) == 0 {
                if isFile(descriptor, at: lockPath) {
                    ftruncate(descriptor, 0)
                    let text = Array("\(getpid())\n".utf8)
                    _ = text.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
                    return (descriptor, lockPath)
                }
                // Its holder has removed it since it was opened.
                close(descriptor)
            } else {
                let code = errno
                let holder = holder(descriptor)
                close(descriptor)
                guard code == EWOULDBLOCK else { return (-1, lockPath) }
                attemptsLeft -= 1
                guard attemptsLeft > 0 else { throw inUse("\(path) is", by: holder) }
                usleep(20_000)
            }
        }
    }

    private static func openLock(_ path: String) -> Int32 {
        open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
    }

    /// True if the path still leads to the open file.
    private static func isFile(_ descriptor: Int32, at path: String) -> Bool {
        var opened = stat()
        var named = stat()
        return fstat(descriptor, &opened) == 0 && lstat(path, &named) == 0 && opened.st_ino == named.st_ino
            && opened.st_dev == named.st_dev
    }

    /// The process that an open lock's file names.
    private static func holder(_ descriptor: Int32) -> Int32? {
        var bytes = [UInt8](repeating: 0, count: 16)
        let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, $0.count, 0) }
        guard count > 0 else { return nil }
        return Int32(String(decoding: bytes.prefix(count).prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self))
    }

    private static func inUse(_ what: String, by holder: Int32?) -> MeraserError {
        let process = holder.map { "process \($0)" } ?? "another process"
        return .runtime("\(what) being written by \(process); wait until it ends or choose another name")
    }

    /// Refuses what lies in a folder that another process makes.
    private static func requireFree(above parent: String, for path: String) throws {
        var folder = parent
        while folder != "/" {
            for lockPath in [lockPath(of: folder), folder + "/.lock"] {
                let descriptor = open(lockPath, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
                guard descriptor >= 0 else { continue }
                defer { close(descriptor) }
                guard flock(descriptor, LOCK_SH | LOCK_NB) != 0, errno == EWOULDBLOCK else { continue }
                let holder = holder(descriptor)
                guard holder == getppid() || holder == getpid() else {
                    throw inUse("\(path) lies in \(folder), which is", by: holder)
                }
            }
            folder = URL(fileURLWithPath: folder).deletingLastPathComponent().path
        }
    }
}
