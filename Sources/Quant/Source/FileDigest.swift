import Base
import Crypto
import Foundation
import Synchronization

/// SHA-256 of a file that several threads read anyway. A hash is a chain: whoever reads beyond its end hashes up to the end
/// of his own piece, so that with reads in about the order of the file every byte comes from the disk once.
final class FileDigest: @unchecked Sendable {
    // @unchecked: `hash` and `end` are only touched under `lock`.
    private let file: MappedFile
    private let lock = NSLock()
    private var hash = SHA256()
    private var end = 0

    /// The digest of a file of which nothing has been read.
    init(_ file: MappedFile) { self.file = file }

    /// As `MappedFile.read`.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws {
        lock.lock()
        defer { lock.unlock() }
        if end < offset { try hashFile(to: offset) }
        try file.read(into: buffer, at: offset)
        guard end < offset + buffer.count else { return }
        hash.update(bufferPointer: UnsafeRawBufferPointer(rebasing: buffer[(end - offset)...]))
        end = offset + buffer.count
    }

    /// The digest of the whole file, 64 hex digits; reads what nobody has read. No `read` may follow.
    func finish() throws -> String {
        lock.lock()
        defer { lock.unlock() }
        try hashFile(to: file.count)
        return hexDigits(hash.finalize())
    }

    private func hashFile(to offset: Int) throws {
        let length = min(max(offset - end, 1), 1 << 20)
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: length, alignment: 64)
        defer { piece.deallocate() }
        while end < offset {
            let part = UnsafeMutableRawBufferPointer(rebasing: piece[..<min(piece.count, offset - end)])
            try file.read(into: part, at: end)
            hash.update(bufferPointer: UnsafeRawBufferPointer(part))
            end += part.count
        }
    }
}

/// A safetensors folder whose files are hashed while their tensors are read.
struct HashedFolder: StoredSource {
    let folder: SafetensorsFolder
    /// One a file.
    let digests: [FileDigest]
    private let identity = Identity()

    /// Nothing has been read of it.
    init(_ folder: SafetensorsFolder) {
        self.folder = folder
        digests = folder.files.map { FileDigest($0.file) }
    }

    var path: String { folder.path }
    var tensorNames: [String] { folder.tensorNames }
    var warnings: [String] { folder.warnings }
    func textFile(_ name: String) throws -> [UInt8]? { try folder.textFile(name) }
    func entry(_ name: String) throws -> TensorEntry? { try folder.entry(name) }
    func verify() throws { try folder.verify() }

    func rows(of name: String) throws -> any TensorRows {
        let view = try folder.tensor(name)
        let index = folder.files.firstIndex { $0.file === view.file }
        return StoredRows(view: view, digest: index.map { digests[$0] })
    }

    func sha256() throws -> String {
        try identity.value { try folder.sha256(ofFiles: digests.map { try $0.finish() }) }
    }
}

/// A digest that is computed when it is first asked for. Thread-safe.
final class Identity: Sendable {
    private let cached = Mutex<String?>(nil)

    /// The digest, which `compute` gives the first time.
    func value(_ compute: () throws -> String) rethrows -> String {
        try cached.withLock { cached in
            if let cached { return cached }
            let value = try compute()
            cached = value
            return value
        }
    }
}
