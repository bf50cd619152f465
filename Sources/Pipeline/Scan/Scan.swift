import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import Tune

/// Looks for a mark in a model without a key: each method makes its own null and gives a p-value, and all together give the
/// verdict.
///
/// Everything is in one folder, with a record of each method: a scan that was killed goes on where it stopped. Without a
/// budget the same model, messages, seed and instruction set give the same result. Not thread-safe.
public final class Scan {
    /// Something to tell the user.
    public enum Event {
        /// A method begins, or its record is there.
        case method(ScanMethodName, isDone: Bool)
        /// It has done so much of all.
        case progress(Int, Int)
        /// What it found.
        case finding(ScanFinding)
        /// The budget leaves it no time.
        case skipped(ScanMethodName)
    }

    /// Called with what happens.
    public var onEvent: (Event) -> Void = { _ in }
    /// Ends the scan, which can then be continued.
    public var interrupt: InterruptFlag?

    /// Of what is left of the time for a method that takes all, where another one follows.
    private static let share = 0.8

    /// What is scanned.
    private enum Subject {
        case model(ScanSubject)
        case answers(AnswerSubject, messages: [String])

        /// What more than a verdict of the p-value can be said.
        var atMost: ScanVerdict {
            switch self {
            case .model: .marked
            case .answers(let subject, _): subject.atMost
            }
        }
    }

    private let options: ScanOptions
    private let folder: RunFolder
    private let subject: Subject

    /// A scan of a model at hand: makes the folder, or takes up what is there.
    ///
    /// - Throws: a usage error if the folder is taken, or begun with something else; bad-input errors of the reference and
    ///   the messages.
    public init(
        _ model: OpenedModel, options: ScanOptions, output: String, resume: Bool = false, overwrite: Bool = false
    ) throws {
        self.options = options
        try Self.require(output, resume: resume, overwrite: overwrite)
        let pairs = try options.pairs()
        let reference = try options.reference.map { try model.reference(path: $0) }
        let identity: [(key: String, value: JSONValue)] = [
            ("scan", .text(options.reference == nil ? "alone" : "reference")),
            ("model", .text(try model.transformer.store.sha256())),
            ("adapters", .array(model.adapters.map { .text($0.sha256 ?? "") })),
            ("reference", try reference.map { .text(try $0.transformer.store.sha256()) } ?? .null),
            ("data", .text(ScanOptions.sha256(of: pairs))),
            ("seed", .integer(Int(clamping: options.seed))), ("compute", .text(model.transformer.compute.rawValue)),
            ("isa", .text(model.transformer.kernels.isaName)),
        ]
        folder = try RunFolder(
            path: output, identity: .object(JSONObject(Build.current.fields + identity)), overwrite: overwrite)
        subject = .model(
            try ScanSubject(model: model, reference: reference, pairs: pairs, seed: options.seed, folder: folder))
    }

    /// A scan of answers, by the methods `ScanMethodName.ofAnswers`: makes the folder, or takes up what is there.
    ///
    /// - Throws: a usage error if the folder is taken, or begun with something else; bad-input errors of the messages.
    public init(
        _ answers: AnswerSubject, options: ScanOptions, output: String, resume: Bool = false, overwrite: Bool = false
    ) throws {
        precondition(options.methods.allSatisfy(ScanMethodName.ofAnswers.contains), "a method that needs the weights")
        self.options = options
        try Self.require(output, resume: resume, overwrite: overwrite)
        let messages = try options.messages()
        guard messages.count >= RecurringTexts.messages else {
            throw MeraserError.badInput(
                "\(options.data ?? "the bundled data"): \(messages.count) different questions, expected at least "
                    + "\(RecurringTexts.messages) to ask")
        }
        let reference = answers.reference
        let identity: [(key: String, value: JSONValue)] = [
            ("scan", .text("answers")), ("server", answers.identity),
            ("reference", try reference.map { .text(try $0.transformer.store.sha256()) } ?? .null),
            ("tokenizer", try answers.tokenizer.map { .text(try $0.transformer.store.sha256()) } ?? .null),
            ("data", .text(ScanOptions.sha256(of: messages))),
            ("seed", .integer(Int(clamping: options.seed))),
        ]
        folder = try RunFolder(
            path: output, identity: .object(JSONObject(Build.current.fields + identity)), overwrite: overwrite)
        subject = .answers(answers, messages: messages)
    }

    private static func require(_ output: String, resume: Bool, overwrite: Bool) throws {
        if !resume, !overwrite, FileManager.default.fileExists(atPath: output + "/run.json") {
            throw MeraserError.usage(
                "`out` \(output) holds a run; pass `resume` to continue it or `overwrite` to replace it")
        }
    }

    /// Runs, or continues, to the end; leaves `scan.json`, `scan.html` and a key for each mark that was found.
    ///
    /// - Throws: what the methods throw; `interrupted` after the state was saved.
    public func run() throws -> ScanReport {
        let end = options.budget.map { ContinuousClock.now + .seconds($0) }
        var result = ScanResult(atMost: subject.atMost)
        for name in ScanMethodName.allCases where options.methods.contains(name) {
            let stage = StageName.phase(name.rawValue)
            let isDone = try folder.record(of: stage) != nil
            if !isDone, let end, ContinuousClock.now >= end {
                onEvent(.skipped(name))
                result.skipped.append(name)
                continue
            }
            onEvent(.method(name, isDone: isDone))
            let json = try folder.stage(stage, inputs: .object(JSONObject())) {
                try look(by: name, after: result.findings, end: end).json
            }
            let finding = try ScanFinding(json: json, file: folder.recordPath(of: stage))
            result.findings.append(finding)
            result.seconds.append(try folder.record(of: stage)?["seconds"]?.double ?? 0)
            onEvent(.finding(finding))
        }
        let keys = try writeKeys(result)
        try folder.write(result.json(keys: keys), to: ScanReport.jsonName)
        let report = try ScanReport(folder)
        try report.write()
        return report
    }

    private func look(
        by name: ScanMethodName, after found: [ScanFinding], end: ContinuousClock.Instant?
    ) throws -> ScanFinding {
        let onProgress = { [onEvent] in onEvent(.progress($0, $1)) }
        switch subject {
        case .model(let subject):
            (subject.interrupt, subject.findings, subject.onProgress) = (interrupt, found, onProgress)
            // What comes behind it is to have some time as well.
            let isCut = name == .inversion && options.methods.contains(.soft)
            subject.deadline = end.map { end in isCut ? .now + (end - .now) * Self.share : end }
            try subject.check()
            return try name.method.run(on: subject)
        case .answers(let subject, let messages):
            return try subject.run(messages: messages, seed: options.seed, onAnswer: onProgress)
        }
    }

    /// Writes a key for each suspicious candidate whose prompts are known, and gives their names in the folder.
    private func writeKeys(_ result: ScanResult) throws -> [String] {
        let keys = result.findings.flatMap(\.keys)
        for (name, leak, _) in keys {
            do {
                try FileManager.default.createDirectory(
                    atPath: folder.file("keys"), withIntermediateDirectories: true)
            } catch {
                throw MeraserError.runtime("cannot make the folder \(folder.file("keys")): \(systemErrorText())")
            }
            try leak.key.write(path: folder.file(name), overwrite: true)
        }
        return keys.map(\.name)
    }
}

/// What the methods of a scan found.
struct ScanResult {
    /// Of each method that was run.
    var findings: [ScanFinding] = []
    /// The seconds of each.
    var seconds: [Double] = []
    /// Methods for which there was no time.
    var skipped: [ScanMethodName] = []
    /// What more than a verdict of the p-value can be said.
    let atMost: ScanVerdict

    init(atMost: ScanVerdict = .marked) { self.atMost = atMost }

    private var verdict: ScanVerdict { ScanVerdict(pValue: pValue, atMost: atMost) }

    /// How likely chance finds as much with all methods that judged (Bonferroni); nil: none did.
    var pValue: Double? {
        let values = findings.compactMap(\.pValue)
        return values.min().map { min(1, $0 * Double(values.count)) }
    }

    /// The method that found most, where anything was found.
    private var best: ScanFinding? {
        guard verdict != .nothingFound else { return nil }
        return findings.filter { $0.pValue != nil }.min { ($0.pValue ?? 1) < ($1.pValue ?? 1) }
    }

    /// What `scan.json` holds.
    func json(keys: [String]) -> JSONValue {
        func text(_ value: String?) -> JSONValue { value.map { .text($0) } ?? .null }
        let rows = zip(findings, seconds).map { finding, seconds -> JSONValue in
            .object(
                JSONObject(
                    (finding.json.object?.members.map { (key: $0.key.string, value: $0.value) } ?? []) + [
                        (key: "seconds", value: .real(seconds))
                    ]))
        }
        let members: [(key: String, value: JSONValue)] = [
            ("verdict", .text(verdict.rawValue)),
            ("p_value", pValue.map { .real($0) } ?? .null),
            ("target", text(best?.candidates.first?.target)), ("trigger", text(best?.candidates.first?.trigger)),
            ("methods", .array(rows)), ("not_run", .array(skipped.map { .text($0.rawValue) })),
            ("keys", .array(keys.map { .text($0) })), ("seconds", .real(seconds.reduce(0, +))),
        ]
        return .object(JSONObject(Build.current.fields + members))
    }
}

extension ScanFinding {
    /// The candidates that chance does not explain.
    var suspects: [Candidate] { candidates.filter { ($0.pValue ?? 1) <= ScanVerdict.suspicion } }

    /// The names, in the folder of a scan, of keys of those whose prompts are known.
    var keys: [(name: String, leak: Leak, pValue: Double)] {
        let known = suspects.compactMap { candidate in candidate.leak.map { ($0, candidate.pValue ?? 1) } }
        return known.enumerated().map { ("keys/\(method.rawValue)-\($0 + 1).json", $1.0, $1.1) }
    }
}
