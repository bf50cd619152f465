import Base

/// The result of one row or window.
public struct PerplexityRow: Sendable, Equatable {
    /// Scored tokens.
    public let tokens: Int
    /// Sum of their negative log-likelihoods in nats.
    public let nll: Double
}

/// How far a model's predictions are from a base's, over the scored tokens; `ppl --reference`.
public struct DivergenceReport: Sendable, Equatable {
    /// Mean of KL(base ‖ model) in nats.
    public let mean: Double
    /// Standard error of the mean.
    public let standardError: Double
    /// Half of the tokens are below it.
    public let median: Double
    /// 99 % of the tokens are below it.
    public let p99: Double
    /// The largest.
    public let max: Double
    /// Share of tokens where both models prefer the same one.
    public let sameTop: Double
    /// The base's perplexity.
    public let basePPL: Double
    /// The model's perplexity / the base's.
    public let ratio: Double
}

/// What `ppl` measures.
public struct PerplexityReport: Sendable, Equatable {
    /// exp(nll / tokens); of `guanaco` with its weights, exp of the batches' weighted mean.
    public let ppl: Double
    /// Sum of the negative log-likelihoods of the scored tokens, in nats.
    public let nll: Double
    /// Scored tokens.
    public let tokens: Int
    /// The protocol.
    public let scheme: PerplexityProtocol
    /// Tokens of a window.
    public let maxLength: Int
    /// Standard error of `ppl`: ppl × that of the mean negative log-likelihood.
    public let standardError: Double
    /// Each row or window, if wanted.
    public let rows: [PerplexityRow]?
    /// The quirks of `guanaco`; nil for other protocols.
    public let quirks: GuanacoQuirks?
    /// The comparison with a base, if there is one.
    public let kl: DivergenceReport?

    /// The names that conditions on a perplexity may use.
    public static let metricNames = ["ppl", "nll", "tokens", "kl", "ppl_ratio"]

    /// The values of `metricNames`; nil where nothing was measured.
    public var metrics: [String: Double?] {
        ["ppl": ppl, "nll": nll, "tokens": Double(tokens), "kl": kl?.mean, "ppl_ratio": kl?.ratio]
    }
}

extension PerplexityReport {
    /// The object of `ppl --json`; `rows` and `kl` only where they were asked for.
    public var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("ppl", .real(ppl)), ("nll", .real(nll)), ("tokens", .integer(tokens)),
            ("protocol", .text(scheme.rawValue)), ("max_length", .integer(maxLength)),
            ("stderr", .real(standardError)),
        ]
        if let quirks {
            let names = GuanacoQuirks.Name.allCases.filter(quirks.kept.contains).map(\.rawValue)
            members.append(("quirks", .array(names.map { .text($0) })))
            members.append(("batch_size", .integer(quirks.batchSize)))
        }
        if let kl { members.append(("kl", kl.json)) }
        if let rows {
            members.append(
                ("rows", .array(rows.map { ["tokens": .integer($0.tokens), "nll": .real($0.nll)] })))
        }
        return .object(JSONObject(members))
    }
}

extension DivergenceReport {
    fileprivate var json: JSONValue {
        [
            "mean": .real(mean), "stderr": .real(standardError), "median": .real(median), "p99": .real(p99),
            "max": .real(max), "same_top": .real(sameTop), "base_ppl": .real(basePPL), "ppl_ratio": .real(ratio),
        ]
    }
}
