import Audit
import Base
import Foundation
import Model

/// What a scan is told.
public struct ScanOptions: Sendable {
    /// How to look, in the order of `ScanMethodName`.
    public var methods = ScanMethodName.standard
    /// A model of the same tokens without the mark, or the parent; nil: the model alone.
    public var reference: String?
    /// Pairs whose questions are people's messages; nil: the bundled ones.
    public var data: String?
    /// Seconds that it may take; nil: as long as it needs.
    public var budget: Double?
    /// The seed of everything random.
    public var seed: UInt64 = 42

    /// The standard methods on the model alone.
    public init() {}

    /// The fewest messages of which decoys can be drawn.
    static let leastMessages = 2 * ExponentialTail.leastDecoys

    /// People's messages with their answers, each message once, in an order that the seed draws.
    ///
    /// - Throws: bad-input errors of the file; one for too few messages.
    func pairs() throws -> [WrittenExchange] {
        var messages: [WrittenExchange]
        if let data {
            messages = try ReplyPairs(path: data, key: nil, count: nil, seed: seed).pairs
        } else {
            messages = try Examples.pairs()
        }
        var seen: Set<JSONString> = []
        messages = messages.filter { seen.insert(JSONString($0.question)).inserted }
        guard messages.count >= Self.leastMessages else {
            throw MeraserError.badInput(
                "\(data ?? "the bundled data"): \(messages.count) different questions, expected at least "
                    + "\(Self.leastMessages) to draw decoys of")
        }
        var random = SplitMix64(seed: seed ^ 0x7363_616E)
        for i in messages.indices.dropLast() { messages.swapAt(i, i + random.index(below: messages.count - i)) }
        return messages
    }

    /// SHA-256 of messages in their order.
    static func sha256(of messages: [String]) -> String { sha256Hex(messages.joined(separator: "\u{0}").utf8) }

    /// SHA-256 of pairs in their order.
    static func sha256(of pairs: [WrittenExchange]) -> String {
        sha256Hex(pairs.map { "\($0.question)\u{0}\($0.answer)" }.joined(separator: "\u{0}").utf8)
    }

    /// The messages alone.
    func messages() throws -> [String] { try pairs().map(\.question) }
}

extension Examples {
    /// The bundled pairs.
    ///
    /// - Throws: a bad-input error where they are not in the program.
    static func pairs() throws -> [WrittenExchange] {
        let name = "data/clean.json"
        guard let file = files.first(where: { $0.name == name }) else {
            throw MeraserError.badInput("\(name) is not in the program")
        }
        let rows = try JSONValue.parse(Array(file.bytes), file: name)
        return try (rows.array ?? []).map {
            WrittenExchange(question: try $0.string("question", in: name), answer: try $0.string("answer", in: name))
        }
    }
}
