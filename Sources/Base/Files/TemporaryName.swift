import Foundation

/// Names of what is being made beside its place, so that a name always stands for something whole.
///
/// - `.NAME.tmp-PID-TAG`: a file or folder that becomes NAME, or that is being removed;
/// - `.NAME.old-PID-TAG`: the folder that was NAME, until the one in its place has the name.
///
/// Who works on one holds a lock (flock) on it, which the kernel releases when the process dies: what nobody holds is stale.
enum TemporaryName {
    /// What a temporary name is for.
    enum Purpose: String {
        case new = "tmp"
        case replaced = "old"
    }

    /// A name of its own beside `path`.
    static func make(for path: String, _ purpose: Purpose = .new) -> String {
        let url = URL(fileURLWithPath: path)
        let tag = String(UInt32.random(in: 0...UInt32.max), radix: 16)
        return url.deletingLastPathComponent().path
            + "/.\(stem(url.lastPathComponent)).\(purpose.rawValue)-\(getpid())-\(tag)"
    }

    /// A name may have 255 bytes: the end of a long one gives way to what is put around it.
    static func stem(_ name: String) -> String { String(decoding: name.utf8.prefix(200), as: UTF8.self) }

    /// The parts of a temporary name; nil: it is none.
    static func parts(of name: String) -> (stem: String, purpose: Purpose)? {
        guard name.hasPrefix("."), let match = try? pattern.wholeMatch(in: name),
            let purpose = Purpose(rawValue: String(match.output.2))
        else { return nil }
        return (String(match.output.1), purpose)
    }

    /// A path as the user knows it: temporary folders in it by the names that they will get.
    static func shown(_ path: String) -> String {
        guard path.contains(".tmp-") else { return path }
        return path.split(separator: "/", omittingEmptySubsequences: false).map { component in
            parts(of: String(component))?.stem ?? String(component)
        }.joined(separator: "/")
    }

    private static var pattern: Regex<(Substring, Substring, Substring)> {
        /\.(.+)\.(tmp|old)-[0-9]+-[0-9a-f]+/
    }
}

/// The names in a folder that are neither temporary ones nor locks of ours; none where it cannot be read.
public func lastingNames(in folder: String) -> [String] {
    ((try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []).filter { name in
        TemporaryName.parts(of: name) == nil && !(name.hasPrefix(".") && name.hasSuffix(".lock"))
    }.sorted()
}

/// Takes the lock of a temporary file or folder that is there: its descriptor, or nil if another process holds it.
func lockTemporary(_ path: String) -> Int32? {
    let descriptor = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
        close(descriptor)
        return nil
    }
    return descriptor
}

/// Removes what killed processes have left beside `path` while they made it; a folder that had made way for one which never
/// came gets its name back. What a living process works on stays.
public func removeStaleTemporaries(of path: String) {
    let url = URL(fileURLWithPath: path)
    let folder = url.deletingLastPathComponent().path
    let stem = TemporaryName.stem(url.lastPathComponent)
    for name in (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? [] {
        guard let parts = TemporaryName.parts(of: name), parts.stem == stem else { continue }
        removeIfStale(folder + "/" + name, parts.purpose, of: path)
    }
}

/// The same for everything in a folder of ours and in its subfolders; links are not followed.
public func removeStaleTemporaries(within folder: String) {
    guard let names = FileManager.default.enumerator(atPath: folder) else { return }
    for case let name as String in names {
        let last = fileName(ofPath: name)
        guard let parts = TemporaryName.parts(of: last) else { continue }
        let path = folder + "/" + name
        names.skipDescendants()
        removeIfStale(
            path, parts.purpose, of: URL(fileURLWithPath: path).deletingLastPathComponent().path + "/" + parts.stem)
    }
}

private func removeIfStale(_ temporary: String, _ purpose: TemporaryName.Purpose, of path: String) {
    guard let lock = lockTemporary(temporary) else { return }
    defer { close(lock) }
    var status = stat()
    if purpose == .replaced, lstat(path, &status) != 0, rename(temporary, path) == 0 { return }
    try? FileManager.default.removeItem(atPath: temporary)
}

/// Removes a folder of ours: renamed first, so that a half-removed one never stands under the name.
///
/// - Throws: a run-time error if it cannot be renamed.
public func removeFolder(_ path: String) throws {
    let trash = TemporaryName.make(for: path)
    guard rename(path, trash) == 0 else {
        throw MeraserError.runtime("cannot replace \(path): \(systemErrorText())")
    }
    try? FileManager.default.removeItem(atPath: trash)
}
