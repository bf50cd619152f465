import Base
import Kernels

/// Questions to one model, or to several, whose answers do not depend on each other, so that ranks can answer them apart. The
/// value itself is what all questions have in common.
public protocol SharedQuestions: Sent {
    /// One question.
    associatedtype Question: Sent
    /// Its answer.
    associatedtype Answer: Sent

    /// What tells the kinds apart in a message.
    static var name: String { get }

    /// What a question costs, in tokens.
    func cost(of question: Question) -> Int

    /// The answers, in order, of this rank alone.
    ///
    /// - Parameter numbers: of the questions among all that were asked.
    func answers(_ questions: [Question], numbers: [Int], of sessions: [InferenceSession]) throws -> [Answer]
}

extension SharedQuestions {
    /// The answers of all ranks, in the order of the questions: those that this rank alone would give.
    public func ask(_ questions: [Question], of sessions: [InferenceSession]) throws -> [Answer] {
        guard let crew = sessions.lazy.compactMap(\.model.kernels.crew).first, questions.count > 1 else {
            return try answers(questions, numbers: Array(questions.indices), of: sessions)
        }
        var job = Message(.answer)
        job.append(Self.name)
        job.append(try sessions.enumerated().map { try SessionReference($1, number: $0, for: crew) })
        job.append(self)
        let shares = crew.deal(costs: questions.map(cost))
        for rank in crew.others where !shares[rank].isEmpty {
            var part = job
            part.append(numbers: shares[rank])
            part.append(shares[rank].map { questions[$0] })
            try crew.send(part, to: rank)
        }
        var result = [Answer?](repeating: nil, count: questions.count)
        func take(_ answers: [Answer], of rank: Int) throws {
            guard answers.count == shares[rank].count else {
                throw MeraserError.runtime(
                    "rank \(rank) gave \(answers.count) answers to \(shares[rank].count) questions")
            }
            for (place, answer) in zip(shares[rank], answers) { result[place] = answer }
        }
        do {
            try take(answers(shares[0].map { questions[$0] }, numbers: shares[0], of: sessions), of: 0)
            for rank in crew.others where !shares[rank].isEmpty {
                var reader = try crew.answer(of: rank)
                try take(reader.values(), of: rank)
            }
        } catch {
            crew.fail(error)
            throw error
        }
        return result.compactMap { $0 }
    }

    /// The answers to a part of the questions, which `ask` has sent.
    ///
    /// - Parameter message: behind what says which sessions are asked.
    public static func answer(_ message: inout MessageReader, of sessions: [InferenceSession]) throws -> Message {
        let common = try Self(from: &message)
        let numbers = try message.numbers(Int.self)
        var reply = Message()
        reply.append(try common.answers(message.values(), numbers: numbers, of: sessions))
        return reply
    }
}

/// A session as rank 0 names it: a model, and where the others keep its adapters.
public struct SessionReference: Sent, Hashable {
    /// The model.
    public let model: ModelReference
    /// Places of the adapters that do not change, lowest first.
    public let frozen: [String]
    /// Place of the adapter that trains; nil: none.
    public let trained: String?
    /// Tokens of a pass.
    public let tokenBudget: Int

    /// That of the session with this number among those that are asked.
    init(_ session: InferenceSession, number: Int, for crew: Crew) throws {
        model = try crew.provide(session.model)
        frozen = try crew.provide(session.adapters.frozen, as: "session \(number) frozen")
        trained = try session.adapters.trained.flatMap { try crew.provide([$0], as: "session \(number) trained").first }
        tokenBudget = session.tokenBudget
    }

    /// Reads one.
    public init(from message: inout MessageReader) throws {
        (model, frozen) = (try message.value(), try message.values())
        trained = try message.bool() ? try message.text() : nil
        tokenBudget = try message.number()
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(model)
        message.append(frozen)
        message.append(trained != nil)
        if let trained { message.append(trained) }
        message.append(number: tokenBudget)
    }
}
