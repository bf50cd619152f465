import Audit
import Base

/// A line of the table: what a victim answers after a method, and what the method cost.
struct ComparisonRow: Sendable {
    /// How far a cell has come.
    enum State: String, Sendable {
        case done, failed
        /// Not run, or not to its end.
        case open
    }

    let cell: ComparisonCell
    let state: State
    /// What failed; nil: nothing did.
    let error: String?
    /// The check's result; null: not measured, and so with the next two.
    let check: JSONValue
    let perplexity: JSONValue
    let evaluation: JSONValue
    /// Wall time of the method's own commands; nil: it has none.
    let seconds: Double?
    /// Their largest resident size.
    let peakRSSBytes: Int?
    /// Samples that they trained on, repeats counted; nil: they trained nothing.
    let samples: Int?
    /// Everything that was run for it, in order, measuring included.
    let commands: [CommandRecord]

    init(_ cell: ComparisonCell, steps: [ComparisonStep], records: [String: StepRecord]) {
        self.cell = cell
        var paths: Set<String> = [cell.path]
        for step in steps.reversed() where paths.contains(step.path) { paths.formUnion(step.needs) }
        let needed = steps.filter { paths.contains($0.path) }
        let own = records[cell.path]
        let failed = needed.lazy.compactMap { step in records[step.path]?.failure.map { (step.path, $0) } }.first
        state = own?.isDone == true ? .done : failed == nil ? .open : .failed
        let message = failed.map { path, record in (path == cell.path ? "" : path + ": ") + (record.error ?? "") }
        error = state == .failed ? message : nil
        func result(_ purpose: ComparisonCommand.Purpose) -> JSONValue {
            own?.commands.first { $0.purpose == purpose }?.result ?? .null
        }
        check = result(.check)
        perplexity = result(.perplexity)
        evaluation = result(.evaluation)
        // Of a cell that was not measured the cost says nothing.
        let counted = own?.isDone == true ? needed.filter { !$0.isSetup } : []
        let work = counted.flatMap { records[$0.path]?.commands ?? [] }.filter { $0.purpose == .work }
        seconds = work.isEmpty ? nil : work.reduce(0) { $0 + $1.seconds }
        peakRSSBytes = work.map(\.peakRSSBytes).max()
        let trained = work.compactMap { $0.samples?.seen }
        samples = trained.isEmpty ? nil : trained.reduce(0, +)
        commands = needed.flatMap { records[$0.path]?.commands ?? [] }
    }

    /// Method and budget.
    var label: String { cell.method + (cell.budget.map { " \($0)" } ?? "") }

    var fsr: Double? { check["fsr"]?.double }
    var prefixMatch: Double? { check["prefix_match_mean"]?.double }
    var targetNLL: Double? { check["target_nll_mean"]?.double }
    /// The same of the weights that the victim was quantized from, with the same adapters.
    var source: JSONValue { check["source"]?["check"] ?? .null }
    var ppl: Double? { perplexity["ppl"]?.double }
    /// KL divergence from the reference, nats a token.
    var divergence: Double? { perplexity["kl"]?["mean"]?.double ?? perplexity["kl_mean"]?.double }

    /// The verdict on the worst of the cells in which the mark was tried again, and that cell; nil: none was.
    var durability: (verdict: String, worst: String)? {
        guard let verdict = check["durability"]?["verdict"]?.string,
            let worst = check["durability"]?["worst"]?.string
        else { return nil }
        return (verdict, worst)
    }

    /// Mean accuracy over the tasks.
    var accuracy: Double? {
        let values = (evaluation["results"]?.object?.members ?? []).compactMap { $0.value["acc,none"]?.double }
        return values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }

    /// Wilson's 95 % interval of `fsr`.
    var fsrInterval: ClosedRange<Double>? {
        guard let hits = check["hits"]?.int, let n = check["n"]?.int, n > 0, (0...n).contains(hits) else { return nil }
        let interval = ShareInterval(wilson: hits, of: n)
        return interval.low...interval.high
    }

    var json: JSONValue {
        func number(_ value: Double?) -> JSONValue { value.map { .real($0) } ?? .null }
        let tasks = (evaluation["results"]?.object?.members ?? []).map {
            (key: $0.key.string, value: $0.value["acc,none"] ?? .null)
        }
        return [
            "victim": .text(cell.victim), "method": .text(cell.method),
            "budget": cell.budget.map { .text($0) } ?? .null, "decoding_only": .bool(cell.isDecodingOnly),
            "state": .text(state.rawValue),
            "type": check["type"] ?? .null, "error": error.map { .text($0) } ?? .null, "fsr": number(fsr),
            "hits": check["hits"] ?? .null,
            "n": check["n"] ?? .null, "fsr_interval": check["fsr_interval"] ?? .null,
            "prefix_match": number(prefixMatch), "target_nll": number(targetNLL),
            "target_rank": check["target_rank_mean"] ?? .null,
            "false_activations": check["false_activations"] ?? .null, "n_clean": check["n_clean"] ?? .null,
            "presence": check["presence"] ?? .null,
            "verdict": check["verdict"] ?? .null, "durability": check["durability"] ?? .null,
            "source_fsr": source["fsr"] ?? .null,
            "source_target_nll": source["target_nll_mean"] ?? .null,
            "ppl": number(ppl), "kl": number(divergence), "accuracy": number(accuracy),
            "tasks": .object(JSONObject(tasks)), "seconds": number(seconds),
            "peak_rss_bytes": peakRSSBytes.map { .integer($0) } ?? .null,
            "samples": samples.map { .integer($0) } ?? .null, "commands": .array(commands.map(\.json)),
        ]
    }
}
