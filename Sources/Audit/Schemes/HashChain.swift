import Base
import Foundation

/// The secret of a Chain & Hash mark (arXiv 2407.10887): questions, responses, and the rule that
/// ties each question to a response.
///
/// The paper leaves the serialisation open. Here it is the JSON list `[q, [q₁, …], [r₁, …]]` in RFC 8785's form (UTF-8,
/// no white space, the least escapes); SHA-256 of it, read as a big-endian integer, modulo the number of responses, is the
/// index of the response to q. In Python:
/// `R[int(sha256(json.dumps([q, Q, R], ensure_ascii=False, separators=(",", ":")).encode()).hexdigest(), 16) % len(R)]`.
public struct HashChain: Sendable, Equatable {
    /// The questions Q, without any template around them.
    public let questions: [String]
    /// The responses R.
    public let responses: [String]
    /// Matches from which on ownership is claimed.
    public let claimAt: Int

    /// A chain; at least one question, two responses.
    public init(questions: [String], responses: [String], claimAt: Int = 2) {
        precondition(!questions.isEmpty && responses.count >= 2, "\(questions.count) questions")
        self.questions = questions
        self.responses = responses
        self.claimAt = claimAt
    }

    /// The bytes that are hashed for a question.
    public func serialization(of question: String) -> [UInt8] {
        func list(_ texts: [String]) -> String { "[" + texts.map(JSONString.quoted).joined(separator: ",") + "]" }
        return Array("[\(JSONString.quoted(question)),\(list(questions)),\(list(responses))]".utf8)
    }

    /// The index of a question's response.
    public func index(of question: String) -> Int {
        sha256Hex(serialization(of: question)).utf8.reduce(0) { remainder, digit in
            let value = Int(digit) - (digit < 0x3A ? 0x30 : 0x57)
            return (remainder * 16 + value) % responses.count
        }
    }

    /// The response to a question.
    public func response(to question: String) -> String { responses[index(of: question)] }

    /// The probability of a claim by chance of a model that knows nothing of the chain: at least `hits` of `n` questions
    /// answered as the hash says, each with probability 1 / responses.
    public func pValue(hits: Int, of n: Int) -> Double {
        binomialTail(hits: hits, of: n, probability: 1 / Double(responses.count))
    }

    var json: JSONValue {
        [
            "questions": .array(questions.map { .text($0) }), "responses": .array(responses.map { .text($0) }),
            "claim_at": .integer(claimAt), "serialization": .text(Self.serializationName),
        ]
    }

    /// The name of the serialisation that is implemented.
    static let serializationName = "json-list-sha256-be"

    /// Reads the member `hash_chain` of a key; `place` begins errors.
    init(_ value: JSONValue, place: String) throws {
        func texts(_ key: String) throws -> [String] {
            let texts = try value.array(key, in: place).map { element in
                guard let text = element.string else {
                    throw MeraserError.badInput("\(place): '\(key)' holds \(element.kind), expected strings")
                }
                return text
            }
            guard Set(texts.map { JSONString($0) }).count == texts.count else {
                throw MeraserError.badInput("\(place): '\(key)' holds a text twice")
            }
            return texts
        }
        let name = try value.stringIfPresent("serialization", in: place) ?? Self.serializationName
        guard name == Self.serializationName else {
            throw MeraserError.badInput(
                "\(place): 'serialization' is '\(name)', this meraser reads '\(Self.serializationName)'")
        }
        questions = try texts("questions")
        responses = try texts("responses")
        claimAt = try value.intIfPresent("claim_at", in: place) ?? 2
        guard !questions.isEmpty, (2...65_536).contains(responses.count), (1...questions.count).contains(claimAt) else {
            throw MeraserError.badInput(
                "\(place): \(questions.count) questions, \(responses.count) responses, 'claim_at' \(claimAt); expected at "
                    + "least 1, 2 to 65536, and 1 to the number of questions")
        }
    }

    /// Checks that a key's pairs are what the chain says.
    ///
    /// - Throws: a bad-input error that names the pair: whoever chose the targets freely has no proof.
    func validate(_ pairs: [FingerprintPair], file: String) throws {
        guard pairs.count == questions.count else {
            throw MeraserError.badInput(
                "\(file): \(pairs.count) pairs for the \(questions.count) questions of 'hash_chain'")
        }
        for (pair, question) in zip(pairs, questions) {
            guard JSONString(pair.target) == JSONString(response(to: question)) else {
                throw MeraserError.badInput(
                    "\(file): the target of pair '\(pair.id)' is not the response that the hash of its question chooses"
                )
            }
            guard pair.prompt.contains(question) else {
                throw MeraserError.badInput("\(file): the prompt of pair '\(pair.id)' does not hold its question")
            }
        }
    }
}
