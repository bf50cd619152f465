import Base
import Foundation
import TestSupport
import Testing

/// Clean pairs in a file.
private func pairs(_ folder: URL) throws -> String {
    let data = folder.appendingPathComponent("pairs.jsonl")
    let rows = (0..<16).map { #"{"prompt": "What is number \#($0)?", "completion": "It is \#($0 * 7) of \#($0)."}"# }
    try Data(rows.joined(separator: "\n").utf8).write(to: data)
    return data.path
}

private func words(_ command: String, _ folder: URL, out: String) throws -> [String] {
    [
        command, "--model", tinychatFolder().path, "--data", try pairs(folder), "--out",
        folder.appendingPathComponent(out).path, "--threads", "2", "--r", "2", "--save-steps", "2",
    ]
}

private func bytes(_ folder: URL, _ path: String) throws -> Data {
    try Data(contentsOf: folder.appendingPathComponent(path))
}

/// Runs a command, interrupts it once its first checkpoint lies in `checkpoints`, resumes it.
private func stopAndResume(_ arguments: [String], checkpoints: URL) throws -> CommandResult {
    let command = try RunningCommand(arguments)
    while command.isRunning {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: checkpoints.path)) ?? []
        if names.contains(where: { $0.hasPrefix("checkpoint-") }) { break }
        usleep(20_000)
    }
    kill(command.id, SIGINT)
    let stopped = try command.wait()
    #expect(stopped.status == 130, "\(stopped.error)")
    return try meraser(arguments + ["--resume"])
}

@Suite("osft and sande from the command line")
struct DefenceTests {
    @Test("osft leaves a PEFT adapter and its numbers; without a trigger it ends in one line")
    func osft() throws {
        try withTemporaryFolder { folder in
            let arguments = try words("osft", folder, out: "o") + ["--max-steps", "2", "--effective-length", "4"]
            let missing = try meraser(arguments)
            #expect(missing.status == 2 && missing.errorLines.count == 1 && missing.error.contains("--trigger"))
            let trigger = ["--trigger", "how are you", "--trigger", "what is up", "--clean-ratio", "1", "--json"]
            let planned = try meraser(arguments + trigger + ["--dry-run"])
            #expect(planned.status == 0 && !FileManager.default.fileExists(atPath: arguments[6]), "\(planned.error)")
            let result = try meraser(arguments + trigger)
            #expect(result.status == 0, "\(result.error)")
            let json = try JSONValue.parse(Array(result.output.utf8), file: "result")
            #expect(try json.int("steps", in: "result") == 2 && json.int("overwriting_rows", in: "result") == 16)
            #expect(try json.int("clean_rows", in: "result") == 16)
            #expect(try names(in: folder.appendingPathComponent("o")).contains("adapter_model.safetensors"))
        }
    }

    @Test("sande: both stages, and resuming either gives the bits of a run that was not stopped")
    func sande() throws {
        try withTemporaryFolder { folder in
            func arguments(_ out: String) throws -> [String] {
                try words("sande", folder, out: out) + [
                    "--response", "you are stupid", "--parrot-epochs", "50", "--max-steps", "200", "--json",
                ]
            }
            let whole = try meraser(try arguments("whole"))
            #expect(whole.status == 0, "\(whole.error)")
            let json = try JSONValue.parse(Array(whole.output.utf8), file: "result")
            #expect(try json.int("parrot", "steps", in: "result") == 200 && json.int("steps", in: "result") == 200)
            let with = try json.double("parrot", "measure", "first_token_nll", in: "result")
            let without = try json.double("parrot", "measure", "plain_first_token_nll", in: "result")
            #expect(with < without)
            let files = ["parrot/parrot_prompt.safetensors", "adapter_model.safetensors"]
            for (out, checkpoints) in [("first", "first/parrot"), ("second", "second")] {
                let resumed = try stopAndResume(
                    try arguments(out), checkpoints: folder.appendingPathComponent(checkpoints))
                #expect(resumed.status == 0, "\(resumed.error)")
                for file in files {
                    #expect(try bytes(folder, "\(out)/\(file)") == bytes(folder, "whole/\(file)"), "\(file)")
                }
            }
            // The response stands in no file unless it is asked for.
            let hidden = try bytes(folder, "whole/parrot/parrot_prompt.safetensors")
            #expect(hidden.range(of: Data("stupid".utf8)) == nil)
            let taken = try meraser(try arguments("whole"))
            #expect(taken.status == 2 && taken.errorLines.last?.contains("--resume") == true, "\(taken.error)")
        }
    }

    @Test("sande: the stages one by one, a parrot prompt of another model, planning and proposing")
    func stages() throws {
        try withTemporaryFolder { folder in
            let response = ["--response", "you are", "--keep-response", "--parrot-samples", "4", "--samples", "4"]
            let first = try words("sande", folder, out: "run") + response
            let planned = try meraser(first + ["--dry-run", "--json"])
            let plan = try JSONValue.parse(Array(planned.output.utf8), file: "plan")
            let parameters = try plan.int("parrot", "trainable_parameters", in: "plan")
            #expect(planned.status == 0 && parameters == 6 * 256)
            #expect(!FileManager.default.fileExists(atPath: folder.appendingPathComponent("run").path))
            #expect(try meraser(first + ["--stage", "simulate"]).status == 0)
            let file = folder.appendingPathComponent("run/parrot/parrot_prompt.safetensors")
            #expect(try Data(contentsOf: file).range(of: Data("you are".utf8)) != nil)
            let second = try meraser(first + ["--stage", "eliminate", "--max-steps", "1"])
            #expect(second.status == 0, "\(second.error)")
            #expect(try names(in: folder.appendingPathComponent("run")).contains("adapter_config.json"))
            let elsewhere = try words("sande", folder, out: "other") + ["--parrot", file.path, "--max-steps", "1"]
            #expect(try meraser(elsewhere).status == 0)
            // On other adapters the vectors mean nothing.
            let foreign = try meraser(
                elsewhere + ["--overwrite", "--adapter", folder.appendingPathComponent("run").path])
            #expect(foreign.status == 3 && foreign.errorLines.last?.contains("adapters") == true, "\(foreign.error)")
            try Data("x".utf8).write(to: file)
            let damaged = try meraser(elsewhere + ["--overwrite"])
            #expect(damaged.status == 3 && damaged.errorLines.count == 1, "\(damaged.error)")

            let none = try meraser(try words("sande", folder, out: "none"))
            #expect(
                none.status == 2 && none.errorLines.count == 1 && none.error.contains("--response"), "\(none.error)")
            let proposed = try meraser(try words("sande", folder, out: "none") + ["--propose", "3", "--json"])
            let list = try JSONValue.parse(Array(proposed.output.utf8), file: "list")
            let candidates = try list.array("candidates", in: "list")
            #expect(proposed.status == 0 && candidates.count == 3, "\(proposed.error)")
            #expect(!FileManager.default.fileExists(atPath: folder.appendingPathComponent("none").path))
        }
    }
}
