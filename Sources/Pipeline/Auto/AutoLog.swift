import Base

/// The logs of all phases of a removal as those of one training, for the report's charts: steps are counted through.
struct AutoLog {
    /// `{"steps", "final_loss", "seconds", "tokens", "tokens_per_second", "peak_rss_bytes"}`.
    let result: JSONValue
    private let folder: RunFolder
    /// The rows of the steps.
    private(set) var steps: [JSONValue] = []
    private var looks: [JSONValue] = []

    /// Reads the logs of the phases that are in the folder; trials are left out.
    ///
    /// - Throws: bad-input errors of damaged files.
    init(phases: [String], in folder: RunFolder) throws {
        self.folder = folder
        var (first, seconds, tokens, peak) = (0, 0.0, 0, 0)
        for phase in phases where !phase.hasPrefix("trial") {
            let place = "phases/\(phase)"
            func counted(_ row: JSONValue, _ file: String) throws -> JSONValue {
                row.replacing("step", with: .integer(first + (try row.int("step", in: file))))
            }
            let (train, probe) = ("\(place)/train_log.jsonl", "\(place)/probe_log.jsonl")
            let rows = try folder.readLines(train)
            steps += try rows.map { try counted($0, train) }
            looks += try folder.readLines(probe).map { try counted($0, probe) }
            first += rows.count
            let done = try folder.record(of: .phase(phase))?["result"]?["training"] ?? .null
            seconds += done["seconds"]?.double ?? 0
            tokens += done["tokens"]?.int ?? 0
            peak = max(peak, done["peak_rss_bytes"]?.int ?? 0)
        }
        result = [
            "steps": .integer(first), "final_loss": steps.last?["loss"] ?? .null, "seconds": .real(seconds),
            "tokens": .integer(tokens), "tokens_per_second": .real(seconds > 0 ? Double(tokens) / seconds : 0),
            "peak_rss_bytes": .integer(peak),
        ]
    }

    /// Writes `train_log.jsonl` and `probe_log.jsonl`.
    ///
    /// - Throws: what writing throws.
    func write() throws {
        for (name, rows) in [("train_log.jsonl", steps), ("probe_log.jsonl", looks)] {
            try folder.write(rows.map { $0.serialized() + "\n" }.joined(), to: name)
        }
    }
}
