import Base
import Foundation
import Synchronization

/// What a server has answered so far: rows `{"request", "path", "response"}` of a file that only grows, `request` being
/// the SHA-256 of address and body. What is in it is not asked again.
///
/// A last row that a killed process has left half written is dropped. Prompts hold triggers and answers targets: the file
/// is readable by its owner only. Thread-safe.
public final class RequestLog: Sendable {
    private struct State {
        var rows: [String: Range<Int>] = [:]
        var added: [String: JSONValue] = [:]
    }

    /// Bytes of a file that is read.
    private static let maximumBytes = 1 << 30
    /// What every row begins with.
    private static let beginning = Array(#"{"request": ""#.utf8)

    private let path: String
    private let descriptor: Int32
    private let bytes: [UInt8]
    private let state: Mutex<State>

    /// Opens a log, or makes one.
    ///
    /// - Throws: a bad-input error for a file that is no such log; a runtime error if it cannot be written.
    public init(path: String) throws {
        self.path = path
        let isThere = FileManager.default.fileExists(atPath: path)
        let isEmpty = (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) == 0
        let content = isThere && !isEmpty ? try Self.read(path) : []
        let whole = (content.lastIndex(of: 0x0A) ?? -1) + 1
        let torn = content[whole...]
        guard torn.starts(with: Self.beginning) || Self.beginning.starts(with: torn) else {
            throw MeraserError.badInput(
                "\(path): no log of requests; expected rows that begin with {\"request\": \"…\"")
        }
        bytes = Array(content[..<whole])
        state = Mutex(State(rows: try Self.rows(bytes, path)))
        descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, ownerOnly)
        guard descriptor >= 0 else { throw MeraserError.runtime("cannot write \(path): \(systemErrorText())") }
        if !torn.isEmpty, ftruncate(descriptor, off_t(whole)) != 0 {
            let text = systemErrorText()
            close(descriptor)
            throw MeraserError.runtime("cannot write \(path): \(text)")
        }
    }

    deinit { close(descriptor) }

    /// Answers that are in it.
    public var count: Int { state.withLock { $0.rows.count + $0.added.count } }

    private static func read(_ path: String) throws -> [UInt8] {
        let file = try MappedFile(path: path)
        guard file.count <= maximumBytes else {
            throw MeraserError.badInput("\(path): \(file.count) bytes, expected at most \(maximumBytes)")
        }
        return file.withBytes { Array($0) }
    }

    private static func rows(_ bytes: [UInt8], _ path: String) throws -> [String: Range<Int>] {
        var rows: [String: Range<Int>] = [:]
        var (start, line) = (0, 1)
        while start < bytes.count {
            let end = bytes.withUnsafeBufferPointer { $0[start...].firstIndex(of: 0x0A) ?? bytes.count }
            if end > start {
                let place = "\(path):\(line)"
                let row = try JSONValue.parse(Array(bytes[start..<end]), file: place)
                _ = try row.object("response", in: place)
                rows[try row.string("request", in: place)] = start..<end
            }
            (start, line) = (end + 1, line + 1)
        }
        return rows
    }

    /// What tells a request from others.
    static func hash(url: String, body: [UInt8]?) -> String { sha256Hex(Array("\(url)\n".utf8) + (body ?? [])) }

    /// The answer to a request; nil: it was not asked yet.
    func response(to hash: String) -> JSONValue? {
        let (added, range) = state.withLock { ($0.added[hash], $0.rows[hash]) }
        if let added { return added }
        // It was read before.
        return range.flatMap { try? JSONValue.parse(Array(bytes[$0]), file: path)["response"] }
    }

    /// Adds an answer.
    ///
    /// - Throws: a runtime error if it cannot be written.
    func add(_ hash: String, path requestPath: String, _ response: JSONValue) throws {
        let row: JSONValue = ["request": .text(hash), "path": .text(requestPath), "response": response]
        let line = Array((row.serialized() + "\n").utf8)
        try state.withLock { state in
            let written = line.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            guard written == line.count else {
                throw MeraserError.runtime(
                    "cannot write \(path): \(written < 0 ? systemErrorText() : "the disk is full")")
            }
            state.added[hash] = response
        }
    }
}
