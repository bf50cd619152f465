import Audit
import Base
import Foundation
import Quant

/// What `meraser compare` does, read from a YAML file: victims × methods × budgets as command lines of meraser.
///
/// Paths are relative to the file's folder. docs/reference/comparison.md describes every key.
public struct Comparison: Sendable {
    /// The heading of the report.
    public let title: String
    /// The seed of everything random.
    public let seed: UInt64
    /// The file's text, for the report; of absolute paths only the last component.
    let text: String
    /// Keep triggers, targets and outputs out of results.
    let isRedacted: Bool
    /// The user's files that commands read.
    let inputs: [ComparisonInput]
    /// Every step, those that others need first.
    let steps: [ComparisonStep]
    /// The cells of the table, victim by victim.
    let cells: [ComparisonCell]
    /// The victims in the file's order.
    let victims: [ComparisonVictim]

    /// The files and folders of the user's that commands read.
    public var inputPaths: [String] { inputs.map(\.path) }

    /// The arguments of every command of the cells that fit a pattern; see `ComparisonRunner.run`.
    public func commandLines(only pattern: String? = nil) throws -> [[String]] {
        try steps(only: pattern).flatMap { $0.commands.map(\.arguments) }
    }

    /// Cells of one victim that nothing was done to: the reference itself.
    static let reference = "reference"

    /// Reads a file and plans every command.
    ///
    /// - Parameters:
    ///   - seed: in place of the file's own.
    ///   - redact: keep triggers, targets and outputs out of results.
    /// - Throws: bad-input and usage errors that name file, section and key, with a suggestion for unknown keys.
    public init(path: String, seed: UInt64? = nil, redact: Bool = false) throws {
        let file = try MappedFile(path: path)
        let bytes = file.withBytes { Array($0) }
        let value = try parseYAML(bytes, file: path)
        var root = try Settings(value, place: path)
        isRedacted = redact
        text = redact ? RunRecords.leftOut : RecordPaths.withoutFolders(text: String(decoding: bytes, as: UTF8.self))
        title = try root.text("title") ?? "meraser compare"
        let ownSeed = UInt64(try root.int("seed", in: 0...Int.max) ?? 42)
        self.seed = seed ?? ownSeed
        let folder = URL(fileURLWithPath: path).standardizedFileURL.deletingLastPathComponent().path
        var planner = ComparisonPlanner(folder: folder, seed: seed ?? ownSeed, quantize: try root.quantize())
        try planner.read(&root, redact: redact)
        let budgets = try root.value("budgets").map { try MethodBudget.list($0, place: "\(path): budgets") }
        let victims = try root.list("victims").map { try ComparisonVictim($0, &planner) }
        let methods = try root.list("methods").map { try MethodEntry($0, budgets: budgets) }
        try root.requireNothingElse()
        try Self.requireDistinct(victims.map(\.name), "\(path): victims")
        try Self.requireDistinct(methods.map(\.label), "\(path): methods")
        var cells: [ComparisonCell] = []
        for victim in victims {
            if planner.reference != nil { cells.append(try Self.referenceCell(victim, &planner)) }
            for method in methods where method.victims?.contains(victim.name) != false {
                for budget in method.budgets { cells.append(try method.cell(victim, budget, &planner)) }
            }
        }
        for name in methods.flatMap({ $0.victims ?? [] }) where !victims.contains(where: { $0.name == name }) {
            throw MeraserError.badInput("\(path): methods: there is no victim '\(name)'")
        }
        try Self.requireDistinct(cells.map(\.path), "\(path): cells")
        (inputs, steps) = (planner.inputs, planner.steps)
        self.cells = cells
        self.victims = victims
    }

    private static func requireDistinct(_ names: [String], _ place: String) throws {
        var seen: Set<String> = []
        for name in names where !seen.insert(name).inserted {
            throw MeraserError.badInput("\(place): '\(name)' is there twice; names must be distinct")
        }
    }

    /// The reference under a victim's key: what a mark that is gone looks like.
    private static func referenceCell(
        _ victim: ComparisonVictim, _ planner: inout ComparisonPlanner
    ) throws -> ComparisonCell {
        let (model, needs) = planner.model(planner.reference ?? "")
        var step = ComparisonStep(path: "cells/\(victim.name)/\(reference)")
        step.needs = victim.needs + needs.filter { !victim.needs.contains($0) }
        let durable = try planner.durableArguments(place: reference, needs: &step.needs)
        let subject = ComparisonSubject(model: model, source: model == planner.reference ? nil : planner.reference)
        step.commands = planner.measures.commands(
            subject.arguments, check: subject.checkArguments, victim: victim, reference: nil,
            durable: durable)
        planner.add(step)
        return ComparisonCell(victim: victim.name, method: reference, budget: nil, path: step.path)
    }

    /// The command lines as a shell script: what `--dry-run` prints.
    ///
    /// - Parameter pattern: only cells that it fits; see `ComparisonRunner.run`.
    public func script(only pattern: String? = nil) throws -> String {
        let paths = try steps(only: pattern).map(\.path)
        var lines = ["mkdir -p inputs"]
        lines += inputs.map { shellText(["ln", "-s", $0.path, $0.name]) }
        for step in steps where paths.contains(step.path) {
            lines += ["", "# \(step.path)", shellText(["mkdir", "-p", step.path])]
            for file in step.files {
                lines += ["cat > \(shellQuoted(step.path + "/" + file.name)) <<'END'", file.text + "END"]
            }
            lines += step.commands.map(\.text)
        }
        return lines.joined(separator: "\n")
    }

    /// The steps of the cells that fit a pattern, and those that they need, in order.
    func steps(only pattern: String?) throws -> [ComparisonStep] {
        var wanted = Set(try cells(only: pattern).map(\.path))
        for step in steps.reversed() where wanted.contains(step.path) { wanted.formUnion(step.needs) }
        return steps.filter { wanted.contains($0.path) }
    }

    /// The cells whose name, victim, or method and budget fit a pattern of a shell.
    ///
    /// - Throws: a usage error if there is none.
    func cells(only pattern: String?) throws -> [ComparisonCell] {
        guard let pattern else { return cells }
        let fitting = cells.filter { cell in
            let names: [String] = [
                cell.name, cell.victim, cell.method, URL(fileURLWithPath: cell.name).lastPathComponent,
            ]
            return names.contains { (name: String) in fnmatch(pattern, name, 0) == 0 }
        }
        guard !fitting.isEmpty else {
            throw MeraserError.usage(
                "`only` '\(pattern)' fits no cell; there are \(cells.prefix(20).map(\.name).joined(separator: ", "))")
        }
        return fitting
    }
}

// MARK: - Sections

extension ComparisonPlanner {
    /// Reads what stands at the top of the file for all methods.
    fileprivate mutating func read(_ root: inout Settings, redact: Bool) throws {
        let place = root.place
        if let path = try root.text("reference") { try setReference(path, place: place) }
        cleanData = try root.text("clean_data")
        mismatch = try root.text("mismatch")
        mismatchCount = try root.int("mismatch_count", in: 1...1_000_000)
        measures.redact = redact
        measures.decoys = try root.int("decoys", in: DecoyOptions.leastCount...99_999)
        measures.presence = try root.int("presence", in: DecoyOptions.leastCount...99_999)
        measures.presenceBy = try root.choice("presence_by", Presence.Source.self)
        if measures.presenceBy != nil, measures.presence == nil {
            throw MeraserError.badInput("\(place): 'presence_by' needs 'presence'")
        }
        measures.durable = try root.durable("durable")
        measures.clean = try root.text("clean").map { try input($0, place: place) }
        if var section = try root.section("ppl") {
            let data = try section.text("data") ?? section.missing("data")
            var arguments = ["--data", try input(data, place: section.place)]
            let scheme = try section.choice("protocol", PerplexityProtocol.self) ?? .sample
            arguments += ["--protocol", scheme.rawValue]
            for (key, range) in [("max_length", 2...1 << 24), ("stride", 1...1 << 24)] {
                if let value = try section.int(key, in: range) { arguments += [section.flagName(key), String(value)] }
            }
            measures.hasDivergence = try section.flag("kl") ?? false
            try section.requireNothingElse()
            measures.perplexity = arguments
        }
        if var section = try root.section("eval") {
            let tasks = try section.texts("tasks") ?? section.missing("tasks")
            // A name stands for a bundled task, anything with a slash or a suffix for a file.
            var arguments = try tasks.flatMap { task in
                ["--tasks", task.contains("/") || task.contains(".") ? try input(task, place: section.place) : task]
            }
            if let data = try section.text("data") { arguments += ["--data", try input(data, place: section.place)] }
            for (key, range) in [("num_fewshot", 0...1000), ("limit", 1...Int.max), ("max_length", 1...1 << 24)] {
                if let value = try section.int(key, in: range) { arguments += [section.flagName(key), String(value)] }
            }
            try section.requireNothingElse()
            measures.evaluation = arguments
        }
    }
}

extension Settings {
    fileprivate mutating func quantize() throws -> TensorType? {
        try text("quantize").map { [place] name in
            guard let type = TensorType(name: name) else {
                let names = TensorType.allCases.map(\.name).joined(separator: ", ")
                throw MeraserError.badInput("\(place): 'quantize' is '\(name)', expected one of \(names)")
            }
            return type
        }
    }

    /// A list of mappings, at least one.
    fileprivate mutating func list(_ key: String) throws -> [Settings] {
        guard let value = value(key) else { return try missing(key) }
        guard let values = value.array, !values.isEmpty else {
            throw MeraserError.badInput("\(place): '\(key)' is \(value.kind), expected a list of mappings")
        }
        return try values.enumerated().map { index, value in
            try Settings(value, place: "\(place): \(key): \(value["name"]?.string ?? String(index + 1))")
        }
    }
}

extension JSONValue {
    /// This mapping with another's members over its own, mappings within mappings as well.
    func merging(_ other: JSONValue) -> JSONValue {
        guard let mine = object, let theirs = other.object else { return other.isNull ? self : other }
        var members = mine.members.map { member in
            (key: member.key.string, value: theirs[member.key].map { member.value.merging($0) } ?? member.value)
        }
        members += theirs.members.filter { mine[$0.key] == nil }.map { (key: $0.key.string, value: $0.value) }
        return .object(JSONObject(members))
    }
}
