import Foundation

/// A folder in memory for readers that take paths; removed by `remove`. Not thread-safe.
public final class Scratch: Sendable {
    /// The folder.
    public let path: String

    /// Makes the folder of this process, or of a test.
    public init(_ name: String = "meraser-fuzz-\(getpid())") throws {
        let memory = "/dev/shm"
        let parent = access(memory, W_OK) == 0 ? memory : NSTemporaryDirectory()
        path = "\(parent)/\(name)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    /// Writes a file in the place of what had the name, and gives its path.
    func file(_ name: String, _ bytes: some Collection<UInt8>) throws -> String {
        let file = "\(path)/\(name)"
        if name.contains("/") {
            try FileManager.default.createDirectory(
                atPath: (file as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
        }
        let descriptor = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        guard descriptor >= 0 else { throw FuzzFinding(what: "cannot write \(file)") }
        defer { close(descriptor) }
        let bytes = Array(bytes)
        guard bytes.withUnsafeBytes({ write(descriptor, $0.baseAddress, $0.count) }) == bytes.count else {
            throw FuzzFinding(what: "cannot write \(file)")
        }
        return file
    }

    /// The bytes of a file that a writer of the program has made there.
    func made(_ name: String, _ body: (_ path: String) throws -> Void) throws -> [UInt8] {
        let file = "\(path)/\(name)"
        try body(file)
        defer { try? FileManager.default.removeItem(atPath: file) }
        return [UInt8](try Data(contentsOf: URL(fileURLWithPath: file)))
    }

    /// Removes the folder.
    public func remove() { try? FileManager.default.removeItem(atPath: path) }
}

/// The parts of a file that stands for several: they lie between zero bytes, what is missing is nil.
func parts(_ bytes: [UInt8], _ count: Int) -> [[UInt8]?] {
    let found = bytes.split(separator: 0, maxSplits: count - 1, omittingEmptySubsequences: false).map(Array.init)
    return found + Array(repeating: nil, count: count - found.count)
}
