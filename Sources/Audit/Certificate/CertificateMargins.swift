/// How large each trace's upper bound may be, in nats a token: fixed before any removal was looked at.
///
/// Each is the largest, over clean SmolLM2-135M-Instruct and tinychat, of the quantile of that bound over decoy keys at which
/// all four traces together pass for 95 of 100 keys (`meraser decoys`; docs/reference/certificate.md has the figures). So an
/// unmarked model is certified in about 95 of 100 cases, and a mark that moves a target by more than chance moves decoys
/// is not.
public struct CertificateMargins: Sendable, Equatable {
    private let values: [DecoyTrace: Double]

    /// The margins for keys of that kind.
    public init(_ kind: DecoyKind) { values = Self.measured[kind] ?? [:] }

    /// A trace's margin.
    public subscript(trace: DecoyTrace) -> Double { values[trace] ?? 0 }

    private static let measured: [DecoyKind: [DecoyTrace: Double]] = [
        .utf: [.unconditional: 4, .drawn: 1.3, .shuffled: 1.9, .ordinary: 3.3],
        .if: [.unconditional: 1.1, .drawn: 0.33, .shuffled: 0.21, .ordinary: 1],
        .hashchain: [.unconditional: 3.1, .drawn: 0.9, .shuffled: 0.6, .ordinary: 3.2],
        .backdoor: [.unconditional: 5.9, .drawn: 1.3, .shuffled: 0.65, .ordinary: 2.8],
        .pairs: [.unconditional: 4, .drawn: 1.3, .shuffled: 1.5, .ordinary: 2.7],
    ]
}
