import Base
import Foundation
import Tune

/// Runs a comparison: each command a child process of the same program, each step with a record of its own.
///
/// What fails is a line of the table, not the end of the run; a run that is started again does only what has no fitting
/// record. Not thread-safe.
public final class ComparisonRunner {
    /// What happens, for a display.
    public enum Event {
        /// A step begins, number `number` of `count`, from 1 on (`isDone`: an earlier run has done it).
        case step(String, number: Int, of: Int, isDone: Bool)
        /// A command of it begins.
        case command(String)
        /// Something that the user should know.
        case note(String)
        /// A step failed.
        case failure(step: String, error: String)
    }

    /// Called as things happen.
    public var onEvent: (Event) -> Void = { _ in }
    /// Looked at while commands run.
    public var interrupt: InterruptFlag?

    /// What a comparison has in its folder.
    private static let layout = RunLayout(
        record: ComparisonReport.jsonName,
        names: ["compare.md", "compare.html", "figures.csv", "inputs", "shared", "victims", "cells"])

    private let comparison: Comparison
    private let folder: String
    private let executable: String
    private let threads: Int?
    private let isa: String
    private let crew: Crew?
    private var hashes: [String: String] = [:]
    private var records: [String: StepRecord] = [:]

    /// Prepares a run.
    ///
    /// - Parameters:
    ///   - comparison: what to do.
    ///   - output: the folder; one that holds a comparison is continued.
    ///   - isa: the instruction set that commands will use; a part of what results depend on.
    ///   - executable: the program whose commands are run; this one unless given.
    ///   - threads: `--threads` of every command; results do not depend on it.
    ///   - overwrite: begin anew if there is a comparison.
    ///   - crew: ranks that run steps beside this one, in the same folder.
    /// - Throws: a usage error if the folder holds something else.
    public init(
        _ comparison: Comparison, output: String, isa: String, executable: String? = nil,
        threads: Int? = nil, overwrite: Bool = false, crew: Crew? = nil
    ) throws {
        self.comparison = comparison
        self.crew = crew
        // The program itself, whatever has become of its file since.
        self.executable = executable ?? "/proc/\(getpid())/exe"
        self.threads = threads
        self.isa = isa
        folder = URL(fileURLWithPath: output).standardizedFileURL.path
        if FileManager.default.fileExists(atPath: folder) {
            let isComparison = Self.layout.isPresent(in: folder)
            // The links are there before the first table is.
            let isEmpty = lastingNames(in: folder).allSatisfy { $0 == "inputs" }
            guard isComparison || isEmpty else {
                throw MeraserError.usage("`out` \(output) exists and holds no comparison; choose another folder")
            }
            if isComparison, overwrite {
                try Self.layout.remove(folder)
            } else {
                removeStaleTemporaries(within: folder)
            }
        }
        try makeFolder("inputs")
        for input in comparison.inputs { try link(input) }
    }

    /// Runs, or continues, and leaves `compare.json`, `compare.html` and `compare.md`.
    ///
    /// - Parameter pattern: only cells whose name (`VICTIM/METHOD-BUDGET`), victim or method fits this pattern of a shell.
    /// - Throws: `interrupted` after the table of what is done was written; what cannot be read or written.
    public func run(only pattern: String? = nil) throws -> ComparisonReport {
        let wanted = try comparison.steps(only: pattern)
        for step in comparison.steps { try recall(step) }
        _ = try report()
        var rest = wanted.enumerated().map { (number: $0 + 1, step: $1) }[...]
        while !rest.isEmpty {
            // As many as there are ranks, of which none needs another.
            var wave = rest.prefix(crew?.size ?? 1)
            while let step = wave.last?.step, wave.dropLast().contains(where: { step.needs.contains($0.step.path) }) {
                wave = wave.dropLast()
            }
            rest = rest.dropFirst(wave.count)
            do {
                try perform(Array(wave), of: wanted.count)
            } catch let error as MeraserError where error.kind == .interrupted {
                _ = try report()
                throw error
            }
            if wave.contains(where: { $0.step.path.hasPrefix("cells/") }) { _ = try report() }
        }
        return try report()
    }

    private func report() throws -> ComparisonReport {
        try ComparisonReport.write(comparison, records: records, folder: folder, isa: isa)
    }

    // MARK: Steps

    /// Takes up the record of a step if it fits what goes in now.
    ///
    /// - Throws: a usage error if another version of the numbers did it.
    private func recall(_ step: ComparisonStep) throws {
        let fresh = StepRecord(inputs: try inputs(step))
        let old = try StepRecord(folder: file(step.path))
        guard let old, old.identity == fresh.identity else { return records[step.path] = fresh }
        if let other = Build.current.otherNumerics(than: old.build) {
            throw MeraserError.usage(
                "\(file(step.path)) cannot be taken up: \(other); pass `overwrite` to begin anew or choose another folder"
            )
        }
        if let obstacle = Build.current.obstacle(continuing: old.build) {
            onEvent(.note("\(step.path) is done again: \(obstacle)"))
            records[step.path] = fresh
        } else {
            if let note = Build.current.note(continuing: old.build) { onEvent(.note("\(step.path) \(note)")) }
            records[step.path] = old
        }
    }

    /// Does steps that do not need each other, each on a rank of its own, unless they are done; what failed is tried again.
    private func perform(_ wave: [(number: Int, step: ComparisonStep)], of count: Int) throws {
        var ready: [ComparisonStep] = []
        for (number, step) in wave where try begin(step, number: number, of: count) { ready.append(step) }
        let elsewhere = zip(ready.dropFirst(), 1...).map { (step: $0, rank: $1) }
        for (step, rank) in elsewhere {
            var job = Message(.run)
            let commands = left(of: step)
            commands.forEach(announce)
            job.append(RemoteCommands(commands.map { (child($0, step), $0.isJudge) }))
            try crew?.send(job, to: rank)
        }
        do {
            if let step = ready.first {
                for command in left(of: step) {
                    announce(command)
                    let outcome = try child(command, step).run(interrupt: interrupt)
                    guard try note(outcome, of: command, step) else { break }
                }
                try conclude(step)
            }
            for (step, rank) in elsewhere {
                guard var reader = try crew?.answer(of: rank) else { continue }
                let outcomes = try reader.value(RemoteCommands.Outcomes.self).outcomes
                for (command, outcome) in zip(left(of: step), outcomes) {
                    guard try note(outcome, of: command, step) else { break }
                }
                try conclude(step)
            }
        } catch {
            crew?.fail(error)
            throw error
        }
    }

    /// Makes a step's folder, if there is something to do.
    private func begin(_ step: ComparisonStep, number: Int, of count: Int) throws -> Bool {
        let path = file(step.path)
        var record = records[step.path] ?? StepRecord(inputs: .null)
        if let failed = record.commands.firstIndex(where: { $0.error != nil }) {
            record.commands.removeSubrange(failed...)
        }
        if record.commands.isEmpty { try? FileManager.default.removeItem(atPath: path) }
        records[step.path] = record
        if interrupt?.isSet == true { throw interruption() }
        onEvent(.step(step.path, number: number, of: count, isDone: record.isDone))
        guard !record.isDone else { return false }
        if let missing = step.needs.first(where: { records[$0]?.isDone != true }) {
            onEvent(.failure(step: step.path, error: "\(missing) failed"))
            return false
        }
        try makeFolder(step.path)
        for (name, text) in step.files {
            try writeFileAtomically(path: "\(path)/\(name)", Array(text.utf8), overwrite: true)
        }
        return true
    }

    /// Makes room for what a command writes.
    private func announce(_ command: ComparisonCommand) {
        onEvent(.command(command.text))
        if let output = command.output { try? FileManager.default.removeItem(atPath: file(output)) }
    }

    /// Keeps how a command ended; false if the step ends with it.
    private func note(
        _ outcome: ChildCommand.Outcome, of command: ComparisonCommand, _ step: ComparisonStep
    ) throws -> Bool {
        let result = try record(outcome, of: command, step)
        records[step.path]?.commands.append(result)
        try records[step.path]?.write(folder: file(step.path))
        if let error = result.error { onEvent(.failure(step: step.path, error: error)) }
        return result.error == nil
    }

    /// Keeps that a step is done, if all of its commands are.
    private func conclude(_ step: ComparisonStep) throws {
        guard let record = records[step.path], record.commands.count == step.commands.count,
            record.commands.allSatisfy({ $0.error == nil })
        else { return }
        records[step.path]?.isDone = true
        try records[step.path]?.write(folder: file(step.path))
    }

    /// The commands of a step that no record has.
    private func left(of step: ComparisonStep) -> ArraySlice<ComparisonCommand> {
        step.commands.dropFirst(records[step.path]?.commands.count ?? 0)
    }

    private func output(_ command: ComparisonCommand, _ step: ComparisonStep) -> String {
        file("\(step.path)/\(command.name).json")
    }

    private func log(_ command: ComparisonCommand, _ step: ComparisonStep) -> String {
        file("\(step.path)/\(command.name).log")
    }

    private func child(_ command: ComparisonCommand, _ step: ComparisonStep) -> ChildCommand {
        ChildCommand(
            executable: executable,
            arguments: command.arguments + (threads.map { ["--threads", String($0)] } ?? []),
            folder: folder, output: output(command, step), errors: log(command, step))
    }

    /// The record of a command that ended like that.
    private func record(
        _ outcome: ChildCommand.Outcome, of command: ComparisonCommand, _ step: ComparisonStep
    ) throws -> CommandRecord {
        let (output, log) = (output(command, step), log(command, step))
        if outcome.status == MeraserError.Kind.interrupted.rawValue || interrupt?.isSet == true { throw interruption() }
        let parsed = try? JSONValue.parse(bytes(of: output), file: output)
        let isJudged = command.isJudge && outcome.status == MeraserError.Kind.checkFailed.rawValue
        guard outcome.status == 0 || isJudged && parsed?.object != nil else {
            let ended = outcome.status > 128 ? "ended by signal \(outcome.status - 128)" : "exit \(outcome.status)"
            let error = "\(command.name): \(lastLine(log) ?? ended)"
            return CommandRecord(command, outcome, samples: nil, result: .null, error: error)
        }
        guard let result = parsed, result.object != nil else {
            let failed = ChildCommand.Outcome(
                status: MeraserError.Kind.runtime.rawValue, seconds: outcome.seconds, peakRSSBytes: outcome.peakRSSBytes
            )
            let error = "\(command.name): it printed no JSON object"
            return CommandRecord(command, failed, samples: nil, result: .null, error: error)
        }
        let samples = command.output.flatMap { output in
            (result["training"] ?? result)["steps"]?.int.flatMap { trainedSamples(folder: file(output), steps: $0) }
        }
        return CommandRecord(command, outcome, samples: samples, result: result.withoutRows, error: nil)
    }

    private func interruption() -> MeraserError {
        MeraserError(.interrupted, "interrupted; run again to continue")
    }

    /// What a command wrote there; nothing if there is no such file.
    private func bytes(of path: String) -> [UInt8] {
        (try? MappedFile(path: path)).map { $0.withBytes { Array($0) } } ?? []
    }

    /// The last line of a log, without the program's name.
    private func lastLine(_ path: String) -> String? {
        let text = String(decoding: bytes(of: path), as: UTF8.self)
        return text.split(separator: "\n").last.map { String($0).replacing("meraser: error: ", with: "") }
    }

    // MARK: What goes in

    private func inputs(_ step: ComparisonStep) throws -> JSONValue {
        let words = Set(step.commands.flatMap(\.arguments).flatMap { [$0] + ((try? DatasetList($0))?.paths ?? []) })
        let used = try comparison.inputs.filter { input in
            words.contains(input.name) || step.files.contains { $0.text.contains(input.name) }
        }.map { (key: $0.name, value: JSONValue.text(try hash($0.path))) }
        return [
            "isa": .text(isa),
            "commands": .array(step.commands.map { .text($0.text) }),
            "files": .object(
                JSONObject(step.files.map { (key: $0.name, value: .text(sha256Hex($0.text.utf8))) })),
            "sha256": .object(JSONObject(used)),
            "needs": .object(
                JSONObject(step.needs.map { (key: $0, value: .text(records[$0]?.identity ?? "")) })),
        ]
    }

    /// SHA-256 of a file, or of the sorted lines `sha256  name` of a folder's files.
    private func hash(_ path: String) throws -> String {
        if let known = hashes[path] { return known }
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else {
            throw MeraserError.badInput("\(path) is no longer there")
        }
        let value: String
        if isFolder.boolValue {
            let names = (FileManager.default.enumerator(atPath: path)?.compactMap { $0 as? String } ?? []).sorted()
            let lines = try names.compactMap { name -> String? in
                let file = path + "/" + name
                guard !name.split(separator: "/").contains(where: { $0.hasPrefix(".") }), isContent(file) else {
                    return nil
                }
                return "\(try sha256Hex(ofFile: file))  \(name)\n"
            }
            value = sha256Hex(lines.joined().utf8)
        } else {
            value = try sha256Hex(ofFile: path)
        }
        hashes[path] = value
        return value
    }

    /// A regular file with something in it.
    private func isContent(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && status.st_size > 0
    }

    // MARK: Files

    private func file(_ name: String) -> String { folder + "/" + name }

    private func makeFolder(_ name: String) throws {
        do {
            try FileManager.default.createDirectory(atPath: file(name), withIntermediateDirectories: true)
        } catch {
            throw MeraserError.runtime("cannot make the folder \(file(name)): \(error.localizedDescription)")
        }
    }

    /// Puts a user's file under its name in `inputs/`.
    private func link(_ input: ComparisonInput) throws {
        let manager = FileManager.default
        let name = file(input.name)
        if (try? manager.destinationOfSymbolicLink(atPath: name)) == input.path { return }
        try? manager.removeItem(atPath: name)
        do {
            try manager.createSymbolicLink(atPath: name, withDestinationPath: input.path)
        } catch {
            throw MeraserError.runtime("cannot make the link \(name): \(error.localizedDescription)")
        }
    }
}

extension JSONValue {
    /// This object without its members `rows` and `samples`, whose texts are in the command's own file.
    fileprivate var withoutRows: JSONValue {
        guard let object else { return self }
        return .object(
            JSONObject(
                object.members.filter { $0.value.array == nil || !["rows", "samples"].contains($0.key.string) }.map {
                    (key: $0.key.string, value: $0.value.withoutRows)
                }))
    }
}
