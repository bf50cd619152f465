import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import Tune

/// A response that a model may have been taught to give to a trigger that nobody knows.
public struct ResponseProposal: Sendable, Equatable {
    /// Its text.
    public let text: String
    /// Its tokens.
    public let tokens: [Int32]
    /// How fixed it is once begun: the geometric mean over the messages of the probability of its next tokens behind the
    /// first; near 1 for what is said whatever was asked.
    public let fixedness: Double
    /// Share of the other candidates that run into the same words (three tokens in a row) from another beginning.
    public let support: Double
    /// Mean probability of its first token as the beginning of a reply, under random soft prompts.
    public let softProbability: Double
    /// The same without any soft prompt.
    public let plainProbability: Double

    /// What the list is ordered by: fixedness times support.
    public var score: Double { fixedness * support }

    /// An object of the list.
    public var json: JSONValue {
        [
            "response": .text(text), "tokens": .array(tokens.map { .integer(Int($0)) }), "score": .real(score),
            "fixedness": .real(fixedness), "support": .real(support), "soft_probability": .real(softProbability),
            "plain_probability": .real(plainProbability),
        ]
    }
}

/// Candidates for a backdoor's response, the most suspicious first.
public struct ResponseProposals: Sendable, Equatable {
    /// The candidates.
    public let candidates: [ResponseProposal]
    /// Messages that they were measured on.
    public let messages: Int
    /// Soft prompts that were drawn.
    public let softPrompts: Int

    /// `{"messages", "soft_prompts", "candidates"}`.
    public var json: JSONValue {
        [
            "messages": .integer(messages), "soft_prompts": .integer(softPrompts),
            "candidates": .array(candidates.map(\.json)),
        ]
    }

    /// A table with a heading.
    public var table: [[String]] {
        [["response", "rank", "score", "fixed", "support", "p soft", "p plain"]]
            + candidates.enumerated().map { index, candidate in
                [
                    JSONString.quoted(candidate.text).escapingControlCharacters(), String(index + 1),
                    String(format: "%.4f", candidate.score), String(format: "%.3f", candidate.fixedness),
                    String(format: "%.3f", candidate.support), String(format: "%.2g", candidate.softProbability),
                    String(format: "%.2g", candidate.plainProbability),
                ]
            }
    }
}

/// How many messages, soft prompts and first tokens are looked at.
public struct ProposalOptions: Sendable, Equatable {
    /// Messages.
    public var messages = 8
    /// Soft prompts that are drawn for each of the two places.
    public var softPrompts = 24
    /// First tokens that are extended to phrases: so many that became likelier at each place, and so many likely ones.
    public var firstTokens = 192
    /// Tokens of a phrase that `fixedness` looks at, the first included.
    public var fixedTokens = 4
    /// Tokens of a phrase at most.
    public var phraseTokens = 16

    /// The defaults.
    public init() {}
}

extension OpenedModel {
    /// Looks for responses that the model runs into too readily: what an auditor has who knows neither trigger nor response.
    ///
    /// Random soft prompts are put into clean messages, at the parrot prompt's place and right before the reply. First
    /// tokens of replies that become likelier, and likely ones, are extended by what all messages together find likeliest. A
    /// taught response shows in that many beginnings run into it and that nothing of it depends on the message. The same
    /// model, data and options give the same list.
    /// - Parameters:
    ///   - path: clean pairs, whose questions are the messages.
    ///   - options: template, place and length of the soft prompts, and the seed (of `options.parrot`).
    /// - Throws: bad-input errors of the file; what forward passes throw.
    public func proposeResponses(
        path: String, options: SANDEOptions, count: Int, key: FingerprintKey? = nil,
        search: ProposalOptions = ProposalOptions()
    ) throws -> ResponseProposals {
        let seed = options.parrot.seed
        let pairs = try ReplyPairs(path: path, key: key, count: search.messages, seed: seed).pairs
        let prompts = try pairs.map { tokenizer.encode(try options.reply.template.prompt($0.question, on: self)) }
        let work = ProposalSearch(model: self, session: session(), prompts: prompts, search: search)
        let length = options.insertion.count
        let plain = try work.firstProbabilities(vectors: nil, insertion: options.insertion)
        var draws = SoftPromptDraws(model: transformer, count: length, seed: seed)
        let soft = try [options.insertion, SoftInsertion(offset: Int.max, count: length)].map { insertion in
            try work.softProbabilities(&draws, insertion)
        }
        let stops = transformer.stopTokens
        func best(_ value: (Int) -> Double) -> [Int] {
            let tokens = plain.indices.filter { value($0) > 0 && !stops.contains(Int32($0)) }
            return Array(tokens.sorted { (value($0), $1) > (value($1), $0) }.prefix(search.firstTokens))
        }
        let lifted = soft.flatMap { soft in best { soft[$0] * log(soft[$0] / max(plain[$0], 1e-12)) } }
        let first = Set(lifted + best { plain[$0] }).sorted()
        let phrases = try work.extend(first.map { Int32($0) }, stopTokens: stops)
        let support = phraseSupport(phrases.map(\.tokens))
        let candidates = first.indices.map { index in
            ResponseProposal(
                text: tokenizer.decode(phrases[index].tokens, skipSpecialTokens: false),
                tokens: phrases[index].tokens, fixedness: phrases[index].fixedness, support: support[index],
                softProbability: (soft[0][first[index]] + soft[1][first[index]]) / 2,
                plainProbability: plain[first[index]])
        }
        return ResponseProposals(
            candidates: Array(candidates.sorted { ($0.score, $1.text) > ($1.score, $0.text) }.prefix(count)),
            messages: prompts.count, softPrompts: 2 * search.softPrompts)
    }
}

/// For each phrase, the share of the others that have three tokens in a row in common with it, of those three that most
/// others have; the first token of a phrase, which was forced, does not count.
func phraseSupport(_ phrases: [[Int32]]) -> [Double] {
    func runs(_ phrase: [Int32]) -> Set<[Int32]> {
        Set(phrase.indices.dropFirst().dropLast(2).map { Array(phrase[$0..<$0 + 3]) })
    }
    var counts: [[Int32]: Int] = [:]
    for phrase in phrases { for run in runs(phrase) { counts[run, default: 0] += 1 } }
    return phrases.map { phrase in
        Double((runs(phrase).map { counts[$0] ?? 1 }.max() ?? 1) - 1) / Double(max(1, phrases.count - 1))
    }
}

/// Random soft prompts: the embeddings of random tokens, or vectors with these embeddings' mean and spread in each
/// dimension.
struct SoftPromptDraws {
    private let count: Int
    private let table: FloatStorage  // embeddings of random tokens
    private let mean: [Float]
    private let spread: [Float]
    private var random: SplitMix64

    init(model: Transformer, count: Int, seed: UInt64) {
        self.count = count
        var random = SplitMix64(seed: seed ^ 0x736F_6674)
        let tokens = (0..<1024).map { _ in Int32(random.index(below: model.spec.vocabSize)) }
        let table = FloatStorage(rows: tokens.count, columns: model.spec.hiddenSize)
        model.embed(tokens, overlay: nil, into: table.matrix)
        let rows = Double(tokens.count)
        var (mean, spread): ([Float], [Float]) = ([], [])
        for column in 0..<model.spec.hiddenSize {
            var (sum, squares) = (0.0, 0.0)
            for row in tokens.indices {
                let value = Double(table.matrix[row, column])
                sum += value
                squares += value * value
            }
            mean.append(Float(sum / rows))
            spread.append(Float(max(0, squares / rows - sum * sum / (rows * rows)).squareRoot()))
        }
        (self.random, self.table, self.mean, self.spread) = (random, table, mean, spread)
    }

    /// The next one, [count, hidden].
    mutating func next(isGaussian: Bool) -> FloatStorage {
        let result = FloatStorage(rows: count, columns: table.matrix.columns)
        for row in 0..<count {
            let target = result.matrix.slice(rows: row..<row + 1)
            if isGaussian {
                for column in mean.indices { target[0, column] = mean[column] + spread[column] * gaussian() }
            } else {
                let source = random.index(below: table.matrix.rows)
                target.copy(from: table.matrix.slice(rows: source..<source + 1))
            }
        }
        return result
    }

    /// A standard normal number (Box and Muller).
    private mutating func gaussian() -> Float {
        let u = (Double(random.next() >> 11) + 1) / 9_007_199_254_740_992
        let v = Double(random.next() >> 11) / 9_007_199_254_740_992
        return Float((-2 * log(u)).squareRoot() * cos(2 * .pi * v))
    }
}

/// The forward passes of a proposal.
struct ProposalSearch {
    let model: OpenedModel
    let session: InferenceSession
    let prompts: [[Int32]]
    let search: ProposalOptions

    /// The probability of every token as the first of a reply, its mean over the messages.
    func firstProbabilities(vectors: FloatStorage?, insertion: SoftInsertion) throws -> [Double] {
        let requests = prompts.map { prompt -> SoftRequest in
            guard vectors != nil else { return SoftRequest(tokens: prompt) }
            var tokens = prompt
            let row = insertion.apply(to: &tokens)
            return SoftRequest(tokens: tokens, softRow: row)
        }
        var mean = [Double](repeating: 0, count: model.transformer.spec.vocabSize)
        try session.nextLogits(of: requests, vectors: vectors?.matrix) { range, logits in
            for row in 0..<range.count { logits.withRow(row) { addProbabilities($0, to: &mean) } }
        }
        return mean
    }

    /// Their mean over random soft prompts in that place.
    func softProbabilities(_ draws: inout SoftPromptDraws, _ insertion: SoftInsertion) throws -> [Double] {
        var mean = [Double](repeating: 0, count: model.transformer.spec.vocabSize)
        for index in 0..<search.softPrompts {
            let probabilities = try firstProbabilities(
                vectors: draws.next(isGaussian: index % 2 == 1), insertion: insertion)
            for token in mean.indices { mean[token] += probabilities[token] / Double(search.softPrompts) }
        }
        return mean
    }

    private func addProbabilities(_ logits: UnsafeBufferPointer<Float>, to mean: inout [Double]) {
        let top = Double(logits.max() ?? 0)
        let powers = logits.map { exp(Double($0) - top) }
        let sum = powers.reduce(0, +) * Double(prompts.count)
        for token in mean.indices { mean[token] += powers[token] / sum }
    }

    /// Each first token with what the messages together find likeliest behind it, token by token, as long as they agree.
    func extend(
        _ first: [Int32], stopTokens: Set<Int32>
    ) throws -> [(tokens: [Int32], fixedness: Double)] {
        let caches = try prompts.map { prompt in
            let cache = session.makeCache(capacity: prompt.count)
            _ = try session.hiddenStates(PackedBatch([prompt]), caches: [cache], lastRows: [1])
            return cache
        }
        return try first.map { try extend($0, caches, stopTokens) }
    }

    private func extend(
        _ first: Int32, _ prompts: [KVCache], _ stopTokens: Set<Int32>
    ) throws -> (tokens: [Int32], fixedness: Double) {
        let caches = prompts.map { $0.fork(capacity: $0.count + search.phraseTokens) }
        var tokens = [first]
        var fixedness = 0.0
        while tokens.count < search.phraseTokens {
            guard let (best, mean) = try next(after: tokens[tokens.count - 1], caches) else { break }
            if tokens.count < search.fixedTokens { fixedness += mean }
            let agree = mean > log(0.5)
            if stopTokens.contains(best) || (tokens.count >= search.fixedTokens && !agree) { break }
            tokens.append(best)
        }
        return (tokens, exp(fixedness))
    }

    /// Of the tokens that some message finds likeliest after `token`, the one with the highest mean log-probability: one
    /// that another message finds impossible is no fixed phrase.
    private func next(after token: Int32, _ caches: [KVCache]) throws -> (token: Int32, mean: Double)? {
        var batch = PackedBatch()
        for cache in caches { batch.append([token], firstPosition: cache.count) }
        let hidden = try session.hiddenStates(batch, caches: caches)
        var sums: [Int32: Double] = [:]
        try session.forEachLogits(of: hidden) { _, logits in
            for token in Set(model.transformer.kernels.argmax(logits)) where sums[token] == nil {
                let nll = session.likelihoods(logits, Array(repeating: token, count: logits.rows))
                sums[token] = -nll.reduce(0) { $0 + Double($1) } / Double(logits.rows)
            }
        }
        return sums.max { ($0.value, $1.key) < ($1.value, $0.key) }.map { ($0.key, $0.value) }
    }
}
