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
    /// Whether the mark stays away; nil where nothing was tried.
    public let durability: DurabilityReport?
    /// Steps, loss, seconds and tokens a second of all phases but the trials.
    public let training: JSONValue
    /// True if the last look was quiet, and nothing more was found.
    public let isQuiet: Bool
    /// True if the budget ended the training.
    public let isOverBudget: Bool
    /// Seconds of this session.
    public let seconds: Double
    /// The folder with the adapter.
    public let adapter: String

    /// The verdict: the worst of the certificate's and the cells'; nil where no key was there to ask for.
    public var verdict: CertificateVerdict? {
        certificate.map {
            CertificateVerdict.worst([$0.verdict] + (durability.map { [$0.verdict] } ?? [])) ?? $0.verdict
        }
    }

    /// Why, in a sentence.
    public var reason: String? {
        guard let durability, certificate?.verdict == .gone else { return certificate?.reason }
        return durability.reason
    }

    /// An object of everything.
    public var json: JSONValue {
        .object(
            JSONObject(
                Build.current.fields + [
                    ("setting", .text(setting.rawValue)),
                    ("verdict", verdict.map { .text($0.rawValue) } ?? .null),
                    ("learning_rate", .real(rate)), ("training", training), ("looks", .array(looks.map(\.json))),
                    ("certificate", certificate?.json ?? .null), ("durability", durability?.json ?? .null),
                    ("quiet", .bool(isQuiet)), ("over_budget", .bool(isOverBudget)),
                    ("seconds", .real(seconds)), ("adapter", .text(adapter)),
                ]))
    }
}
