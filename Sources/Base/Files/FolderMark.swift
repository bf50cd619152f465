import Foundation

/// `.meraser.json` in a folder that meraser made in one piece: by which build, and which files it wrote there. Only a folder
/// that has it and holds nothing else is replaced by `--overwrite`.
enum FolderMark {
    static let fileName = ".meraser.json"

    /// Writes the mark for the files that are in the folder.
    static func write(into folder: String) throws {
        let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0 != fileName }.sorted()
        let json = JSONValue.object(
            JSONObject(Build.current.fields + [(key: "files", value: .array(names.map { .text($0) }))]))
        try writeFileAtomically(
            path: folder + "/" + fileName, Array((json.serialized(indent: 2) + "\n").utf8), overwrite: true)
    }

    /// - Throws: a usage error if something is at `path` that meraser did not make, or that holds anything else.
    static func requireReplaceable(_ path: String) throws {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else { return }
        guard isFolder.boolValue else { throw MeraserError.usage("cannot write \(path): it is a file; name a folder") }
        try requireNotAround(path)
        if (try? FileManager.default.contentsOfDirectory(atPath: path))?.isEmpty == true { return }
        let file = path + "/" + fileName
        guard let mark = try? MappedFile(path: file).withBytes({ try JSONValue.parse($0, file: file) }),
            mark["meraser_version"]?.string != nil, let files = mark["files"]?.array
        else {
            throw MeraserError.usage(
                "`overwrite` removes only what meraser made, and \(path) has no \(fileName) of it; remove it yourself or "
                    + "choose another name")
        }
        try requireNothing(in: path, but: Set(files.compactMap(\.string) + [fileName]).contains)
    }

    /// - Throws: a usage error if this process works in the folder.
    static func requireNotAround(_ path: String) throws {
        guard !isWithin(canonicalPath("."), canonicalPath(path)) else {
            throw MeraserError.usage("cannot replace \(path): it holds the working folder; choose another name")
        }
    }

    /// - Throws: a usage error that names a file which is not known; our own temporary files are.
    static func requireNothing(in path: String, but isKnown: (String) -> Bool) throws {
        guard let other = lastingNames(in: path).first(where: { !isKnown($0) }) else { return }
        throw MeraserError.usage(
            "`overwrite` removes only what meraser made, and \(path) holds '\(other)'; move it away or choose another name"
        )
    }
}

/// What a run keeps in its folder, so that nothing else goes with it when the run is replaced.
public struct RunLayout: Sendable {
    /// The record that tells the folder from others'; it names the version.
    private let record: String
    /// The names of everything else.
    private let names: Set<String>
    /// Beginnings of names with a number behind them.
    private let numbered: [String]

    /// A layout: `record` is the file that every such folder has.
    public init(record: String, names: Set<String>, numbered: [String] = []) {
        self.record = record
        self.names = names
        self.numbered = numbered
    }

    /// True if the folder has the record.
    public func isPresent(in path: String) -> Bool { FileManager.default.fileExists(atPath: path + "/" + record) }

    /// Removes a run with everything that belongs to it.
    ///
    /// - Throws: a usage error if the record is another program's, or the folder holds anything else.
    public func remove(_ path: String) throws {
        try FolderMark.requireNotAround(path)
        let file = path + "/" + record
        guard let json = try? MappedFile(path: file).withBytes({ try JSONValue.parse($0, file: file) }),
            json["meraser_version"]?.string != nil
        else {
            throw MeraserError.usage(
                "`overwrite` removes only what meraser made, and \(file) is no record of it; choose another folder")
        }
        try FolderMark.requireNothing(in: path) { name in
            name == record || names.contains(name)
                || numbered.contains { name.hasPrefix($0) && Int(name.dropFirst($0.count)) != nil }
        }
        try removeFolder(path)
    }
}
