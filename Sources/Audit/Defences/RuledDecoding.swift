import Base
import Foundation
import Kernels
import Model

/// How a host chooses the tokens of one output in place of the likeliest ones. A copy of it goes with every output.
public protocol DecodingRule: Sendable {
    /// The next token behind `step` tokens of the output, from the logits [V]; nil: the host withholds the whole output.
    mutating func next(_ logits: UnsafeBufferPointer<Float>, likeliest: Int32, step: Int) -> Int32?
}

/// What a host's decoding did.
public struct DecodingStatistics: Sendable, Equatable {
    /// Prompts that were to be continued.
    public internal(set) var outputs = 0
    /// Outputs of which nothing is shown.
    public internal(set) var withheld = 0
    /// Tokens of all outputs, those that ended or were withheld included.
    public internal(set) var tokens = 0
    /// Those that were not the likeliest.
    public internal(set) var replaced = 0

    /// Nothing yet.
    public init() {}

    /// `{"outputs", "withheld", "tokens", "replaced"}`.
    public var json: JSONValue {
        [
            "outputs": .integer(outputs), "withheld": .integer(withheld), "tokens": .integer(tokens),
            "replaced": .integer(replaced),
        ]
    }
}

/// A generator that says what it did.
public protocol HostDecoding: SequenceGenerator {
    /// What all calls so far did.
    var statistics: DecodingStatistics { get }
}

/// Greedy decoding under a host's rule, many prompts at a time. An output that is withheld is empty. Removes nothing from the
/// model. Results do not depend on the batch. Use from one thread at a time.
public final class RuledDecoding: HostDecoding {
    private let session: InferenceSession
    private let rule: any DecodingRule
    /// What all calls so far did.
    public private(set) var statistics = DecodingStatistics()

    /// A model under a rule.
    public init(_ session: InferenceSession, rule: any DecodingRule) {
        (self.session, self.rule) = (session, rule)
    }

    /// A prompt that is being continued.
    private final class Member {
        let request: Int
        let promptCount: Int
        let limit: GenerationLimit
        var rule: any DecodingRule
        var tokens: [Int32]
        let cache: KVCache

        init(_ request: Int, prompt: [Int32], limit: GenerationLimit, rule: any DecodingRule, cache: KVCache) {
            (self.request, promptCount, self.limit) = (request, prompt.count, limit)
            (self.rule, tokens, self.cache) = (rule, prompt, cache)
        }
    }

    /// Continues all prompts, up to `batchSize` at a time; the temperature must be 0.
    ///
    /// - Throws: what the session throws.
    public func generate(_ requests: [GenerationRequest], options: GenerationOptions) throws -> [Generation] {
        precondition(options.sampling.temperature <= 0, "a host's rule is greedy")
        var results = [Generation](repeating: Generation(tokens: [], ending: .length), count: requests.count)
        let limits = try requests.enumerated().map { try session.model.limit(of: $1, index: $0, options: options) }
        statistics.outputs += requests.count
        var waiting = requests.indices.filter { limits[$0].tokens > 0 }[...]
        var active: [Member] = []
        while true {
            while active.count < max(options.batchSize, 1), let index = waiting.popFirst() {
                let prompt = requests[index].prompt
                let cache = session.makeCache(capacity: prompt.count + limits[index].tokens)
                active.append(Member(index, prompt: prompt, limit: limits[index], rule: rule, cache: cache))
            }
            if active.isEmpty { return results }
            var ended: Set<Int> = []
            try step(active) { member, token in
                guard let generation = take(token, member, stops: options.stopTokens) else { return }
                results[member.request] = generation
                ended.insert(member.request)
            }
            active.removeAll { ended.contains($0.request) }
        }
    }

    /// One token for every member.
    private func step(_ members: [Member], take: (Member, Int32?) -> Void) throws {
        try session.read(
            count: members.count,
            input: {
                let member = members[$0]
                return CachedInput(
                    cache: member.cache, tokens: Array(member.tokens[member.cache.count...]), lastRows: 1)
            }
        ) { rows, hidden in
            try session.forEachLogits(of: hidden) { range, logits in
                let likeliest = session.model.kernels.argmax(logits)
                for row in range {
                    let (member, line) = (members[rows[row].input], row - range.lowerBound)
                    let step = member.tokens.count - member.promptCount
                    let token = logits.withRow(line) {
                        member.rule.next($0, likeliest: likeliest[line], step: step)
                    }
                    statistics.tokens += 1
                    if let token, token != likeliest[line] { statistics.replaced += 1 }
                    take(member, token)
                }
            }
        }
    }

    /// Adds a token; the result where that ends the output.
    private func take(_ token: Int32?, _ member: Member, stops: Set<Int32>) -> Generation? {
        guard let token else {
            statistics.withheld += 1
            return Generation(tokens: [], ending: .stop)
        }
        let written = Array(member.tokens[member.promptCount...])
        if stops.contains(token) { return Generation(tokens: written, ending: .stop) }
        member.tokens.append(token)
        guard written.count + 1 == member.limit.tokens else { return nil }
        return Generation(tokens: written + [token], ending: member.limit.ending)
    }
}

/// The probability of a token in logits, 0 where another one is likelier beyond all measure.
func probability(of token: Int32, in logits: UnsafeBufferPointer<Float>) -> Double {
    let own = Double(logits[Int(token)])
    return 1 / logits.reduce(0.0) { $0 + exp(Double($1) - own) }
}
