import Audit
import Base

/// What `erase --auto` has done, and what the one test at its end says.
public struct AutoResult: Sendable {
    /// What steered.
    public let setting: AutoOptions.Setting
    /// The learning rate that the trials chose.
    public let rate: Double
    /// All looks, in their order: the frontier of removal and cost that was seen.
    public let looks: [RemovalLook]
    /// The verdict on the adapter.
    public let certificate: Certificate?
    /// True if the budget ended the training.
    public let isOverBudget: Bool
    /// Seconds of this session.
    public let seconds: Double
    /// The folder with the adapter.
    public let adapter: String

    /// True if the mark was shown to be gone.
    public var isGone: Bool { certificate?.verdict == .gone }

    /// An object of everything.
    public var json: JSONValue {
        .object(
            JSONObject(
                Build.current.fields + [
                    ("setting", .text(setting.rawValue)),
                    ("verdict", certificate.map { .text($0.verdict.rawValue) } ?? .null),
                    ("learning_rate", .real(rate)), ("looks", .array(looks.map(\.json))),
                    ("certificate", certificate?.json ?? .null), ("over_budget", .bool(isOverBudget)),
                    ("seconds", .real(seconds)), ("adapter", .text(adapter)),
                ]))
    }
}
