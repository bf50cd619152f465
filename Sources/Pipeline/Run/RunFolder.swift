import Base
import Foundation
import Tune

/// The folder of a pipeline run: what it was begun with, a record of each finished stage, what the stages made, the report.
///
/// Records appear whole or not at all, so a run that was killed continues with the first stage that has none.
struct RunFolder {
    /// The folder.
    let path: String

    private static let runName = "run.json"
    /// What a run, or a search, has in its folder.
    private static let layout = RunLayout(
        record: runName,
        names: [
            "stages", "model.mqf", "mark", "scan", "mismatched.json", "erase", "recover", "export", "report.json",
            "report.html", "figures.csv", "curves.csv",
            "trials",
            "search.json", "phases", "auto.json", "adapter_config.json", "adapter_model.safetensors",
            "train_log.jsonl", "probe_log.jsonl", "scan.json", "scan.html", "keys",
        ])

    /// Of files that hold triggers and targets.
    private let mode: mode_t

    /// Makes the folder, or takes up the run that is there.
    ///
    /// - Throws: a usage error if something else is there, or a run of another recipe or of another build that is not to be
    ///   overwritten.
    init(path: String, identity: JSONValue, overwrite: Bool) throws {
        self.path = path
        mode = Self.mode(of: identity)
        let manager = FileManager.default
        var isFolder: ObjCBool = false
        if manager.fileExists(atPath: path, isDirectory: &isFolder) {
            guard isFolder.boolValue else { throw MeraserError.usage("`out` \(path) is a file; name a folder") }
            let isRun = Self.layout.isPresent(in: path)
            guard isRun || lastingNames(in: path).isEmpty else {
                throw MeraserError.usage("`out` \(path) exists and holds no run of meraser; choose another folder")
            }
            if isRun, overwrite {
                try Self.layout.remove(path)
            } else if isRun {
                removeStaleTemporaries(within: path)
                try requireSame(try self.identity(), identity)
                return
            }
        }
        do {
            try manager.createDirectory(atPath: file("stages"), withIntermediateDirectories: true)
        } catch {
            throw MeraserError.runtime("cannot make the folder \(path): \(error.localizedDescription)")
        }
        try write(identity, to: Self.runName)
    }

    /// A run that is there, for its report.
    ///
    /// - Throws: a bad-input error if there is none.
    init(existing path: String) throws {
        self.path = path
        guard Self.layout.isPresent(in: path) else {
            throw MeraserError.badInput("\(path) holds no run of meraser: there is no \(Self.runName) in it")
        }
        mode = Self.mode(of: (try? Self.read(path + "/" + Self.runName)) ?? .null)
    }

    /// What a redacted run leaves is for everyone.
    private static func mode(of identity: JSONValue) -> mode_t {
        identity["redacted"]?.bool == true ? 0o666 : ownerOnly
    }

    /// - Throws: a usage error that names what differs from the run that is there.
    private func requireSame(_ old: JSONValue, _ new: JSONValue) throws {
        if let name = firstDifference(old, new) {
            throw MeraserError.usage(
                "`out` \(path) holds a run with another \(name); pass `overwrite` to replace it or choose another folder"
            )
        }
        if let obstacle = Build(record: new).obstacle(continuing: Build(record: old)) {
            throw MeraserError.usage(
                "`out` \(path) holds a run that cannot be continued: \(obstacle); pass `overwrite` to begin anew or choose "
                    + "another folder")
        }
    }

    /// The path of a file in the folder.
    func file(_ name: String) -> String { path + "/" + name }

    /// What the run was begun with.
    func identity() throws -> JSONValue { try read(Self.runName) }

    // MARK: Stages

    /// The record of a finished stage (`inputs`, `seconds`, `peak_rss_bytes`, `machine`, `result`), or nil.
    func record(of stage: StageName) throws -> JSONValue? {
        let name = Self.recordName(of: stage)
        return FileManager.default.fileExists(atPath: file(name)) ? try read(name) : nil
    }

    /// The path of a stage's record.
    func recordPath(of stage: StageName) -> String { file(Self.recordName(of: stage)) }

    private static func recordName(of stage: StageName) -> String { "stages/\(stage).json" }

    /// Does a stage, or gives the result that is there if it was done with the same inputs.
    ///
    /// - Parameter commands: the command lines that do the same, for the record.
    /// - Throws: a usage error if it was done with other inputs; what `work` throws.
    func stage(
        _ name: StageName, inputs: JSONValue, commands: [[String]] = [], work: () throws -> JSONValue
    ) throws -> JSONValue {
        if let record = try record(of: name) {
            if let difference = firstDifference(record["inputs"] ?? .null, inputs) {
                throw MeraserError.usage(
                    "\(path): the stage '\(name)' was done with another \(difference); pass `overwrite` to begin anew")
            }
            if let obstacle = Build.current.obstacle(continuing: Build(record: record)) {
                throw MeraserError.usage(
                    "\(path): the stage '\(name)' cannot be taken up: \(obstacle); pass `overwrite` to begin anew")
            }
            return record["result"] ?? .null
        }
        let clock = ContinuousClock()
        let start = clock.now
        let result = try work()
        let duration = (clock.now - start).components
        let seconds = Double(duration.seconds) + Double(duration.attoseconds) * 1e-18
        let members: [(key: String, value: JSONValue)] = [
            ("stage", .text(name.description)), ("inputs", inputs), ("seconds", .real(seconds)),
            ("peak_rss_bytes", .integer(ProcessMemory.peakBytes)), ("machine", Machine.json),
            ("commands", .array(commands.map { .text(shellText(["meraser"] + $0)) })), ("result", result),
        ]
        try write(.object(JSONObject(Build.current.fields + members)), to: Self.recordName(of: name))
        return result
    }

    /// Compared by `Build`.
    private static let buildKeys = Build.current.fields.map(\.key)

    /// The name of the first member in which two objects differ, but for the build's, or nil.
    private func firstDifference(_ old: JSONValue, _ new: JSONValue) -> String? {
        let keys = [old, new].flatMap { $0.object?.members.map(\.key.string) ?? [] }
        return keys.first {
            !Self.buildKeys.contains($0) && (old[$0] ?? .null).serialized() != (new[$0] ?? .null).serialized()
        }
    }

    // MARK: Files

    /// Writes a JSON file, atomically.
    func write(_ value: JSONValue, to name: String) throws { try write(value.serialized(indent: 2) + "\n", to: name) }

    /// Writes a text file, atomically.
    func write(_ text: String, to name: String) throws {
        try writeFileAtomically(path: file(name), Array(text.utf8), overwrite: true, mode: mode)
    }

    /// Reads a JSON file.
    func read(_ name: String) throws -> JSONValue { try Self.read(file(name)) }

    private static func read(_ path: String) throws -> JSONValue {
        let mapped = try MappedFile(path: path)
        return try mapped.withBytes { try JSONValue.parse($0, file: mapped.path) }
    }

    /// Reads the rows of a log; none if there is no such file.
    func readLines(_ name: String) throws -> [JSONValue] {
        let path = file(name)
        guard FileManager.default.fileExists(atPath: path) else { return [] }
        var lines = JSONLines(try MappedFile(path: path).withBytes { Array($0) }, file: path)
        return try lines.all().map(\.value)
    }
}
