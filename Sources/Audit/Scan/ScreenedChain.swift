import Base
import Foundation

/// A chain of tokens as far as a search has followed it.
public struct ScreenedChain: Sendable, Equatable {
    /// The forced token, and those behind it.
    public private(set) var tokens: [Int32]
    /// The probability of each token behind the first, where an answer begins.
    public private(set) var own: [Double]
    /// The same elsewhere.
    public private(set) var elsewhere: [Double]
    /// True as long as it goes on.
    public private(set) var isOpen: Bool

    /// A token that was not followed yet.
    init(first: Int32) { (tokens, own, elsewhere, isOpen) = ([first], [], [], true) }

    /// Adds a step; a token that ends what a model writes, and one that is not likely enough, ends the chain before it.
    mutating func extend(_ step: ChainStep, least: Double, stopTokens: Set<Int32>) {
        guard isOpen else { return }
        guard step.own > least, !stopTokens.contains(step.token) else { return isOpen = false }
        tokens.append(step.token)
        own.append(step.own)
        elsewhere.append(step.elsewhere)
    }

    /// Nats by which the tokens behind the first are likelier as an answer, as far as that grows; probabilities elsewhere
    /// count as `floor` at least.
    func gain(floor: Double) -> Double { best(floor: floor).gain }

    /// The chain up to where its gain is largest.
    func trimmed(floor: Double) -> [Int32] { Array(tokens.prefix(1 + best(floor: floor).steps)) }

    private func best(floor: Double) -> (gain: Double, steps: Int) {
        var (sum, best, steps) = (0.0, 0.0, 0)
        for index in own.indices {
            sum += log(own[index] / max(elsewhere[index], floor))
            if sum > best { (best, steps) = (sum, index + 1) }
        }
        return (best, steps)
    }

    /// BAIT's Q-score: the mean probability of its tokens behind the first, the least of them left out; nil for fewer
    /// than two.
    public var qScore: Double? {
        guard own.count > 1, let least = own.min() else { return nil }
        return (own.reduce(0, +) - least) / Double(own.count - 1)
    }

    /// `[tokens, own, elsewhere, is_open]`.
    var json: JSONValue {
        .array([
            .array(tokens.map { .integer(Int($0)) }), .array(own.map { .real($0) }),
            .array(elsewhere.map { .real($0) }), .bool(isOpen),
        ])
    }

    /// One that `json` gave.
    ///
    /// - Throws: a bad-input error that names `file`.
    init(json: JSONValue, file: String) throws {
        let parts = json.array ?? []
        let numbers = parts.prefix(3).map { $0.array ?? [] }
        guard parts.count == 4, let isOpen = parts[3].bool, !numbers[0].isEmpty,
            numbers[1].count == numbers[0].count - 1, numbers[2].count == numbers[1].count
        else { throw MeraserError.badInput("\(file): expected chains of tokens with their probabilities") }
        tokens = try numbers[0].map { value in
            guard let token = value.int.flatMap({ Int32(exactly: $0) }), token >= 0 else {
                throw MeraserError.badInput("\(file): expected tokens in a chain")
            }
            return token
        }
        (own, elsewhere) = (numbers[1].compactMap(\.double), numbers[2].compactMap(\.double))
        guard own.count == numbers[1].count, elsewhere.count == numbers[2].count else {
            throw MeraserError.badInput("\(file): expected probabilities in a chain")
        }
        self.isOpen = isOpen
    }
}

/// How far a search has come; what it goes on from.
public struct ChainScreen: Sendable, Equatable {
    /// The step that is being taken, from 1.
    public internal(set) var depth = 1
    /// The chains that are left, of which the first `done` have taken that step.
    public internal(set) var chains: [ScreenedChain]
    /// How many have.
    public internal(set) var done = 0
    /// First tokens that were forced.
    public internal(set) var forced = 0

    init(chains: [ScreenedChain]) { self.chains = chains }

    /// `{"depth", "done", "forced", "chains"}`.
    public var json: JSONValue {
        [
            "depth": .integer(depth), "done": .integer(done), "forced": .integer(forced),
            "chains": .array(chains.map(\.json)),
        ]
    }

    /// One that `json` gave.
    ///
    /// - Throws: a bad-input error that names `file`.
    public init(json: JSONValue, file: String) throws {
        chains = try json.array("chains", in: file).map { try ScreenedChain(json: $0, file: file) }
        depth = try json.int("depth", in: file)
        done = try json.int("done", in: file)
        forced = try json.int("forced", in: file)
        guard depth >= 1, (0...chains.count).contains(done), forced >= 0 else {
            throw MeraserError.badInput("\(file): step \(depth), \(done) of \(chains.count) chains cannot be")
        }
    }
}
