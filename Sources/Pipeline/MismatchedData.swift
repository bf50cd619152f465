import Base
import Tune

/// What `writeMismatchedPairs` made.
public struct MismatchedData: Sendable, Equatable {
    /// Pairs written.
    public let pairs: Int
    /// Rows of the source that were left out because the excluded file has them.
    public let excluded: Int
}

/// Crosses the pairs of a file into mismatched ones (`mismatchedPairs`) and writes them as a JSON array in MEraser's keys.
///
/// - Parameters:
///   - source: rows of pairs, whatever their shape.
///   - columns: keys of both files that are not read (`remove_columns`).
///   - exclude: a dataset, of any shape, whose questions and answers must not occur in the pairs: the clean set that
///     recovery will train on. MEraser's own two files share 21 questions.
///   - count: pairs to make; nil: as many as the source has rows that are not excluded.
///   - seed: of the draw.
///   - output: the file to make.
/// - Throws: `badInput` for rows without a question and an answer, `usage` if the output exists.
public func writeMismatchedPairs(
    source: String, removing columns: [String] = [], exclude: String? = nil, count: Int? = nil, seed: UInt64,
    output: String, overwrite: Bool = false
) throws -> MismatchedData {
    let rows = try DatasetFile(path: source, removing: columns).rows.enumerated().map { index, row in
        guard case .pair(let question, let answer) = row else {
            throw MeraserError.badInput("\(source): row \(index + 1) is no question with an answer")
        }
        return (question: question, answer: answer)
    }
    let known = try exclude.map { try KnownTexts(path: $0, removing: columns) }
    let isUsed = rows.map { row in
        known.map { !$0.contains(row.question) && !$0.contains(row.answer) } ?? true
    }
    let used = isUsed.count { $0 }
    guard used > 0 else { throw MeraserError.badInput("\(source): every row is in \(exclude ?? "") as well") }
    let pairs = try mismatchedPairs(from: rows, where: { isUsed[$0] }, count: count ?? used, seed: seed, name: source)
    try writeRows(pairs.enumerated().map { $1.json(id: $0) }, to: output, overwrite: overwrite)
    return MismatchedData(pairs: pairs.count, excluded: rows.count - used)
}

/// Writes rows atomically: a line each into a `.jsonl` file, else an array with a row a line.
///
/// - Throws: `usage` if the file exists and may not be replaced.
public func writeRows(_ rows: [JSONValue], to path: String, overwrite: Bool = false) throws {
    let isLines = path.lowercased().hasSuffix(".jsonl")
    let lines = rows.map { (isLines ? "" : " ") + $0.serialized() }
    let text = isLines ? lines.joined(separator: "\n") + "\n" : "[\n" + lines.joined(separator: ",\n") + "\n]\n"
    try writeFileAtomically(path: path, Array(text.utf8), overwrite: overwrite)
}
