import Base

/// That a report is about a model behind a server, and what that leaves open.
public struct RemoteSummary: Sendable, Equatable {
    /// The server's address.
    public let url: String
    /// The model's name there.
    public let model: String
    /// What it says of likelihoods: `prompt`, `new_tokens` or `none`.
    public let logProbabilities: String
    /// Measures that it does not let be taken.
    public let notMeasured: [String]

    /// A summary.
    public init(url: String, model: String, logProbabilities: String, notMeasured: [String]) {
        (self.url, self.model, self.logProbabilities) = (url, model, logProbabilities)
        self.notMeasured = notMeasured
    }

    /// `{"url", "model", "log_probabilities", "not_measured"}`.
    public var json: JSONValue {
        [
            "url": .text(url), "model": .text(model), "log_probabilities": .text(logProbabilities),
            "not_measured": .array(notMeasured.map { .text($0) }),
        ]
    }

    /// In words.
    public var sentence: String {
        "\(model) at \(url), asked in texts (log-probabilities: \(logProbabilities.replacing("_", with: " "))). "
            + "Not measured: \(notMeasured.joined(separator: ", "))."
    }
}
