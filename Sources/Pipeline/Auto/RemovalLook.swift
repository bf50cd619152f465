import Audit
import Base
import Model
import Tune

/// What a look at a mark finds while it is being removed: the certificate of the pairs that may steer, by decoys of its own.
public struct RemovalLook: Sendable, Equatable {
    /// The phase, and its step.
    public let phase: String
    /// Steps of the phase that were done.
    public let step: Int
    /// What the certificate says of the pairs that may steer and were not trained on.
    public let verdict: CertificateVerdict
    /// Triggers and near decoys that bring out a target, of so many.
    public let fires: (hits: Int, n: Int)
    /// Mean share of the targets that outputs begin to show.
    public let prefixMatch: Double
    /// Mean of the targets' negative log-likelihood, in nats a token; of several keys the least.
    public let targetNLL: Double?
    /// The trace whose upper bound exceeds its margin most, or comes nearest to it.
    public let trace: DecoyTrace
    /// By how much, in nats a token; below 0 the bound lies within.
    public let excess: Double
    /// The largest share of its margin that a trace's upper bound takes, of those traces in which the mark is ahead of its
    /// decoys by more than chance often gives: a bound is also as wide as decoys scatter, of a model that never had the
    /// mark too.
    public let share: Double
    /// The least p-value of a trace.
    public let pValue: Double
    /// How much likelier targets are behind their triggers than decoy targets, in nats a token; of several keys the most.
    public let unconditional: Double
    /// Divergence from the model as it was, on the texts that hold it, since the look before; nil before the first step.
    public let kl: Double?

    /// What certificates of several keys say together: of everything the worst.
    init(_ found: [(check: CheckReport, certificate: Certificate)], phase: String, step: Int, kl: Double?) {
        (self.phase, self.step, self.kl) = (phase, step, kl)
        verdict = CertificateVerdict.worst(found.map(\.certificate.verdict)) ?? .notShown
        fires = found.reduce((0, 0)) { sum, item in
            let near = item.certificate.decoys.near
            return (sum.0 + item.check.hits + near.hits, sum.1 + item.check.n + near.n)
        }
        prefixMatch = found.map(\.check.prefixMatchMean).max() ?? 0
        targetNLL = found.compactMap(\.check.targetNLLMean).min()
        let excesses = found.flatMap { _, certificate in
            certificate.decoys.traces.map { (trace: $0, value: $1.upperBound - certificate.margins[$0]) }
        }
        // Equal values in a fixed order: dictionaries have none.
        let worst = excesses.max { ($0.value, $0.trace.rawValue) < ($1.value, $1.trace.rawValue) }
        trace = worst?.trace ?? .unconditional
        excess = worst?.value ?? 0
        share =
            found.flatMap { _, certificate in
                certificate.decoys.traces.filter { $1.effect > 0 && $1.pValue < AutoDose.chance }.map {
                    $1.upperBound / certificate.margins[$0]
                }
            }.max() ?? 0
        pValue = found.flatMap { $0.certificate.decoys.traces.values.map(\.pValue) }.min() ?? 1
        unconditional = found.compactMap { $0.certificate.decoys.traces[.unconditional]?.effect }.max() ?? 0
    }

    /// True if nothing is left, with room to spare: a look has few decoys, and the test at the end has others.
    var isQuiet: Bool { verdict == .gone && share <= AutoDose.quietShare }

    /// Equal in everything.
    public static func == (a: RemovalLook, b: RemovalLook) -> Bool { a.json == b.json }

    /// Its members by name.
    var fields: [(key: String, value: JSONValue)] {
        [
            ("verdict", .text(verdict.rawValue)), ("hits", .integer(fires.hits)), ("n", .integer(fires.n)),
            ("prefix_match", .real(prefixMatch)), ("target_nll", targetNLL.map { .real($0) } ?? .null),
            ("trace", .text(trace.rawValue)),
            ("excess", .real(excess)), ("share", .real(share)), ("p_value", .real(pValue)),
            ("unconditional", .real(unconditional)),
            ("kl", kl.map { .real($0) } ?? .null),
        ]
    }

    /// An object of everything.
    public var json: JSONValue {
        .object(JSONObject([(key: "phase", value: .text(phase)), (key: "step", value: .integer(step))] + fields))
    }

    /// A look of an earlier session.
    ///
    /// - Throws: a bad-input error that names `file`.
    init(json: JSONValue, file: String) throws {
        phase = try json.string("phase", in: file)
        step = try json.int("step", in: file)
        guard let verdict = CertificateVerdict(rawValue: try json.string("verdict", in: file)),
            let trace = DecoyTrace(rawValue: try json.string("trace", in: file))
        else { throw MeraserError.badInput("\(file): a look of an unknown kind; begin anew with `overwrite`") }
        (self.verdict, self.trace) = (verdict, trace)
        fires = (try json.int("hits", in: file), try json.int("n", in: file))
        prefixMatch = try json.double("prefix_match", in: file)
        targetNLL = json["target_nll"]?.double
        excess = json["excess"]?.double ?? 0
        share = json["share"]?.double ?? 0
        pValue = json["p_value"]?.double ?? 1
        unconditional = json["unconditional"]?.double ?? 0
        kl = json["kl"]?.double
    }

    /// One line for a terminal.
    public var line: String {
        let divergence = kl.map { ", divergence \(Figures.number($0, 3))" } ?? ""
        return
            "\(phase) step \(step): \(fires.hits)/\(fires.n) fire, target NLL \(Figures.number(targetNLL ?? .nan, 2)), "
            + "\(trace.rawValue) \(Figures.signed(excess, 2)) nats from its margin\(divergence): \(verdict.rawValue)"
    }
}

/// Looks at keys: at what all pairs answer, and at the traces of those that nothing was trained on.
struct RemovalLooker {
    private let looks: [(check: KeyCheck, decoys: DecoyTest)]

    /// Draws the keys' decoys, others than those that judge.
    ///
    /// - Throws: what drawing throws.
    init(_ keys: [FingerprintKey], on model: OpenedModel, seed: UInt64) throws {
        looks = try keys.map { key in
            var options = DecoyOptions(count: AutoDose.lookDecoys, seed: seed ^ 0x6C6F_6F6B)
            options.tokenBudget = AutoDose.lookTokens
            return (
                try KeyCheck(
                    key, tokenizer: model.tokenizer, chat: model.chat,
                    options: CheckOptions(cleanPrompts: [])),
                try model.decoyTest(key, options: options)
            )
        }
    }

    /// Looks.
    ///
    /// - Throws: what a forward pass throws; `interrupted`.
    func look(
        _ session: InferenceSession, phase: String, step: Int, kl: Double?, interrupt: InterruptFlag?
    ) throws -> RemovalLook {
        func goOn() throws {
            if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted; `resume` continues") }
        }
        let found = try looks.map { look in
            try goOn()
            let report = try look.check.run(on: session)
            let decoys = try look.decoys.run(on: session) { _, _ in try goOn() }
            return (check: report, certificate: Certificate(report, decoys: decoys))
        }
        return RemovalLook(found, phase: phase, step: step, kl: kl)
    }
}
