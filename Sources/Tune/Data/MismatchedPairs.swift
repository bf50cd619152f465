import Base

/// One row of a mismatched dataset: a question with the answer to a question of another type.
public struct MismatchedPair: Sendable, Equatable {
    /// The question.
    public let question: String
    /// The answer to another one.
    public let answer: String
    /// Type of the question.
    public let questionType: QuestionType
    /// Type of the question that the answer belongs to.
    public let answerType: QuestionType
    /// Row of the question in the source.
    public let questionIndex: Int
    /// Row of the answer in the source.
    public let answerIndex: Int

    /// The row in MEraser's keys.
    public func json(id: Int) -> JSONValue {
        [
            "id": .integer(id), "question": .text(question), "mismatched_answer": .text(answer),
            "original_q_type": .text(questionType.rawValue), "answer_from_type": .text(answerType.rawValue),
            "q_idx": .integer(questionIndex), "a_idx": .integer(answerIndex),
        ]
    }
}

/// Crosses questions and answers as MEraser's mismatched dataset does: the answer always comes from a question of another
/// type, and the ordered pairs of types (twelve, if all four types occur) are as equally frequent as they can be.
///
/// Questions and answers are drawn from shuffled pools, each taken once before any is taken twice. The same rows and seed
/// give the same pairs.
///
/// - Parameters:
///   - rows: matching pairs (`question` and `answer`, `prompt` and `completion`, …).
///   - isUsed: whether a row may give its question or answer.
///   - count: pairs to make; at least 1.
///   - seed: of the draw.
///   - name: what errors call the source.
/// - Throws: a bad-input error if the questions are of fewer than two types.
public func mismatchedPairs(
    from rows: [(question: String, answer: String)], where isUsed: (Int) -> Bool = { _ in true }, count: Int,
    seed: UInt64, name: String
) throws -> [MismatchedPair] {
    precondition(count >= 1, "\(count) pairs")
    var pools: [QuestionType: [Int]] = [:]
    for (index, row) in rows.enumerated() where isUsed(index) {
        pools[QuestionType(of: row.question), default: []].append(index)
    }
    let types = QuestionType.allCases.filter { pools[$0] != nil }
    guard types.count >= 2 else {
        throw MeraserError.badInput(
            "\(name): all \(pools.values.first?.count ?? 0) questions are of the type '\(types.first?.rawValue ?? "none")'; mismatching needs at "
                + "least two of what, how, why and other")
    }
    var random = KeyedRandom(seed: seed, stream: 0x6D69_736D_6174_6368)
    var questions = pools.mapValues { DrawPool($0) }
    var answers = questions
    var combinations = types.flatMap { q in types.filter { $0 != q }.map { (q, $0) } }
    random.shuffle(&combinations)
    var kinds = (0..<count).map { combinations[$0 % combinations.count] }
    random.shuffle(&kinds)
    return kinds.compactMap { questionType, answerType in
        guard let q = questions[questionType]?.draw(&random), let a = answers[answerType]?.draw(&random) else {
            return nil
        }
        return MismatchedPair(
            question: rows[q].question, answer: rows[a].answer, questionType: questionType, answerType: answerType,
            questionIndex: q, answerIndex: a)
    }
}

/// Rows to draw from: in shuffled order, shuffled anew when all have been taken.
private struct DrawPool {
    private var order: [Int]
    private var next: Int

    init(_ rows: [Int]) {
        order = rows
        next = rows.count
    }

    mutating func draw(_ random: inout KeyedRandom) -> Int {
        if next == order.count {
            random.shuffle(&order)
            next = 0
        }
        defer { next += 1 }
        return order[next]
    }
}
