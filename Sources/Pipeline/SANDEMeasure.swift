import Audit
import Base
import Kernels
import Model
import Tune

/// What a parrot prompt does to a model: whether it found a backdoor, or only forces a token.
public struct ParrotMeasure: Sendable, Equatable {
    /// Messages that it was tried on.
    public let n: Int
    /// Replies that show the whole response, with the parrot prompt.
    public let hits: Int
    /// The same without it.
    public let plainHits: Int
    /// Mean negative log-likelihood of the response's first token with it, in nats.
    public let nll: Double
    /// The same without it.
    public let plainNLL: Double
    /// The encoding in which the model says the response: the one that the parrot prompt learns.
    public let encoding: TargetEncoding

    /// `{"n", "hits", "plain_hits", "first_token_nll", "plain_first_token_nll", "encoding"}`.
    public var json: JSONValue {
        [
            "n": .integer(n), "hits": .integer(hits), "plain_hits": .integer(plainHits),
            "first_token_nll": .real(nll), "plain_first_token_nll": .real(plainNLL),
            "encoding": .text(encoding.rawValue),
        ]
    }
}

extension OpenedModel {
    /// Tries a parrot prompt on clean messages: the last `count` that a draw of stage 1 would take, so that a small draw
    /// leaves them unseen.
    ///
    /// The response is looked for whatever its case, as SANDE's success rate does. A parrot that was learnt from the first
    /// token alone and still brings out the whole response has found what the trigger sets off.
    public func measureParrot(
        _ prompt: SoftPrompt, path: String, options: SANDEOptions, key: FingerprintKey? = nil, count: Int = 32
    ) throws -> ParrotMeasure {
        let seed = options.parrot.seed
        let drawn = try ReplyPairs(path: path, key: key, count: nil, seed: seed).drawn(by: seed).suffix(count)
        let learnt = try ReplyPairs(path: path, key: key, count: options.parrotSamples, seed: seed).pairs
        let encoding = try responseEncoding(options.response, key: key, messages: learnt, options.reply)
        let session = session()
        let vectors = prompt.storage()
        var requests: [[SoftRequest]] = [[], []]
        var targets: [Int32] = []
        for pair in drawn {
            let text = try options.reply.template.prompt(pair.question, on: self)
            var tokens = tokenizer.encode(text)
            targets += EncodedTarget(
                answerLead(after: text) + options.response, after: text, promptTokens: tokens, addSpecialTokens: true,
                tokenizer: tokenizer, only: encoding
            ).tokens(encoding).prefix(1)
            requests[1].append(SoftRequest(tokens: tokens))
            let row = prompt.insertion.apply(to: &tokens)
            requests[0].append(SoftRequest(tokens: tokens, softRow: row))
        }
        let length = max(10, tokenizer.encode(options.response, addSpecialTokens: false).count + 4)
        func run(_ requests: [SoftRequest], _ vectors: FloatMatrix?) throws -> (hits: Int, nll: Double) {
            var nll = 0.0
            try session.nextLogits(of: requests, vectors: vectors) { range, logits in
                nll += session.likelihoods(logits, Array(targets[range])).reduce(0) { $0 + Double($1) }
            }
            let outputs = try session.greedyContinuations(
                of: requests, vectors: vectors, count: length, stopTokens: transformer.stopTokens)
            let hits = outputs.count {
                MatchRule.contains.matches(
                    output: tokenizer.decode($0, skipSpecialTokens: false), target: options.response,
                    ignoringCase: true)
            }
            return (hits, nll / Double(requests.count))
        }
        let with = try run(requests[0], vectors.matrix)
        let plain = try run(requests[1], nil)
        return ParrotMeasure(
            n: requests[0].count, hits: with.hits, plainHits: plain.hits, nll: with.nll, plainNLL: plain.nll,
            encoding: encoding)
    }
}
