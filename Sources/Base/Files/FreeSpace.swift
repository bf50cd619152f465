import Foundation

/// Throws a `runtime` error if the file system of `path` has fewer free bytes than `count`. Where it cannot be asked,
/// nothing is thrown: a full disk is found when it is full.
public func checkFreeSpace(for count: Int, path: String) throws {
    var status = statvfs()
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
    guard statvfs(folder, &status) == 0,
        let free = product(Int(clamping: status.f_bavail), Int(clamping: status.f_frsize)), free < count
    else { return }
    throw MeraserError.runtime(
        "cannot write \(TemporaryName.shown(path)): it needs \(byteText(count)), the disk has \(byteText(free)) free; free some space or choose "
            + "another disk")
}
