import Foundation

/// A folder that appears under its name only when it is complete: files are written into a temporary folder beside it,
/// which `commit` renames. Without `commit` the temporary folder is removed when the object goes. Not thread-safe.
public final class AtomicFolder {
    /// Where the folder will appear.
    public let path: String
    /// Where to write files until `commit`.
    public let temporaryPath: String

    private let overwrite: Bool
    private let lock: Int32
    private var isOpen = true

    /// Creates the temporary folder beside `path`, see `TemporaryName`.
    ///
    /// - Parameters:
    ///   - path: the folder to make. If something of that name exists and `overwrite` is false, that is a `usage` error.
    ///   - overwrite: `commit` replaces a folder that meraser made, see `FolderMark`.
    public init(path: String, overwrite: Bool = false) throws {
        try Self.checkDestination(path, overwrite: overwrite)
        self.path = path
        self.overwrite = overwrite
        temporaryPath = TemporaryName.make(for: path)
        guard mkdir(temporaryPath, 0o777) == 0 else {
            throw MeraserError.runtime("cannot make the folder \(path): \(systemErrorText())")
        }
        lock = lockTemporary(temporaryPath) ?? -1
    }

    deinit { discard() }

    /// Throws a `usage` error if no folder can appear at `path`: something of that name exists and may not be overwritten,
    /// or is not meraser's, or its parent is missing. For callers that work long before they write.
    public static func checkDestination(_ path: String, overwrite: Bool) throws {
        let parent = URL(fileURLWithPath: path).deletingLastPathComponent().path
        var isFolder: ObjCBool = false
        guard overwrite || !FileManager.default.fileExists(atPath: path) else {
            throw MeraserError.usage("\(path) exists; choose another name or pass `overwrite`")
        }
        try FolderMark.requireReplaceable(path)
        guard FileManager.default.fileExists(atPath: parent, isDirectory: &isFolder), isFolder.boolValue else {
            throw MeraserError.usage("cannot write \(path): there is no folder \(parent); make it first")
        }
    }

    /// Gives the folder its name. Nothing may be written into `temporaryPath` afterwards.
    public func commit() throws {
        precondition(isOpen, "\(path) was committed or discarded before")
        try FolderMark.write(into: temporaryPath)
        syncFolder(temporaryPath)
        // What was there when the work began may be something else now.
        try Self.checkDestination(path, overwrite: overwrite)
        let old = TemporaryName.make(for: path, .replaced)
        let isReplacing = FileManager.default.fileExists(atPath: path)
        let oldLock = isReplacing ? lockTemporary(path) ?? -1 : -1
        defer { close(oldLock) }
        if isReplacing { try move(path, to: old) }
        do {
            try move(temporaryPath, to: path)
        } catch {
            if isReplacing { rename(old, path) }
            throw error
        }
        isOpen = false
        close(lock)
        if isReplacing {
            let trash = TemporaryName.make(for: path)
            try? FileManager.default.removeItem(atPath: rename(old, trash) == 0 ? trash : old)
        }
        syncFolder(URL(fileURLWithPath: path).deletingLastPathComponent().path)
    }

    /// Removes the temporary folder, unless `commit` has made it the folder.
    public func discard() {
        guard isOpen else { return }
        isOpen = false
        defer { close(lock) }
        try? FileManager.default.removeItem(atPath: temporaryPath)
    }

    private func move(_ from: String, to target: String) throws {
        guard rename(from, target) == 0 else {
            throw MeraserError.runtime("cannot write \(path): \(systemErrorText())")
        }
    }
}
