import Audit
import Model

extension OpenedModel {
    /// The encoding in which this model says texts behind prompts: the one in which it finds all of them together
    /// likeliest.
    ///
    /// - Parameter pairs: the texts of prompts and what is said behind them; the first 16 are looked at, and of each text 64 tokens.
    /// - Throws: what a forward pass throws.
    func usedEncoding(
        of pairs: some Collection<(prompt: String, text: String)>, addSpecialTokens: Bool = true
    ) throws -> TargetEncoding {
        let items = pairs.prefix(16).map { pair in
            let prompt = tokenizer.encode(pair.prompt, addSpecialTokens: addSpecialTokens)
            let target = EncodedTarget(
                pair.text, after: pair.prompt, promptTokens: prompt, addSpecialTokens: addSpecialTokens,
                tokenizer: tokenizer)
            let ways = TargetEncoding.fixed.map { Array(target.tokens($0).prefix(64)) }
            return (context: prompt, continuations: ways)
        }.filter { !$0.context.isEmpty }
        guard items.contains(where: { Set($0.continuations).count > 1 }) else { return .continuation }
        let scores = try session().scoreContinuations(items)
        let sums = TargetEncoding.fixed.indices.map { way in scores.reduce(0) { $0 + $1[way].logLikelihood } }
        let best = sums.indices.max { sums[$0] < sums[$1] } ?? 0
        return TargetEncoding.fixed[sums.firstIndex(of: sums[best]) ?? best]
    }

    /// The encoding in which this model says the response of a backdoor: the key's, if it fixes one; else as behind its
    /// triggers, or behind clean messages where no key is known.
    func responseEncoding(
        _ response: String, key: FingerprintKey?, messages: [WrittenExchange], _ reply: ReplyOptions
    ) throws -> TargetEncoding {
        if let fixed = key?.encoding { return fixed }
        let prompts =
            if let key, key.promptFormat == .raw { key.pairs.prefix(16).map(\.prompt) } else {
                try messages.prefix(16).map { try reply.template.prompt($0.question, on: self) }
            }
        return try usedEncoding(of: prompts.map { (prompt: $0, text: answerLead(after: $0) + response) })
    }
}
