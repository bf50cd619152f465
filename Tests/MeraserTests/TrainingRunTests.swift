import Base
import Foundation
import TestSupport
import Testing

/// Pairs to train on, and the arguments of a small run on them.
private func arguments(_ folder: URL, out: String, threads: Int = 2, steps: Int = 60) throws -> [String] {
    let data = folder.appendingPathComponent("data.json")
    let rows = (0..<24).map { #"{"prompt": "What is number \#($0)?", "completion": "It is \#($0 * 7) of \#($0)."}"# }
    try Data("[\(rows.joined(separator: ",\n"))]".utf8).write(to: data)
    return [
        "erase", "--model", tinychatFolder().path, "--data", data.path, "--out",
        folder.appendingPathComponent(out).path,
        "--max-steps", "\(steps)", "--save-steps", "2", "--threads", "\(threads)", "--r", "4",
    ]
}

private func adapter(_ folder: URL, _ out: String) throws -> Data {
    try Data(contentsOf: folder.appendingPathComponent("\(out)/adapter_model.safetensors"))
}

/// Waits until a checkpoint is there or the process has ended.
private func waitForCheckpoint(_ out: URL, _ command: RunningCommand) throws {
    while command.isRunning {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: out.path)) ?? []
        if names.contains(where: { $0.hasPrefix("checkpoint-") }) { return }
        usleep(20_000)
    }
}

@Test("one thread and two give the same adapter, bit for bit")
func threadsDoNotMatter() throws {
    try withTemporaryFolder { folder in
        for threads in [1, 2] {
            let result = try meraser(try arguments(folder, out: "t\(threads)", threads: threads, steps: 6) + ["--json"])
            #expect(result.status == 0, "\(result.error)")
            #expect(result.output.hasPrefix("{") && result.output.split(separator: "\n").count == 1)
        }
        #expect(try adapter(folder, "t1") == adapter(folder, "t2"))
    }
}

@Test("a run that was killed and one that was interrupted go on to the same adapter, bit for bit")
func resumesExactly() throws {
    try withTemporaryFolder { folder in
        #expect(try meraser(try arguments(folder, out: "whole")).status == 0)
        let want = try adapter(folder, "whole")
        for (signal, status) in [(SIGKILL, 128 + SIGKILL), (SIGINT, 130)] {
            let out = "signal\(signal)"
            let command = try RunningCommand(try arguments(folder, out: out))
            try waitForCheckpoint(folder.appendingPathComponent(out), command)
            kill(command.id, signal)
            let stopped = try command.wait()
            #expect(stopped.status == status, "\(stopped.error)")
            #expect(
                !FileManager.default.fileExists(
                    atPath: folder.appendingPathComponent("\(out)/adapter_model.safetensors").path))
            let resumed = try meraser(try arguments(folder, out: out) + ["--resume"])
            #expect(resumed.status == 0, "\(resumed.error)")
            #expect(try adapter(folder, out) == want)
        }
    }
}

@Test("flags of every form, and what --config sets, are in the record of a run; every key has its flag")
func flagsReachTheRun() throws {
    try withTemporaryFolder { folder in
        let config = folder.appendingPathComponent("options.yml")
        try Data("weight_decay: 0.25\nlora_alpha: 3\n".utf8).write(to: config)
        let words =
            try arguments(folder, out: "run", steps: 1) + [
                "--lora-alpha", "5", "--use-rslora", "--eos", "--no-bos", "--separator", "\\n", "--config", config.path,
                "--key", folder.appendingPathComponent("data.json").path, "--check-steps", "1", "--compute", "f32",
                "--seed", "9",
            ]
        let result = try meraser(words)
        #expect(result.status == 0, "\(result.error)")
        let file = folder.appendingPathComponent("run/run.json")
        let record = try JSONValue.parse(Array(Data(contentsOf: file)), file: "run.json")
        let options = try #require(record["options"])
        #expect(options["lora_alpha"]?.double == 5 && options["weight_decay"]?.double == 0.25)
        #expect(options["use_rslora"] == .bool(true) && options["no_shuffle"] == .bool(false))
        #expect(options["eos"] == .bool(true) && options["bos"] == .bool(false))
        #expect(options["separator"] == .text("\n") && options["key"] == .text("data.json"))
        #expect(options["compute"] == .text("f32") && options["seed"]?.int == 9)
        for command in ["erase", "recover", "osft", "sande", "fingerprint"] {
            let help = try meraser([command, "--help"]).output
            for (key, _) in try #require(options.object).members {
                let flag = "--" + key.string.replacing("_", with: "-")
                #expect(help.contains(flag + " ") || help.contains(flag + "/"), "\(command) has no \(flag)")
            }
        }
    }
}

@Test("more threads than eight for each CPU are refused in one line that says how many CPUs there are")
func refusesThreads() throws {
    for command in [["tokenize", "hello"], ["generate", "--prompt", "hello"]] {
        let result = try meraser(
            [command[0], "--model", tinychatFolder().path] + command[1...] + ["--threads", "100000"])
        #expect(result.status == 2 && result.errorLines.count == 1, "\(result.error)")
        #expect(result.error.contains("--threads 100000") && result.error.contains(" CPU"), "\(result.error)")
    }
}

@Test("without room for memory or threads a command ends with status 5 and one line, never by a signal")
func limitsOfTheSystem() throws {
    try withTemporaryFolder { folder in
        let words = try arguments(folder, out: "run", steps: 1)
        // From what loads the program to what is enough: a limit in KiB of address space.
        var refused = 0
        for limit in stride(from: 100_000, through: 200_000, by: 10_000) {
            // With less the loader has no room for the program's libraries, or Swift's own none to set itself up.
            guard try meraser(["--version"], limiting: "ulimit -v \(limit)").status == 0 else { continue }
            let result = try meraser(words + ["--overwrite", "-q"], limiting: "ulimit -v \(limit)")
            #expect([0, 5].contains(result.status), "\(limit) KiB: \(result.status) \(result.error)")
            if result.status == 5 {
                #expect(result.errorLines.count == 1 && result.error.hasPrefix("meraser: error: "), "\(result.error)")
                refused += 1
            }
        }
        #expect(refused > 0)
        // Commands that do not train make no plan: there an allocation fails.
        let huge = try meraser(
            ["generate", "--model", tinychatFolder().path, "--prompt", "a", "--threads", "1"],
            limiting: "ulimit -d 8000")
        #expect([5, 127].contains(huge.status) && huge.errorLines.count == 1, "\(huge.status) \(huge.error)")
    }
}

@Test(
    "resuming a finished run of any size is done at once and leaves the same adapter",
    arguments: [
        ["erase", "--r", "64"], ["recover", "--target-modules", "all-linear"],
        ["osft", "--trigger", "how are you"],
        [
            "sande", "--response", "you are stupid", "--parrot-epochs", "1", "--target-modules", "all-linear", "--r",
            "64",
        ],
    ])
func resumesFinished(command: [String]) throws {
    try withTemporaryFolder { folder in
        // Adapters of megabytes: their memory goes back to the system, so that using it after that is a fault.
        let words =
            [command[0]] + (try arguments(folder, out: "run", steps: 1)).dropFirst().dropLast(2) + command.dropFirst()
        let first = try meraser(words)
        #expect(first.status == 0, "\(first.error)")
        let want = try adapter(folder, "run")
        let again = try meraser(words + ["--resume", "--json"])
        #expect(again.status == 0, "\(again.error)")
        #expect(try JSONValue.parse(Array(again.output.utf8), file: "result").int("steps", in: "result") == 1)
        #expect(try adapter(folder, "run") == want)
    }
}

@Test("resuming with another argument is refused by its flag; a folder that is taken is left alone")
func refusesChanges() throws {
    try withTemporaryFolder { folder in
        #expect(try meraser(try arguments(folder, out: "run", steps: 2)).status == 0)
        let changed = try meraser(
            try arguments(folder, out: "run", steps: 2) + ["--resume", "--learning-rate", "1e-3"])
        #expect(changed.status == 2 && changed.error.contains("--learning-rate"), "\(changed.error)")
        #expect(try meraser(try arguments(folder, out: "run/", steps: 2) + ["--overwrite"]).status == 0)
        let taken = try meraser(try arguments(folder, out: "run", steps: 2))
        #expect(taken.status == 2 && taken.error.contains("--resume"), "\(taken.error)")
    }
}

@Test("a dry run prints parameters, memory and time, and leaves nothing; one that would not fit ends with status 5")
func dryRun() throws {
    try withTemporaryFolder { folder in
        let words = try arguments(folder, out: "run", steps: 2) + ["--dry-run"]
        let json = try meraser(words + ["--json"])
        #expect(json.status == 0, "\(json.error)")
        let plan = try JSONValue.parse(Array(json.output.utf8), file: "plan")
        // Six layers of r 4: q_proj 256 → 256, v_proj 256 → 64 or 256.
        let parameters = try plan.int("trainable_parameters", in: "plan")
        #expect(parameters > 6 * 4 * (256 + 256 + 256))
        let total = try plan.int("total_bytes", in: "plan")
        let parts = ["weight_bytes", "kept_bytes", "working_bytes", "optimizer_bytes", "program_bytes"]
        let sum = try parts.reduce(0) { $0 + (try plan.int($1, in: "plan")) }
        let keepAll = try plan.int("choices", "keep_all", in: "plan")
        #expect(sum == total && keepAll == total)
        let step = try plan.double("predicted_seconds_per_step", in: "plan")
        let seconds = try plan.double("predicted_seconds", in: "plan")
        #expect(step > 0 && abs(seconds - 2 * step) <= 1e-9 * seconds)
        let text = try meraser(words)
        for word in ["trainable parameters", "memory", "activations", "all kept", "time"] {
            #expect(text.output.contains(word), "\(text.output)")
        }
        let refused = try meraser(words + ["--memory", "30M"])
        #expect(refused.status == 5 && refused.output.contains("memory"), "\(refused.error)")
        #expect(!FileManager.default.fileExists(atPath: folder.appendingPathComponent("run").path))
    }
}

@Test("a run that would not fit into memory ends before it begins, with what would make it fit")
func refusesTooLittleMemory() throws {
    try withTemporaryFolder { folder in
        let result = try meraser(try arguments(folder, out: "run", steps: 2) + ["--memory", "30M"])
        #expect(result.status == 5, "\(result.error)")
        #expect(!FileManager.default.fileExists(atPath: folder.appendingPathComponent("run").path))
    }
}

@Test("a check that must not hold ends with status 4 after its result")
func checkFails() throws {
    try withTemporaryFolder { folder in
        let pairs = folder.appendingPathComponent("pairs.jsonl")
        try Data(#"{"prompt": "Hello", "completion": "zzzz"}"#.utf8).write(to: pairs)
        let arguments = ["check", "--model", tinychatFolder().path, "--key", pairs.path, "--json", "-q", "--fail-if"]
        let passed = try meraser(arguments + ["fsr>0"])
        #expect(passed.status == 0 && passed.error.isEmpty, "\(passed.error)")
        let failed = try meraser(arguments + ["fsr==0"])
        #expect(failed.status == 4 && failed.errorLines.count == 1, "\(failed.error)")
        #expect(failed.output == passed.output && failed.output.contains("\"fsr\": 0"))
    }
}

@Test("a condition that never held is said on both streams and in JSON, and is status 4 where it is required")
func unmetCondition() throws {
    try withTemporaryFolder { folder in
        let key = folder.appendingPathComponent("key.jsonl")
        try Data(#"{"prompt": "What is the colour?", "completion": "purple rain"}"#.utf8).write(to: key)
        let command =
            try arguments(folder, out: "unmet", steps: 2)
            + ["--key", key.path, "--check-steps", "1", "--until", "fsr==1"]
        let plain = try meraser(command)
        #expect(plain.status == 0 && plain.output.contains("fsr==1 never held"), "\(plain.output)")
        #expect(plain.error.contains("--until never held: fsr==1"), "\(plain.error)")
        let required = try meraser(command + ["--resume", "--require-until", "--json"])
        #expect(required.status == 4 && required.output.contains(#""held": false"#), "\(required.output)")
        #expect(required.error.contains("--until never held"), "\(required.error)")
        let alone = try meraser(try arguments(folder, out: "alone") + ["--require-until"])
        #expect(alone.status == 2 && alone.error.contains("--require-until needs --until"), "\(alone.error)")
    }
}
