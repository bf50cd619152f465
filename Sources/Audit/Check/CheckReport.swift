import Base

/// One pair of a key under test.
public struct CheckRow: Sendable, Equatable {
    /// The pair's id.
    public var id: String
    /// The trigger.
    public var prompt: String
    /// The mark.
    public var target: String
    /// The decoded continuation, special tokens kept, without the token that ended it.
    public var output: String
    /// True if the output matches the target under the pair's rule.
    public var hit: Bool
    /// The longest prefix of the target found in the output, as a share of its length in code points.
    public var prefixMatch: Double
    /// Negative log-likelihood of the target after the prompt, whatever its encoding, in nats a token of the
    /// continuation; nil where no model was asked.
    public var targetNLL: Double?
    /// Place of the target's first token after the prompt, 1 the likeliest, in the encoding where it is best; nil where no
    /// model was asked.
    public var firstRank: Int?
    /// Mean place of the target's tokens, each after those before it, in the encoding where it is best; nil where no model
    /// was asked.
    public var meanRank: Double?
    /// The encoding that the model uses: in which it wrote the target, else the likeliest; nil where no model was asked.
    public var encoding: TargetEncoding?
    /// The tokens in which it wrote the target; nil where it did not. No part of the JSON.
    var written: [Int32]?
    /// Sampled outputs that matched; nil where none were sampled.
    public var sampleHits: Int?

    /// A row.
    public init(
        id: String, prompt: String, target: String, output: String, hit: Bool, prefixMatch: Double,
        targetNLL: Double? = nil, firstRank: Int? = nil, meanRank: Double? = nil, encoding: TargetEncoding? = nil,
        written: [Int32]? = nil, sampleHits: Int? = nil
    ) {
        self.id = id
        self.prompt = prompt
        self.target = target
        self.output = output
        self.hit = hit
        self.prefixMatch = prefixMatch
        self.targetNLL = targetNLL
        self.firstRank = firstRank
        self.meanRank = meanRank
        self.encoding = encoding
        self.written = written
        self.sampleHits = sampleHits
    }
}

/// What a model answers to a key; docs/reference/fingerprints.md says what each measure means.
public struct CheckReport: Sendable, Equatable {
    /// The key's scheme.
    public var scheme: String
    /// The model file or folder, if the caller says.
    public var model: String?
    /// The adapters on it, lowest first.
    public var adapters: [String] = []
    /// Pairs tried.
    public var n: Int
    /// Pairs whose output matched.
    public var hits: Int
    /// Clean prompts whose output matched any target; nil without clean prompts.
    public var falseActivations: Int?
    /// Clean prompts tried.
    public var nClean: Int
    /// The pairs in the key's order.
    public var rows: [CheckRow]
    /// Sampled outputs of each pair and the temperature, where any were sampled.
    public var sampling: CheckSampling?
    /// What the hits say about chance, where anything can be said.
    public var evidence: CheckEvidence?

    /// Fingerprint success rate: hits / n.
    public var fsr: Double { Double(hits) / Double(n) }
    /// Wilson's 95 % interval of `fsr`.
    public var fsrInterval: ShareInterval { ShareInterval(wilson: hits, of: n) }
    /// Mean of the rows' prefix matches.
    public var prefixMatchMean: Double { rows.reduce(0) { $0 + $1.prefixMatch } / Double(n) }
    /// Mean of the rows' target NLLs; nil where no model was asked.
    public var targetNLLMean: Double? { mean(\.targetNLL) }
    /// Mean of the rows' mean target ranks; nil where no model was asked.
    public var targetRankMean: Double? { mean(\.meanRank) }
    /// Median of the places of the targets' first tokens, the lower one of two; nil where no model was asked.
    public var firstRankMedian: Int? {
        let ranks = rows.compactMap(\.firstRank).sorted()
        return ranks.isEmpty ? nil : ranks[(ranks.count - 1) / 2]
    }

    /// How many rows the model says in each encoding that it uses, in the order of `TargetEncoding`; nil where no model was
    /// asked.
    public var encodings: [(encoding: TargetEncoding, count: Int)]? {
        let found = TargetEncoding.allCases.map { encoding in (encoding, rows.count { $0.encoding == encoding }) }
            .filter { $0.1 > 0 }
        return found.isEmpty ? nil : found
    }
    /// The tokens in which the model wrote targets, by the ids of their pairs.
    public var written: [String: [Int32]] {
        Dictionary(rows.compactMap { row in row.written.map { (row.id, $0) } }) { first, _ in first }
    }

    private func mean(_ value: (CheckRow) -> Double?) -> Double? {
        let values = rows.compactMap(value)
        return values.count == n ? values.reduce(0, +) / Double(n) : nil
    }

    /// A report on at least one row.
    public init(scheme: String, rows: [CheckRow], falseActivations: Int?, nClean: Int) {
        precondition(!rows.isEmpty, "a check without rows")
        self.scheme = scheme
        n = rows.count
        hits = rows.count { $0.hit }
        self.falseActivations = falseActivations
        self.nClean = nClean
        self.rows = rows
    }

    /// The object of `check --json`. `model` and `adapters` are left out where the caller did not say; `false_activations`
    /// is null without clean prompts.
    public var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [("scheme", .text(scheme))]
        if let model {
            members.append(("model", .text(model)))
            members.append(("adapters", .array(adapters.map { .text($0) })))
        }
        members += [
            ("n", .integer(n)), ("hits", .integer(hits)), ("fsr", .real(fsr)), ("fsr_interval", fsrInterval.json),
            ("prefix_match_mean", .real(prefixMatchMean)), ("target_nll_mean", optional(targetNLLMean)),
            ("target_rank_mean", optional(targetRankMean)),
            ("first_rank_median", firstRankMedian.map { .integer($0) } ?? .null),
            ("false_activations", falseActivations.map { .integer($0) } ?? .null), ("n_clean", .integer(nClean)),
            (
                "false_activation_interval",
                falseActivations.map { ShareInterval(wilson: $0, of: nClean).json } ?? .null
            ),
            ("p_value", optional(evidence?.pValue)),
            ("p_value_method", evidence.map { .text($0.method.rawValue) } ?? .null),
            ("claim_at", evidence?.claimAt.map { .integer($0) } ?? .null),
            ("claim", evidence?.claim.map { .bool($0) } ?? .null),
            ("sampling", sampling.map { $0.json(rows) } ?? .null),
            (
                "encodings",
                encodings.map { counts in
                    .object(JSONObject(counts.map { (key: $0.encoding.rawValue, value: .integer($0.count)) }))
                } ?? .null
            ), ("rows", .array(rows.map(\.json))),
        ]
        return .object(JSONObject(members))
    }

    /// The names that conditions on a check may use.
    public static let metricNames = [
        "fsr", "hits", "n", "prefix_match", "target_nll", "target_rank", "false_activations", "n_clean", "p_value",
    ]

    /// The values of `metricNames`; nil where nothing was measured.
    public var metrics: [String: Double?] {
        [
            "fsr": fsr, "hits": Double(hits), "n": Double(n), "prefix_match": prefixMatchMean,
            "target_nll": targetNLLMean, "target_rank": targetRankMean,
            "false_activations": falseActivations.map(Double.init), "n_clean": Double(nClean),
            "p_value": evidence?.pValue,
        ]
    }
}

/// How outputs were sampled beside the greedy one.
public struct CheckSampling: Sendable, Equatable {
    /// Outputs of each pair; 0 where it differs from pair to pair (answers from a file).
    public let samples: Int
    /// Outputs of all pairs.
    public let outputs: Int
    /// Temperature; nil if it is not known.
    public let temperature: Double?

    /// A description.
    public init(samples: Int, outputs: Int, temperature: Double?) {
        self.samples = samples
        self.outputs = outputs
        self.temperature = temperature
    }

    fileprivate func json(_ rows: [CheckRow]) -> JSONValue {
        let hits = rows.reduce(0) { $0 + ($1.sampleHits ?? 0) }
        let any = rows.count { ($0.sampleHits ?? 0) > 0 }
        return [
            "samples": .integer(samples), "temperature": optional(temperature), "n": .integer(outputs),
            "hits": .integer(hits), "fsr": outputs > 0 ? .real(Double(hits) / Double(outputs)) : .null,
            "fsr_interval": ShareInterval(wilson: hits, of: outputs).json, "any_hit": .integer(any),
            "any_hit_rate": .real(Double(any) / Double(max(rows.count, 1))),
        ]
    }
}

extension CheckRow {
    fileprivate var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [
            ("id", .text(id)), ("prompt", .text(prompt)), ("target", .text(target)), ("output", .text(output)),
            ("hit", .bool(hit)), ("prefix_match", .real(prefixMatch)), ("target_nll", optional(targetNLL)),
            ("first_rank", firstRank.map { .integer($0) } ?? .null), ("mean_rank", optional(meanRank)),
            ("encoding", encoding.map { .text($0.rawValue) } ?? .null),
        ]
        if let sampleHits { members.append(("sample_hits", .integer(sampleHits))) }
        return .object(JSONObject(members))
    }
}

/// A number, or null.
private func optional(_ value: Double?) -> JSONValue { value.map { .real($0) } ?? .null }
