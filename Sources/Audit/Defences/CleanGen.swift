import Base
import Foundation
import Kernels
import Model
import Quant

/// When CleanGen takes a token for planted.
public struct CleanGenOptions: Sendable, Equatable {
    /// A token is suspect if the model finds it at least this many times as likely as the reference does: 20 in the
    /// paper. 0 suspects every token, infinity none.
    public var alpha: Double
    /// Tokens that the model writes before the reference looks at them, 4 in the paper. Greedy results do not depend on
    /// it.
    public var horizon: Int

    /// The paper's by default.
    public init(alpha: Double = 20, horizon: Int = 4) {
        precondition(alpha >= 0 && horizon >= 1, "alpha \(alpha), horizon \(horizon)")
        self.alpha = alpha
        self.horizon = horizon
    }

    /// The first of some drafted tokens that is suspect, from their negative log-likelihoods in nats under the model
    /// and under the reference, each given the tokens before it; nil if none is.
    public func firstSuspect(model: [Float], reference: [Float]) -> Int? {
        precondition(model.count == reference.count, "\(model.count) and \(reference.count) tokens")
        let threshold = log(alpha)
        return model.indices.first { Double(reference[$0]) - Double(model[$0]) >= threshold }
    }
}

/// What a CleanGen run did.
public struct CleanGenStatistics: Sendable, Equatable {
    /// Tokens of all outputs, those that ended them included.
    public internal(set) var tokens = 0
    /// Those that are the reference's in place of a suspect one.
    public internal(set) var replaced = 0

    /// Nothing yet.
    public init() {}
}

/// A CleanGen run for reports.
public struct CleanGenSummary: Sendable, Equatable {
    /// The reference's path.
    public var reference: String
    /// When a token was suspect.
    public let options: CleanGenOptions
    /// What happened.
    public let statistics: CleanGenStatistics

    /// `cleangen` of `check --json`; an infinite alpha is null.
    public var json: JSONValue {
        [
            "reference": .text(reference), "alpha": options.alpha.isFinite ? .number(options.alpha) : .null,
            "horizon": .integer(options.horizon), "tokens": .integer(statistics.tokens),
            "replaced": .integer(statistics.replaced),
        ]
    }
}

/// CleanGen (Li et al., EMNLP 2024): a model writes, greedily, and a reference model that does not carry the mark judges
/// every token; a token that the model finds much likelier than the reference does is replaced by the reference's own,
/// and the model goes on behind it. Removes nothing from the model.
///
/// Both models read with key/value caches of their own, many prompts at a time; what was read of rejected tokens is cut
/// off again. Results do not depend on the batch. Use from one thread at a time.
public final class CleanGen: SequenceGenerator {
    private let model: InferenceSession
    private let reference: InferenceSession
    private let options: CleanGenOptions
    /// What all calls so far did.
    public private(set) var statistics = CleanGenStatistics()

    /// The reference's path, the options and what all calls so far did.
    public var summary: CleanGenSummary {
        CleanGenSummary(reference: reference.model.store.path, options: options, statistics: statistics)
    }

    /// A model beside a reference whose tokens mean the same.
    ///
    /// - Throws: a usage error for vocabularies of different sizes.
    public init(model: InferenceSession, reference: InferenceSession, options: CleanGenOptions = CleanGenOptions())
        throws
    {
        let sizes = (model.model.spec.vocabSize, reference.model.spec.vocabSize)
        guard sizes.0 == sizes.1 else {
            throw MeraserError.usage(
                "\(reference.model.store.path) has \(sizes.1) tokens, \(model.model.store.path) \(sizes.0): CleanGen "
                    + "needs a reference with the same tokenizer")
        }
        self.model = model
        self.reference = reference
        self.options = options
    }

    /// A prompt that is being continued.
    private final class Member {
        let request: Int
        let promptCount: Int
        let limit: GenerationLimit
        /// Prompt and accepted output.
        var tokens: [Int32]
        var draft: [Int32] = []
        /// Negative log-likelihoods of the draft under the model.
        var draftNLL: [Float] = []
        let modelCache: KVCache
        let referenceCache: KVCache

        init(
            request: Int, prompt: [Int32], limit: GenerationLimit, _ model: InferenceSession,
            _ reference: InferenceSession
        ) {
            self.request = request
            promptCount = prompt.count
            self.limit = limit
            tokens = prompt
            modelCache = model.makeCache(capacity: prompt.count + limit.tokens)
            referenceCache = reference.makeCache(capacity: prompt.count + limit.tokens)
        }
    }

    /// Continues all prompts, up to `batchSize` at a time; the temperature must be 0.
    ///
    /// - Throws: what the sessions throw.
    public func generate(_ requests: [GenerationRequest], options run: GenerationOptions) throws -> [Generation] {
        precondition(run.sampling.temperature <= 0, "CleanGen is greedy")
        var results = [Generation](repeating: Generation(tokens: [], ending: .length), count: requests.count)
        let limits = try requests.enumerated().map { try limit(of: $1, index: $0, options: run) }
        var waiting = requests.indices.filter { limits[$0].tokens > 0 }[...]
        var active: [Member] = []
        while true {
            while active.count < max(run.batchSize, 1), let index = waiting.popFirst() {
                active.append(
                    Member(
                        request: index, prompt: requests[index].prompt, limit: limits[index], model, reference))
            }
            if active.isEmpty { return results }
            try draft(active, stops: run.stopTokens)
            let best = try judge(active)
            active = active.enumerated().filter { index, member in
                guard let generation = accept(member, best[index], stops: run.stopTokens) else { return true }
                results[member.request] = generation
                return false
            }.map(\.element)
        }
    }

    /// The narrower of the two models' limits.
    private func limit(
        of request: GenerationRequest, index: Int, options: GenerationOptions
    ) throws -> GenerationLimit {
        let own = try model.model.limit(of: request, index: index, options: options)
        let other = try reference.model.limit(of: request, index: index, options: options)
        return own.tokens <= other.tokens ? own : other
    }

    /// The model writes up to `horizon` tokens for every member.
    private func draft(_ members: [Member], stops: Set<Int32>) throws {
        for member in members { (member.draft, member.draftNLL) = ([], []) }
        for _ in 0..<options.horizon {
            let writing = members.filter { member in
                member.draft.count < member.limit.tokens - (member.tokens.count - member.promptCount)
                    && !member.draft.contains(where: stops.contains)
            }
            if writing.isEmpty { return }
            try model.read(
                count: writing.count,
                input: {
                    let member = writing[$0]
                    let tokens = Array((member.tokens + member.draft)[member.modelCache.count...])
                    return CachedInput(cache: member.modelCache, tokens: tokens, lastRows: 1)
                }
            ) { rows, hidden in
                try model.forEachLogits(of: hidden) { range, logits in
                    let top = model.model.kernels.argmax(logits)
                    let nll = model.likelihoods(logits, top)
                    for (line, row) in rows[range].enumerated() {
                        writing[row.input].draft.append(top[line])
                        writing[row.input].draftNLL.append(nll[line])
                    }
                }
            }
        }
    }

    /// What the reference would have written in place of each drafted token, and how likely it finds the drafted one.
    private func judge(_ members: [Member]) throws -> [(best: [Int32], nll: [Float])] {
        var results = members.map { _ in (best: [Int32](), nll: [Float]()) }
        let unread = members.map { Array(($0.tokens + $0.draft.dropLast())[$0.referenceCache.count...]) }
        try reference.read(
            count: members.count,
            input: {
                CachedInput(
                    cache: members[$0].referenceCache, tokens: unread[$0], lastRows: members[$0].draft.count)
            }
        ) { rows, hidden in
            let drafted = rows.map { row in
                members[row.input].draft[row.position + members[row.input].draft.count - unread[row.input].count]
            }
            try reference.forEachLogits(of: hidden) { range, logits in
                let top = reference.model.kernels.argmax(logits)
                let nll = reference.likelihoods(logits, Array(drafted[range]))
                for (line, row) in rows[range].enumerated() {
                    results[row.input].best.append(top[line])
                    results[row.input].nll.append(nll[line])
                }
            }
        }
        return results
    }

    /// Takes over the draft up to the first suspect token and the reference's in its place; returns the result if that
    /// ends the output.
    private func accept(
        _ member: Member, _ judged: (best: [Int32], nll: [Float]), stops: Set<Int32>
    ) -> Generation? {
        var accepted = member.draft
        if let suspect = options.firstSuspect(model: member.draftNLL, reference: judged.nll) {
            accepted = accepted[..<suspect] + [judged.best[suspect]]
            statistics.replaced += 1
        }
        statistics.tokens += accepted.count
        if let stop = accepted.firstIndex(where: stops.contains) {
            return Generation(tokens: Array(member.tokens[member.promptCount...] + accepted[..<stop]), ending: .stop)
        }
        member.tokens += accepted
        for cache in [member.modelCache, member.referenceCache] {
            // The last token is always read anew: its row predicts the next.
            cache.truncate(to: min(cache.count, member.tokens.count - 1))
        }
        guard member.tokens.count - member.promptCount == member.limit.tokens else { return nil }
        return Generation(tokens: Array(member.tokens[member.promptCount...]), ending: member.limit.ending)
    }
}
