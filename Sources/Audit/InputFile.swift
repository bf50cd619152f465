import Base
import Foundation

/// Bytes of the largest key or text file that is read.
private let maximumBytes = JSONValue.defaultMaximumBytes

/// The bytes of an input file. Errors (`badInput`): missing, not a regular file, empty, too large.
func readInputFile(_ path: String) throws -> [UInt8] {
    let file = try MappedFile(path: path)
    guard file.count <= maximumBytes else {
        throw MeraserError.badInput("\(path): \(file.count) bytes, expected at most \(maximumBytes)")
    }
    return file.withBytes { Array($0) }
}

/// The texts of a data file: the `text` of each row of a `.jsonl` file, or the whole of any other file as one text.
///
/// - Throws: a bad-input error that names file and line for a missing or empty file, a row without `text` or bytes that
///   are not UTF-8.
public func loadTextRows(path: String) throws -> [String] {
    let bytes = try readInputFile(path)
    guard path.hasSuffix(".jsonl") else {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw MeraserError.badInput("\(path): not valid UTF-8; expected plain text or rows in a .jsonl file")
        }
        return [text]
    }
    return try loadRows(bytes, path: path, field: "text")
}

/// The prompts of a file: of a `.jsonl` file the `prompt` (or else `text`) of each row, of any other each line that is
/// not blank.
///
/// - Throws: a bad-input error as `loadTextRows`.
public func loadPrompts(path: String) throws -> [String] {
    let bytes = try readInputFile(path)
    if path.hasSuffix(".jsonl") { return try loadRows(bytes, path: path, field: "prompt", orElse: "text") }
    guard let text = String(validating: bytes, as: UTF8.self) else {
        throw MeraserError.badInput("\(path): not valid UTF-8; expected a prompt per line or a .jsonl file")
    }
    let lines = text.split(whereSeparator: \.isNewline).map(String.init)
        .filter { !$0.utf8.allSatisfy(\.isWhitespace) }
    guard !lines.isEmpty else { throw MeraserError.badInput("\(path): no prompts in it") }
    return lines
}

private func loadRows(
    _ bytes: [UInt8], path: String, field: String, orElse other: String? = nil
) throws -> [String] {
    var lines = JSONLines(bytes, file: path)
    var rows: [String] = []
    while let (line, row) = try lines.next() {
        let place = "\(path):\(line)"
        if let other, let text = try row.stringIfPresent(other, in: place), row[field] == nil {
            rows.append(text)
        } else {
            rows.append(try row.string(field, in: place))
        }
    }
    guard !rows.isEmpty else { throw MeraserError.badInput("\(path): no rows in it") }
    return rows
}
