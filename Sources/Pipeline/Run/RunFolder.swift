import Foundation
import Quant
import Tune

/// The folder of a pipeline run: what it was begun with, a record of each finished stage, what the stages made, the report.
///
/// Records appear whole or not at all, so a run that was killed continues with the first stage that has none.
struct RunFolder {
    /// The folder.
    let path: String

    private static let runName = "run.json"

    /// Makes the folder, or takes up the run that is there.
    ///
    /// - Throws: a usage error if something else is there, or a run of another recipe that is not to be overwritten.
    init(path: String, identity: JSONValue, overwrite: Bool) throws {
        self.path = path
        let manager = FileManager.default
        if manager.fileExists(atPath: path) {
            let isRun = manager.fileExists(atPath: file(Self.runName))
            let isEmpty = (try? manager.contentsOfDirectory(atPath: path).isEmpty) ?? false
            guard isRun || isEmpty else {
                throw MeraserError.usage("--out \(path) exists and holds no run of meraser; choose another folder")
            }
            if isRun, overwrite {
                let old = "\(path).old-\(getpid())"
                guard rename(path, old) == 0 else { throw MeraserError.runtime("cannot replace \(path)") }
                try? manager.removeItem(atPath: old)
            } else if isRun {
                guard let name = firstDifference(try self.identity(), identity) else { return }
                throw MeraserError.usage(
                    "--out \(path) holds a run with another \(name); pass --overwrite to replace it or choose another "
                        + "folder")
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
        guard FileManager.default.fileExists(atPath: file(Self.runName)) else {
            throw MeraserError.badInput("\(path) holds no run of meraser: there is no \(Self.runName) in it")
        }
    }

    /// The path of a file in the folder.
    func file(_ name: String) -> String { path + "/" + name }

    /// What the run was begun with.
    func identity() throws -> JSONValue { try read(Self.runName) }

    // MARK: Stages

    /// The record of a finished stage (`inputs`, `seconds`, `peak_rss_bytes`, `machine`, `result`), or nil.
    func record(of stage: String) throws -> JSONValue? {
        let name = Self.recordName(of: stage)
        return FileManager.default.fileExists(atPath: file(name)) ? try read(name) : nil
    }

    /// The path of a stage's record.
    func recordPath(of stage: String) -> String { file(Self.recordName(of: stage)) }

    private static func recordName(of stage: String) -> String { "stages/\(stage).json" }

    /// Does a stage, or gives the result that is there if it was done with the same inputs.
    ///
    /// - Throws: a usage error if it was done with other inputs; what `work` throws.
    func stage(_ name: String, inputs: JSONValue, work: () throws -> JSONValue) throws -> JSONValue {
        if let record = try record(of: name) {
            if let difference = firstDifference(record["inputs"] ?? .null, inputs) {
                throw MeraserError.usage(
                    "\(path): the stage '\(name)' was done with another \(difference); pass --overwrite to begin anew")
            }
            return record["result"] ?? .null
        }
        let clock = ContinuousClock()
        let start = clock.now
        let result = try work()
        let duration = (clock.now - start).components
        let seconds = Double(duration.seconds) + Double(duration.attoseconds) * 1e-18
        try write(
            [
                "stage": .text(name), "inputs": inputs, "seconds": .real(seconds),
                "peak_rss_bytes": .integer(ProcessMemory.peakBytes), "machine": Machine.json, "result": result,
            ],
            to: Self.recordName(of: name))
        return result
    }

    /// The name of the first member in which two objects differ, or nil.
    private func firstDifference(_ old: JSONValue, _ new: JSONValue) -> String? {
        let keys = [old, new].flatMap { $0.object?.members.map(\.key.string) ?? [] }
        return keys.first { (old[$0] ?? .null).serialized() != (new[$0] ?? .null).serialized() }
    }

    // MARK: Files

    /// Writes a JSON file, atomically.
    func write(_ value: JSONValue, to name: String) throws { try write(value.serialized(indent: 2) + "\n", to: name) }

    /// Writes a text file, atomically.
    func write(_ text: String, to name: String) throws {
        try writeFileAtomically(path: file(name), Array(text.utf8), overwrite: true)
    }

    /// Reads a JSON file.
    func read(_ name: String) throws -> JSONValue {
        let mapped = try MappedFile(path: file(name))
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
