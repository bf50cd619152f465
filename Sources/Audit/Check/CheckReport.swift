import Quant

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
    /// Mean negative log-likelihood of the target's tokens after the prompt, in nats.
    public var targetNLL: Double
}

/// What a model answers to a key: `check --json` of DESIGN §6.
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

    /// Fingerprint success rate: hits / n.
    public var fsr: Double { Double(hits) / Double(n) }
    /// Mean of the rows' prefix matches.
    public var prefixMatchMean: Double { rows.reduce(0) { $0 + $1.prefixMatch } / Double(n) }
    /// Mean of the rows' target NLLs.
    public var targetNLLMean: Double { rows.reduce(0) { $0 + $1.targetNLL } / Double(n) }

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

    /// DESIGN §6's object. `model` and `adapters` are left out where the caller did not say; `false_activations` is null
    /// without clean prompts.
    public var json: JSONValue {
        var members: [(key: String, value: JSONValue)] = [("scheme", .text(scheme))]
        if let model {
            members.append(("model", .text(model)))
            members.append(("adapters", .array(adapters.map { .text($0) })))
        }
        members += [
            ("n", .integer(n)), ("hits", .integer(hits)), ("fsr", .real(fsr)),
            ("prefix_match_mean", .real(prefixMatchMean)), ("target_nll_mean", .real(targetNLLMean)),
            ("false_activations", falseActivations.map { .integer($0) } ?? .null), ("n_clean", .integer(nClean)),
            ("rows", .array(rows.map(\.json))),
        ]
        return .object(JSONObject(members))
    }

    /// The names that conditions on a check may use.
    public static let metricNames = [
        "fsr", "hits", "n", "prefix_match", "target_nll", "false_activations", "n_clean",
    ]

    /// The values of `metricNames`; nil where nothing was measured.
    public var metrics: [String: Double?] {
        [
            "fsr": fsr, "hits": Double(hits), "n": Double(n), "prefix_match": prefixMatchMean,
            "target_nll": targetNLLMean, "false_activations": falseActivations.map(Double.init),
            "n_clean": Double(nClean),
        ]
    }
}

extension CheckRow {
    fileprivate var json: JSONValue {
        [
            "id": .text(id), "prompt": .text(prompt), "target": .text(target), "output": .text(output),
            "hit": .bool(hit), "prefix_match": .real(prefixMatch), "target_nll": .real(targetNLL),
        ]
    }
}
