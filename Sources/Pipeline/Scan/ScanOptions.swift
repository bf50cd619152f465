import Audit
import Base
import Foundation
import Model

/// What a scan is told.
public struct ScanOptions: Sendable {
    /// How to look, in the order of `ScanMethodName`.
    public var methods = ScanMethodName.allCases
    /// A model of the same tokens without the mark, or the parent; nil: the model alone.
    public var reference: String?
    /// Pairs whose questions are people's messages; nil: the bundled ones.
    public var data: String?
    /// Seconds that it may take; nil: as long as it needs.
    public var budget: Double?
    /// The seed of everything random.
    public var seed: UInt64 = 42

    /// All methods on the model alone.
    public init() {}

    /// The fewest messages of which decoys can be drawn.
    static let leastMessages = 2 * ExponentialTail.leastDecoys

    /// People's messages, in an order that the seed draws.
    ///
    /// - Throws: bad-input errors of the file; one for too few messages.
    func messages() throws -> [String] {
        var messages: [String]
        if let data {
            messages = try ReplyPairs(path: data, key: nil, count: nil, seed: seed).pairs.map(\.question)
        } else {
            messages = try Examples.messages()
        }
        var seen: Set<JSONString> = []
        messages = messages.filter { seen.insert(JSONString($0)).inserted }
        guard messages.count >= Self.leastMessages else {
            throw MeraserError.badInput(
                "\(data ?? "the bundled data"): \(messages.count) different questions, expected at least "
                    + "\(Self.leastMessages) to draw decoys of")
        }
        var random = SplitMix64(seed: seed ^ 0x7363_616E)
        for i in messages.indices.dropLast() { messages.swapAt(i, i + random.index(below: messages.count - i)) }
        return messages
    }
}

extension Examples {
    /// The questions of the bundled pairs.
    ///
    /// - Throws: a bad-input error where they are not in the program.
    static func messages() throws -> [String] {
        let name = "data/clean.json"
        guard let file = files.first(where: { $0.name == name }) else {
            throw MeraserError.badInput("\(name) is not in the program")
        }
        let rows = try JSONValue.parse(Array(file.bytes), file: name)
        return try (rows.array ?? []).map { try $0.string("question", in: name) }
    }
}
