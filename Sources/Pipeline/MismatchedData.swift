import Quant
import Tune

/// Crosses the pairs of a file into mismatched ones (`mismatchedPairs`) and writes them as a JSON array in MEraser's keys.
///
/// - Parameters:
///   - source: question/answer, prompt/completion or alpaca rows.
///   - count: pairs to make; nil: as many as the source has rows.
///   - seed: of the draw.
///   - output: the file to make.
/// - Returns: the number of pairs.
/// - Throws: `badInput` for rows without a question and an answer, `usage` if the output exists.
public func writeMismatchedPairs(
    source: String, count: Int? = nil, seed: UInt64, output: String, overwrite: Bool = false
) throws -> Int {
    let rows = try DatasetFile(path: source).rows.enumerated().map { index, row in
        guard case .pair(let question, let answer) = row else {
            throw MeraserError.badInput("\(source): row \(index) is no question with an answer")
        }
        return (question: question, answer: answer)
    }
    let pairs = try mismatchedPairs(from: rows, count: count ?? rows.count, seed: seed, name: source)
    let lines = pairs.enumerated().map { " " + $1.json(id: $0).serialized() }
    let text = "[\n" + lines.joined(separator: ",\n") + "\n]\n"
    try writeFileAtomically(path: output, Array(text.utf8), overwrite: overwrite)
    return pairs.count
}
