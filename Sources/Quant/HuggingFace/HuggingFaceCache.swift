import Base
import Foundation

/// The folders in which Hugging Face's programs keep what they have downloaded: `models--ORG--NAME` with `refs`,
/// `blobs` and `snapshots`, a folder a commit whose files are links into `blobs`.
///
/// Source: huggingface_hub, `repo_folder_name` and "Manage your cache".
enum HuggingFaceCache {
    /// The folder of a model's files: of `models--ORG--NAME` the snapshot that `refs/main` names, else the only one;
    /// any other path as it is.
    ///
    /// Errors (`badInput`): no snapshot, or several of which `refs/main` names none.
    static func modelFolder(_ path: String) throws -> String {
        guard repository(in: URL(fileURLWithPath: path).lastPathComponent) != nil, isFolder(path + "/snapshots") else {
            return path
        }
        let names = try FileManager.default.contentsOfDirectory(atPath: path + "/snapshots")
        let snapshots = names.filter { isFolder("\(path)/snapshots/\($0)") }.sorted()
        if let main = try main(path) {
            guard snapshots.contains(main) else {
                throw MeraserError.badInput(
                    "\(path): refs/main names the snapshot \(quoted(main)), which is not there; download the model again"
                )
            }
            return "\(path)/snapshots/\(main)"
        }
        guard let only = snapshots.first else {
            throw MeraserError.badInput("\(path) has no snapshot in it; download the model again")
        }
        guard snapshots.count == 1 else {
            throw MeraserError.badInput(
                "\(path) has several snapshots and no refs/main: \(snapshots.joined(separator: ", ")); give one of them, "
                    + "as \(path)/snapshots/\(only)")
        }
        return "\(path)/snapshots/\(only)"
    }

    /// What a model is called: the name of its file or folder, of a snapshot Hugging Face's, ORG/NAME.
    static func modelName(_ path: String) -> String {
        let parts = URL(fileURLWithPath: path).pathComponents
        if parts.count >= 3, parts[parts.count - 2] == "snapshots", let name = repository(in: parts[parts.count - 3]) {
            return name
        }
        return parts.last ?? path
    }

    /// ORG/NAME of `models--ORG--NAME`, NAME of `models--NAME`; nil for any other name.
    private static func repository(in folder: String) -> String? {
        let parts = folder.components(separatedBy: "--")
        guard (2...3).contains(parts.count), parts[0] == "models" else { return nil }
        return parts.contains("") ? nil : parts.dropFirst().joined(separator: "/")
    }

    /// The snapshot that `refs/main` names; nil if there is no such file.
    private static func main(_ path: String) throws -> String? {
        let file = path + "/refs/main"
        guard FileManager.default.fileExists(atPath: file) else { return nil }
        let map = try MappedFile(path: file)
        let bytes = map.withBytes { Array($0.prefix(256)) }
        let name = String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        guard map.count <= 256, CheckpointFiles.isPlainName(name) else {
            throw MeraserError.badInput("\(file) holds no name of a snapshot")
        }
        return name
    }

    private static func isFolder(_ path: String) -> Bool {
        var isFolder: ObjCBool = false
        return FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) && isFolder.boolValue
    }
}
