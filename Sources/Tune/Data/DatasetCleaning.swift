import Base
import Model

/// What to keep of a dataset that is cleaned.
public struct CleaningOptions: Sendable, Equatable {
    /// Characters of a question.
    public var questionLength: ClosedRange<Int>
    /// Characters of an answer.
    public var answerLength: ClosedRange<Int>

    /// Options; the defaults keep every question and answer that is not empty.
    public init(questionLength: ClosedRange<Int> = 1...Int.max, answerLength: ClosedRange<Int> = 1...Int.max) {
        self.questionLength = questionLength
        self.answerLength = answerLength
    }
}

/// A dataset as pairs of a question and its answer, and what was left out.
public struct CleanedDataset: Sendable {
    /// The pairs in file order; no two questions are the same.
    public let pairs: [WrittenExchange]
    /// Rows read.
    public let rows: Int
    /// Rows without a question and an answer.
    public let incomplete: Int
    /// Rows whose question or answer is empty.
    public let empty: Int
    /// Rows whose question or answer is too short or too long.
    public let wrongLength: Int
    /// Rows whose question and answer stand in an earlier row, to the letter.
    public let exactDuplicates: Int
    /// Further rows whose question stands in an earlier row, but for case, blanks, punctuation around it or its Unicode
    /// form.
    public let questionDuplicates: Int

    /// Reads a dataset of any shape; `path` as `DatasetFile` takes it.
    ///
    /// Alpaca rows keep their instruction, with the input on a line behind it; of conversations and texts the first
    /// exchange counts.
    /// - Throws: bad-input errors of the file; one for mismatched pairs, whose answers are wrong on purpose; one if nothing
    ///   is left.
    public init(
        path: String, removing columns: [String] = [], options: CleaningOptions = CleaningOptions()
    ) throws {
        let (rows, shape) = try DatasetFile.rows(path: path, removing: columns)
        var pairs: [WrittenExchange] = []
        var (incomplete, empty, wrongLength, exact, similar) = (0, 0, 0, 0, 0)
        var seen: Set<[JSONString]> = []
        var questions: Set<JSONString> = []
        for (place, object) in rows {
            guard object["mismatched_answer"] == nil else {
                throw MeraserError.badInput(
                    "\(place): 'mismatched_answer' is no clean answer; clean matching pairs instead")
            }
            guard let pair = try Self.pair(object, shape: shape, place: place) else {
                incomplete += 1
                continue
            }
            if pair.question.isEmpty || pair.answer.isEmpty {
                empty += 1
            } else if !options.questionLength.contains(pair.question.unicodeScalars.count)
                || !options.answerLength.contains(pair.answer.unicodeScalars.count)
            {
                wrongLength += 1
            } else if !seen.insert([JSONString(pair.question), JSONString(pair.answer)]).inserted {
                exact += 1
            } else if !questions.insert(JSONString(normalizedText(pair.question))).inserted {
                similar += 1
            } else {
                pairs.append(pair)
            }
        }
        guard !pairs.isEmpty else { throw MeraserError.badInput("\(path): none of its \(rows.count) rows is kept") }
        self.pairs = pairs
        self.rows = rows.count
        self.incomplete = incomplete
        self.empty = empty
        self.wrongLength = wrongLength
        exactDuplicates = exact
        questionDuplicates = similar
    }

    private static func pair(_ object: JSONObject, shape: DatasetShape, place: String) throws -> WrittenExchange? {
        guard shape == .alpaca else { return try DatasetRow(object, shape: shape, place: place).exchange() }
        let row = JSONValue.object(object)
        let instruction = trimmed(try row.string("instruction", in: place))
        let input = trimmed(try row.stringIfPresent("input", in: place) ?? "")
        return WrittenExchange(
            question: input.isEmpty ? instruction : instruction + "\n" + input,
            answer: trimmed(try row.string("output", in: place)))
    }

    /// The rows in MEraser's keys `id`, `question`, `answer`.
    public var json: [JSONValue] {
        pairs.enumerated().map { index, pair in
            ["id": .integer(index), "question": .text(pair.question), "answer": .text(pair.answer)]
        }
    }

    /// What was read, kept and left out.
    public var summary: JSONValue {
        [
            "rows": .integer(rows), "kept": .integer(pairs.count), "incomplete": .integer(incomplete),
            "empty": .integer(empty), "wrong_length": .integer(wrongLength),
            "exact_duplicates": .integer(exactDuplicates), "question_duplicates": .integer(questionDuplicates),
        ]
    }
}

/// The questions and answers of a dataset, to keep others apart from it.
public struct KnownTexts: Sendable {
    private var known: Set<JSONString> = []

    /// Those of a file of any shape.
    ///
    /// - Throws: bad-input errors of the file.
    public init(path: String, removing columns: [String] = []) throws {
        let (rows, shape) = try DatasetFile.rows(path: path, removing: columns)
        for (place, object) in rows {
            let row = try DatasetRow(object, shape: shape, place: place)
            known.insert(JSONString(row.identity))
            if let answer = row.exchange()?.answer, !answer.isEmpty {
                known.insert(JSONString(normalizedText(answer)))
            }
        }
    }

    /// Whether that text is among them, but for case, blanks, punctuation around it and its Unicode form.
    public func contains(_ text: String) -> Bool { known.contains(JSONString(normalizedText(text))) }
}
