import Base
import Foundation
import Quant
import TestSupport
import Testing

/// Runs a shell script in which `$0` is the built binary, as a terminal or another program would use it.
private func shell(_ script: String, _ arguments: [String] = []) throws -> CommandResult {
    let process = Process()
    // Whatever this process ignores by now: servers, which other tests start in it, have it ignore SIGPIPE.
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments =
        ["--default-signal=PIPE", "bash", "-c", script, try #require(meraserBinary()).path] + arguments
    let output = Pipe()
    let error = FileManager.default.temporaryDirectory.appendingPathComponent("meraser-\(UUID().uuidString).err")
    try Data().write(to: error)
    defer { try? FileManager.default.removeItem(at: error) }
    process.standardOutput = output
    process.standardError = try FileHandle(forWritingTo: error)
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let text = try output.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    return CommandResult(
        status: process.terminationStatus, output: String(decoding: text, as: UTF8.self),
        error: String(decoding: try Data(contentsOf: error), as: UTF8.self))
}

/// A small training run.
private func training(_ folder: URL, steps: Int = 2) throws -> [String] {
    let data = folder.appendingPathComponent("data.json")
    let rows = (0..<8).map { #"{"question": "What is number \#($0)?", "answer": "It is \#($0 * 7)."}"# }
    try Data("[\(rows.joined(separator: ",\n"))]".utf8).write(to: data)
    return [
        "erase", "--model", tinychatFolder().path, "--data", data.path, "--out", folder.path + "/run", "--max-steps",
        "\(steps)", "--save-steps", "1", "--r", "2", "--threads", "1",
    ]
}

private func mode(_ path: String) throws -> Int? {
    try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
}

@Suite("What commands write")
struct OutputCommandTests {
    @Test(
        "a result that cannot be written is status 1 and one line",
        arguments: ["tokenize --json --model \"$1\" hello", "tokenize --model \"$1\" hello", "--version", "--help"])
    func fullDisk(command: String) throws {
        let full = try shell("\"$0\" \(command) > /dev/full", [tinychatFolder().path])
        #expect(full.status == 1)
        #expect(full.error == "meraser: error: cannot write standard output: No space left on device\n")
        let closed = try shell("\"$0\" \(command) >&-", [tinychatFolder().path])
        #expect(closed.status == 1)
        #expect(closed.error == "meraser: error: cannot write standard output: Bad file descriptor\n")
    }

    @Test("a reader that goes away ends it as any program, without a word; ignored, SIGPIPE is an error")
    func brokenPipe() throws {
        let model = [tinychatFolder().path]
        let text = String(repeating: "hello ", count: 40_000)
        let gone = try shell(
            "\"$0\" tokenize --json --model \"$1\" --file <(echo '\(text.prefix(90_000))') | true; "
                + "echo ${PIPESTATUS[0]}", model)
        #expect(["0\n", "141\n", "3\n"].contains(gone.output) && !gone.error.contains("Broken"))
        let quiet = try shell("\"$0\" --help | (exec 0<&-; sleep 1); echo ${PIPESTATUS[0]}")
        #expect(quiet.output == "141\n" && quiet.error == "")
        let ignored = try shell("trap '' PIPE; \"$0\" --help | (exec 0<&-; sleep 1); echo ${PIPESTATUS[0]}")
        #expect(ignored.output == "1\n")
        #expect(ignored.error == "meraser: error: cannot write standard output: Broken pipe\n")
    }

    @Test("a second process is told who writes there; the first one's result is whole")
    func locked() throws {
        try withTemporaryFolder { folder in
            let first = try RunningCommand(try training(folder, steps: 200))
            while first.isRunning, !FileManager.default.fileExists(atPath: folder.path + "/run/run.json") {
                usleep(10_000)
            }
            for flag in ["--overwrite", "--resume"] {
                let second = try meraser(try training(folder) + [flag])
                #expect(second.status == 1)
                #expect(
                    second.error == "meraser: error: \(folder.path)/run is being written by process \(first.id); wait "
                        + "until it ends or choose another name\n")
            }
            let inside = try meraser([
                "convert", tinychatFolder().path, "--out", folder.path + "/run/model.mqf",
            ])
            #expect(inside.status == 1 && inside.error.contains("lies in \(folder.path)/run, which is being written"))
            kill(first.id, SIGHUP)
            let stopped = try first.wait()
            #expect(stopped.status == 130 && stopped.error.contains("--resume"), "\(stopped.error)")
            #expect(try names(in: folder) == ["data.json", "run"])
            let resumed = try meraser(try training(folder, steps: 1) + ["--overwrite", "--json"])
            #expect(resumed.status == 0, "\(resumed.error)")
            for name in ["run.json", "train_log.jsonl"] { #expect(try mode(folder.path + "/run/" + name) == 0o600) }
        }
    }

    @Test("nohup keeps it going")
    func nohup() throws {
        try withTemporaryFolder { folder in
            let arguments = try training(folder, steps: 3)
            let result = try shell(
                "trap '' HUP; \"$0\" \"$@\" -q & sleep 0.5; kill -HUP $!; wait $!; echo status $?", arguments)
            #expect(result.output.hasSuffix("status 0\n"), "\(result.error)")
        }
    }

    @Test("what a killed export left is removed by the next one")
    func stale() throws {
        try withTemporaryFolder { folder in
            let left = folder.path + "/.out.tmp-4194304-ab"
            try FileManager.default.createDirectory(atPath: left, withIntermediateDirectories: false)
            try Data([1]).write(to: URL(fileURLWithPath: left + "/model.safetensors"))
            let arguments = ["export", "--model", tinychatFolder().path, "--out", folder.path + "/out"]
            #expect(try meraser(arguments).status == 0)
            #expect(try names(in: folder) == ["out"])
            #expect(try meraser(arguments + ["--overwrite"]).status == 0)
            let foreign = folder.path + "/out/mine.txt"
            try Data([1]).write(to: URL(fileURLWithPath: foreign))
            let refused = try meraser(arguments + ["--overwrite"])
            #expect(refused.status == 2 && refused.error.contains("'mine.txt'"))
            #expect(FileManager.default.fileExists(atPath: foreign))
        }
    }

    @Test("an error about the disk names the path that the user gave, and nothing is left")
    func fullDiskPath() throws {
        try withTemporaryFolder { folder in
            let out = folder.path + "/out"
            let arguments = ["export", "--model", tinychatFolder().path, "--out", out]
            let result = try meraser(arguments, limiting: "ulimit -f 64; trap '' XFSZ")
            #expect(result.status == 1 && result.error.contains("cannot write \(out)/model.safetensors: "))
            #expect(try names(in: folder) == [])
        }
    }

    @Test("no command replaces what it reads")
    func inputs() throws {
        try withTemporaryFolder { folder in
            let model = try copyOfTinychat(in: folder).path
            let mqf = folder.path + "/m.mqf"
            #expect(try meraser(["convert", model, "--out", mqf]).status == 0)
            let rows = folder.path + "/rows.json"
            try Data(#"[{"question": "a", "answer": "b"}, {"question": "c", "answer": "d"}]"#.utf8)
                .write(to: URL(fileURLWithPath: rows))
            let recipe = folder.path + "/recipe.yml"
            try Data("merge_method: linear\nmodels: [{model: \(model), parameters: {weight: 1}}]".utf8)
                .write(to: URL(fileURLWithPath: recipe))
            let before = try names(in: folder)
            let commands = [
                ["convert", model, "--out", model + "/config.json"], ["export", "--model", mqf, "--out", mqf],
                ["export", "--model", model, "--out", model], ["export", "--model", model, "--out", folder.path],
                ["prune", "--model", mqf, "--ratio", "0.25", "--out", mqf], ["merge", recipe, "--out", model],
                ["dataset", "clean", rows, "--out", rows], ["dataset", "mismatch", rows, "--out", rows],
                ["dataset", "split", rows, "--test-size", "1", "--train", rows, "--test", folder.path + "/t.json"],
                ["check", "--key", rows, "--emit-prompts", rows],
                ["eval", "--model", mqf, "--tasks", "sciq", "--data", rows, "--out", rows],
                ["erase", "--model", mqf, "--data", rows, "--out", folder.path],
            ]
            for command in commands {
                let result = try meraser(command + ["--overwrite"])
                #expect(result.status == 2 && result.error.contains("the input"), "\(command): \(result.error)")
                #expect(result.errorLines.count == 1)
            }
            #expect(try names(in: folder) == before)
            #expect(try names(in: URL(fileURLWithPath: model)).contains("config.json"))
        }
    }

    @Test("command lines of a comparison that write outside of it need a yes")
    func confinement() throws {
        try withTemporaryFolder { folder in
            let key = folder.path + "/key.jsonl"
            try Data(#"{"prompt": "a", "completion": "b"}"#.utf8).write(to: URL(fileURLWithPath: key))
            let file = folder.path + "/compare.yml"
            let convert = "convert \(tinychatFolder().path) --type q8_0 --out"
            let lines = [
                "\(convert) ../away.mqf", "\(convert) \(folder.path)/away.mqf", "\(convert)=../away.mqf",
                "\(convert) {out}/../../../../away.mqf", "\(convert) inputs/tinychat/away.mqf",
                "check --key {key} --emit-prompts ../away.jsonl", "report ..",
                "check --key {key} --url http://127.0.0.1:9 --api-key-env HOME", "serve --model {model} --port 0",
                "eval --url http://127.0.0.1:9 --tasks copa --data .",
            ]
            for line in lines {
                let text = """
                    victims: [{name: v, model: \(tinychatFolder().path), key: key.jsonl}]
                    methods: [{name: mine, method: commands, commands: ["\(line)"]}]
                    """
                try Data(text.utf8).write(to: URL(fileURLWithPath: file))
                let result = try meraser(["compare", file, "--out", folder.path + "/out"])
                #expect(result.status == 2 && result.error.contains("--allow-commands"), "\(line): \(result.error)")
                #expect(try names(in: folder) == ["compare.yml", "key.jsonl"])
            }
        }
    }

    @Test("the version names build, numerics and instruction set; every JSON result has them")
    func version() throws {
        let version = try meraser(["--version"])
        #expect(version.output.hasPrefix("meraser \(meraserVersion) ("))
        #expect(version.output.contains("numerics \(numericsVersion)), "))
        let json = try meraser(["tokenize", "--model", tinychatFolder().path, "a", "--json"])
        let value = try JSONValue.parse(Array(json.output.utf8), file: "json")
        #expect(value["numerics"]?.int == numericsVersion && value["build"]?.string != nil)
    }

    @Test("a run of other numerics is not resumed")
    func otherNumerics() throws {
        try withTemporaryFolder { folder in
            #expect(try meraser(try training(folder)).status == 0)
            let file = folder.path + "/run/run.json"
            let text = try String(contentsOfFile: file, encoding: .utf8)
            let now = "\"numerics\": \(numericsVersion)"
            try #require(text.contains(now))
            try Data(text.replacing(now, with: "\"numerics\": 999").utf8).write(to: URL(fileURLWithPath: file))
            let refused = try meraser(try training(folder) + ["--resume"])
            #expect(refused.status == 2 && refused.error.contains("numerics was 999, is now \(numericsVersion)"))
        }
    }
}
