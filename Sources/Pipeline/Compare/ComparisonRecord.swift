import Base
import Foundation
import Tune

/// What a command left: how it ended, what it cost and what it printed.
struct CommandRecord: Sendable {
    let name: String
    let purpose: ComparisonCommand.Purpose
    /// As it is typed into a shell, in the comparison's folder.
    let command: String
    /// Its exit status, or 128 and a signal's number.
    let status: Int32
    let seconds: Double
    let peakRSSBytes: Int
    /// Samples that a training saw, repeats counted, and rows of its data; nil: it did not train.
    let samples: (seen: Int, rows: Int)?
    /// The object that it printed, without rows; null if it failed.
    let result: JSONValue
    /// Its last message, if it failed; a command that judges what it has done fails nothing by status 4.
    let error: String?

    var json: JSONValue {
        [
            "name": .text(name), "purpose": .text(purpose.rawValue), "command": .text(command),
            "status": .integer(Int(status)), "seconds": .real(seconds), "peak_rss_bytes": .integer(peakRSSBytes),
            "samples": samples.map { .integer($0.seen) } ?? .null, "rows": samples.map { .integer($0.rows) } ?? .null,
            "result": result, "error": error.map { .text($0) } ?? .null,
        ]
    }

    init(
        _ command: ComparisonCommand, _ outcome: ChildCommand.Outcome, samples: (seen: Int, rows: Int)?,
        result: JSONValue, error: String?
    ) {
        name = command.name
        purpose = command.purpose
        self.command = command.text
        status = outcome.status
        seconds = outcome.seconds
        peakRSSBytes = outcome.peakRSSBytes
        self.samples = samples
        self.result = result
        self.error = error
    }

    init(_ json: JSONValue, file: String) throws {
        name = try json.string("name", in: file)
        guard let purpose = ComparisonCommand.Purpose(rawValue: try json.string("purpose", in: file)) else {
            throw MeraserError.badInput("\(file): unknown purpose of '\(name)'")
        }
        self.purpose = purpose
        command = try json.string("command", in: file)
        guard let status = Int32(exactly: try json.int("status", in: file)) else {
            throw MeraserError.badInput("\(file): the status of '\(name)' is none")
        }
        self.status = status
        seconds = try json.double("seconds", in: file)
        peakRSSBytes = try json.int("peak_rss_bytes", in: file)
        samples = json["samples"]?.int.flatMap { seen in json["rows"]?.int.map { (seen: seen, rows: $0) } }
        result = json["result"] ?? .null
        error = json["error"]?.string
    }
}

/// What a step of a comparison left, `record.json` in its folder: written anew, whole or not at all, after every command.
struct StepRecord: Sendable {
    /// The program that did it.
    var build = Build.current
    /// The commands, files and hashes of everything that went in; another one makes the step be done again.
    let inputs: JSONValue
    /// The commands that have been run; those behind a failed one are not.
    var commands: [CommandRecord] = []
    /// Every command has ended well.
    var isDone = false

    static let fileName = "record.json"

    /// The first command that failed.
    var failure: CommandRecord? { commands.first { $0.error != nil } }

    /// A name for all that went in.
    var identity: String { sha256Hex(inputs.serialized().utf8) }

    var json: JSONValue {
        let members: [(key: String, value: JSONValue)] = [
            ("inputs", inputs), ("done", .bool(isDone)), ("commands", .array(commands.map(\.json))),
        ]
        return .object(JSONObject(build.fields + members))
    }

    init(inputs: JSONValue) { self.inputs = inputs }

    /// The record in a step's folder; nil if there is none.
    init?(folder: String) throws {
        let path = folder + "/" + Self.fileName
        guard FileManager.default.fileExists(atPath: path) else { return nil }
        let file = try MappedFile(path: path)
        let value = try file.withBytes { try JSONValue.parse($0, file: path) }
        build = Build(record: value)
        inputs = value["inputs"] ?? .null
        isDone = try value.bool("done", in: path)
        commands = try value.array("commands", in: path).map { try CommandRecord($0, file: path) }
    }

    func write(folder: String) throws {
        let text = json.serialized(indent: 2) + "\n"
        try writeFileAtomically(path: folder + "/" + Self.fileName, Array(text.utf8), overwrite: true, mode: 0o600)
    }
}

/// The samples that a training in that folder saw, repeats counted, and the rows of its data; nil if none trained there.
func trainedSamples(folder: String, steps: Int) -> (seen: Int, rows: Int)? {
    guard let file = try? MappedFile(path: folder + "/run.json"),
        let run = try? file.withBytes({ try JSONValue.parse($0, file: folder) }), let rows = run["data_samples"]?.int,
        rows > 0,
        let batch = run["options"]?["per_device_train_batch_size"]?.int, batch > 0,
        let accumulation = run["options"]?["gradient_accumulation_steps"]?.int, accumulation > 0, steps >= 0
    else { return nil }
    let plan = StepPlan(
        sampleCount: rows, batchSize: batch, accumulation: accumulation, epochs: 1, maxSteps: nil, shuffleSeed: nil)
    let (epochs, rest) = steps.quotientAndRemainder(dividingBy: plan.stepsPerEpoch)
    guard let whole = product(epochs, rows) else { return nil }
    let part = product(rest, batch, accumulation).map { min($0, rows) } ?? rows
    return sum(whole, part).map { ($0, rows) }
}
