import Base
import Foundation

/// `SHA256SUMS` of a checkpoint, in sha256sum's format: what its files were when it was complete. A checkpoint that a full
/// disk, a crash of the machine or a flipped bit has changed is told by it.
enum CheckpointSums {
    static let fileName = "SHA256SUMS"
    /// A checkpoint has a handful of files.
    private static let maximumByteCount = 1 << 16

    /// Writes the sums of the files that are in the folder.
    static func write(into folder: String) throws {
        let lines = try names(in: folder).map { "\(try sha256Hex(ofFile: folder + "/" + $0))  \($0)\n" }
        try writeFileAtomically(path: folder + "/" + fileName, Array(lines.joined().utf8))
    }

    /// What is wrong with a checkpoint, in words; nil: every file is as it was written.
    static func damage(in folder: String) -> String? {
        guard let file = try? MappedFile(path: folder + "/" + fileName), file.count <= maximumByteCount else {
            return "\(fileName) is missing or damaged"
        }
        let lines = file.withBytes { String(decoding: $0, as: UTF8.self) }.split(separator: "\n").map { line in
            let (sum, name) = (line.prefix(64), line.dropFirst(66))
            return (name: String(name), sum: String(sum))
        }
        let wanted = Dictionary(lines.map { ($0.name, $0.sum) }) { first, _ in first }
        guard let present = try? names(in: folder), Set(present) == Set(wanted.keys) else {
            return "its files are not those that \(fileName) lists"
        }
        return present.first { (try? sha256Hex(ofFile: folder + "/" + $0)) != wanted[$0] }
            .map { "\($0) is not as it was written" }
    }

    /// The files whose sums are kept: all but the two that say what there is.
    private static func names(in folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder)
            .filter { $0 != fileName && $0 != ".meraser.json" }.sorted()
    }
}
