import Base
import Synchronization

/// What a server has done since it started, as Prometheus reads it. Thread-safe.
final class Counters: Sendable {
    private let statuses = Mutex<[Int: Int]>([:])

    /// Counts an answer.
    func count(_ status: Int) { statuses.withLock { $0[status, default: 0] += 1 } }

    /// The text of `/metrics`.
    func text(_ load: DecodingEngine.Load) -> String {
        var lines: [String] = []
        func add(_ name: String, _ kind: String, _ help: String, _ values: [(labels: String, value: Int)]) {
            lines.append("# HELP meraser_\(name) \(help)")
            lines.append("# TYPE meraser_\(name) \(kind)")
            lines += values.map { "meraser_\(name)\($0.labels) \($0.value)" }
        }
        let answers = statuses.withLock { $0.sorted { $0.key < $1.key } }
        add("requests_total", "counter", "Answered requests.", answers.map { ("{status=\"\($0.key)\"}", $0.value) })
        add("prompt_tokens_total", "counter", "Tokens of prompts that were read.", [("", load.promptTokens)])
        add(
            "shared_tokens_total", "counter", "Tokens of prompts that another sequence had read.",
            [("", load.sharedTokens)])
        add("new_tokens_total", "counter", "Tokens that were generated.", [("", load.newTokens)])
        add("sequences_active", "gauge", "Sequences that are decoded now.", [("", load.active)])
        add("sequences_waiting", "gauge", "Sequences that wait for a place.", [("", load.waiting)])
        return lines.joined(separator: "\n") + "\n"
    }
}
