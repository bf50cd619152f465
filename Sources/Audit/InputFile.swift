import Base
import Foundation

/// Bytes of the largest key or text file that is read.
private let maximumBytes = JSONValue.defaultMaximumBytes

/// The name of standard input where a file of text or prompts is named.
private let standardInput = "-"

/// The bytes of an input file, or of standard input. Errors (`badInput`): missing, not a regular file, empty, too large.
func readInputFile(_ path: String) throws -> [UInt8] {
    if path == standardInput { return try readStandardInput() }
    let file = try MappedFile(path: path)
    guard file.count <= maximumBytes else {
        throw MeraserError.badInput("\(path): \(file.count) bytes, expected at most \(maximumBytes)")
    }
    return file.withBytes { Array($0) }
}

/// The bytes of standard input up to its end. Errors (`badInput`): it cannot be read, is empty or too large.
public func readStandardInput() throws -> [UInt8] {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while true {
        let count = read(STDIN_FILENO, &piece, piece.count)
        if count < 0 && errno == EINTR { continue }
        guard count >= 0 else {
            throw MeraserError.badInput("cannot read standard input: \(systemErrorText())")
        }
        if count == 0 { break }
        bytes += piece.prefix(count)
        guard bytes.count <= maximumBytes else {
            throw MeraserError.badInput(
                "standard input: more than \(maximumBytes) bytes, expected at most these")
        }
    }
    guard !bytes.isEmpty else { throw MeraserError.badInput("standard input is empty (0 bytes)") }
    return bytes
}

/// That a file holds rows of JSON: its name says so, and of standard input its first character.
private func holdsRows(_ path: String, _ bytes: [UInt8]) -> Bool {
    guard path == standardInput else { return path.hasSuffix(".jsonl") }
    return bytes.first { !$0.isWhitespace } == UInt8(ascii: "{")
}

/// The texts of a data file: the `text` of each row of a `.jsonl` file, or the whole of any other file as one text. `-` is
/// standard input, rows if it begins with a brace.
///
/// - Throws: a bad-input error that names file and line for a missing or empty file, a row without `text` or bytes that
///   are not UTF-8.
public func loadTextRows(path: String) throws -> [String] {
    let bytes = try readInputFile(path)
    guard holdsRows(path, bytes) else {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw MeraserError.badInput("\(path): not valid UTF-8; expected plain text or rows in a .jsonl file")
        }
        return [text]
    }
    return try loadRows(bytes, path: path) { row, place in try row.string("text", in: place) }
}

/// The prompts of a file: of a `.jsonl` file the `prompt` (or else `text`) of each row, of any other each line that is
/// not blank. `-` is standard input, rows if it begins with a brace.
///
/// - Throws: a bad-input error as `loadTextRows`, and for a key of a row that nothing reads.
public func loadPrompts(path: String) throws -> [String] { try PromptFile(path: path, canSayFormat: false).prompts }

/// A file of prompts for a model to continue.
public struct PromptFile: Sendable {
    /// The prompts in the file's order, at least one.
    public let prompts: [String]
    /// How they are meant, where rows say so as those that `check` writes for somebody else to answer; nil: none does.
    public let format: PromptFormat?

    /// Reads a file as `loadPrompts` does; all rows must say the same format, or none any.
    public init(path: String) throws { try self.init(path: path, canSayFormat: true) }

    fileprivate init(path: String, canSayFormat: Bool) throws {
        let bytes = try readInputFile(path)
        guard holdsRows(path, bytes) else {
            prompts = try Self.lines(bytes, path)
            format = nil
            return
        }
        var formats: Set<PromptFormat?> = []
        prompts = try loadRows(bytes, path: path) { row, place in
            let field = row["prompt"] == nil && row["text"] != nil ? "text" : "prompt"
            let used = [field] + (canSayFormat ? ["format"] : [])
            if let object = row.object {
                try RowKeys.refuseUnknown(in: object, used: used, shape: field, place: place)
            }
            if canSayFormat { formats.insert(try FingerprintKey.choice(row, "format", place)) }
            return try row.string(field, in: place)
        }
        guard formats.count <= 1 else {
            throw MeraserError.badInput("\(path): its rows say different formats, expected one for all")
        }
        format = formats.first ?? nil
    }

    private static func lines(_ bytes: [UInt8], _ path: String) throws -> [String] {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw MeraserError.badInput("\(path): not valid UTF-8; expected a prompt per line or a .jsonl file")
        }
        let lines = text.split(whereSeparator: \.isNewline).map(String.init)
            .filter { !$0.utf8.allSatisfy(\.isWhitespace) }
        guard !lines.isEmpty else { throw MeraserError.badInput("\(path): no prompts in it") }
        return lines
    }
}

/// A text of each row of a `.jsonl` file, at least one.
private func loadRows(
    _ bytes: [UInt8], path: String, read: (_ row: JSONValue, _ place: String) throws -> String
) throws -> [String] {
    var lines = JSONLines(bytes, file: path)
    var rows: [String] = []
    while let (line, row) = try lines.next() { rows.append(try read(row, "\(path):\(line)")) }
    guard !rows.isEmpty else { throw MeraserError.badInput("\(path): no rows in it") }
    return rows
}
