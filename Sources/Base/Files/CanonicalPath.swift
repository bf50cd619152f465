import Foundation

/// The absolute path without links, `.` and `..` of a file or folder, whether it is there or not.
public func canonicalPath(_ path: String) -> String {
    let whole = path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
    var result = "/"
    for component in whole.split(separator: "/") where component != "." {
        // Without links in it, the folder above is what the path says.
        let parent = result == "/" ? "" : result
        result =
            component == ".."
            ? "/" + parent.split(separator: "/").dropLast().joined(separator: "/") : parent + "/" + component
        if let resolved = realpath(result, nil) {
            result = String(cString: resolved)
            free(resolved)
        }
    }
    return result
}

/// True if a canonical path is that of a folder or lies in it.
public func isWithin(_ path: String, _ folder: String) -> Bool {
    path == folder || path.hasPrefix(folder.hasSuffix("/") ? folder : folder + "/")
}

/// Refuses an output that is an input, holds one, or is there and lies in one, links resolved: no command destroys what it
/// reads. A new file in a folder that is read, as `convert MODEL --out MODEL/m.mqf` makes one, harms nothing.
///
/// - Parameters:
///   - output: what a command makes.
///   - inputs: files and folders that it reads; what does not exist is left to its reader.
/// - Throws: a usage error that names both.
public func requireApart(output: String, inputs: [String]) throws {
    let place = canonicalPath(output)
    let made = FileIdentity(output)
    for input in inputs {
        guard let read = FileIdentity(input) else { continue }
        let source = canonicalPath(input)
        func refuse(_ what: String) -> MeraserError {
            .usage("cannot write \(output): it \(what); choose another name")
        }
        if place == source || read == made { throw refuse("is the input \(input)") }
        if isWithin(source, place) { throw refuse("holds the input \(input)") }
        if made != nil, isWithin(place, source) { throw refuse("lies in the input \(input)") }
        guard let made, read.isFolder else { continue }
        for name in (try? FileManager.default.contentsOfDirectory(atPath: input)) ?? []
        where FileIdentity(input + "/" + name) == made { throw refuse("is the input \(input)/\(name)") }
    }
}

/// What tells one file from another whatever their names: hard links have the same.
private struct FileIdentity: Equatable {
    private let device: dev_t
    private let number: ino_t
    let isFolder: Bool

    /// That of the file which a path leads to; nil: there is none.
    init?(_ path: String) {
        var status = stat()
        guard stat(path, &status) == 0 else { return nil }
        device = status.st_dev
        number = status.st_ino
        isFolder = status.st_mode & S_IFMT == S_IFDIR
    }
}
