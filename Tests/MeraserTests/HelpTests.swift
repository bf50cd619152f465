import Foundation
import TestSupport
import Testing

private let commands: [[String]] = [
    ["convert"], ["inspect"], ["tokenize"], ["generate"], ["logits"], ["check"], ["probe"], ["ppl"], ["eval"],
    ["fingerprint"], ["erase"], ["recover"], ["osft"], ["sande"], ["merge"], ["extract-lora"], ["prune"], ["dataset"],
    ["dataset", "mismatch"], ["dataset", "clean"], ["dataset", "split"], ["dataset", "stats"], ["export"], ["run"],
    ["search"], ["report"], ["compare"], ["bench"], ["demo"], ["examples"], ["cache"], ["decoys"], ["substitute"],
    ["scan"],
]

@Test("every command explains itself on standard output", arguments: commands)
func help(command: [String]) throws {
    let result = try meraser(command + ["--help"])
    #expect(result.status == 0)
    #expect(result.output.contains("USAGE: meraser \(command.joined(separator: " "))"))
    #expect(result.error.isEmpty)
}

@Test("the root's help names every command")
func rootHelp() throws {
    let result = try meraser(["--help"])
    #expect(result.status == 0)
    for command in commands { #expect(result.output.contains("  \(command[0]) "), "\(command[0])") }
}

@Test("the version goes to standard output")
func version() throws {
    let result = try meraser(["--version"])
    #expect(result.status == 0)
    #expect(result.output.split(separator: ".").count == 3)
}

@Test(
    "wrong usage is one line and status 2",
    arguments: [
        (["convert"], "source"), (["frobnicate"], "frobnicate"),
        (["generat"], "did you mean 'meraser generate'?"),
        (["dataset", "mismach", "x"], "did you mean 'meraser dataset mismatch'?"),
        (["convert", "x", "--out", "y.gguf"], "meraser export --format gguf"),
        (["convert", "x", "--out", "y.mqf", "-o", "z.mqf"], "--out is given twice"),
        (
            ["erase", "--model", "x", "--data", "y", "--out", "z", "--r", "8", "--r=16"],
            "--r is given twice"
        ),
        (["ppl", "--model", "x", "--data", "y", "--kl", "z"], "--kl is called --reference now"),
        (["generate", "-m", "x", "--max-tokens=3"], "--max-tokens is called --max-new-tokens now"),
        (["merge", "x.yml", "y", "--out", "z"], "named twice"),
        (["run", "x.yml", "--out", "y", "--fail-if", "fsx>0"], "fsx"),
        (["inspect", "--threads", "0", "x"], "--threads 0"),
        (["convert", "x", "--out", "y", "--type", "q9"], "iq4_nl"), (["tokenize", "--model", "x"], "--file"),
        (["erase", "--model", "x", "--data", "y", "--out", "z", "--learning-rate", "fast"], "--learning-rate"),
        (["erase", "--model", "x", "--data", "y", "--out", "z", "--check-steps", "5"], "--key"),
        (["erase", "--model", "x", "--data", "y", "--out", "z", "--preset", "strong"], "meraser-erase"),
        (["erase", "--model", "x", "--data", "y", "--out", "z", "--kl-weight", "-1"], "--kl-weight"),
        (["osft", "--model", "x", "--data", "y", "--out", "z", "--effective-length", "0"], "--effective-length"),
        (["osft", "--model", "x", "--data", "y", "--out", "z", "--position", "middle"], "--position"),
        (["osft", "--model", "x", "--data", "y", "--out", "z", "--template", "Human: "], "{message}"),
        (["sande", "--model", "x", "--data", "y"], "--out"),
        (["sande", "--model", "x", "--data", "y", "--out", "z", "--parrot-length", "0"], "--parrot-length"),
        (["sande", "--model", "x", "--data", "y", "--out", "z", "--stage", "all"], "simulate"),
        (["check", "--model", "x", "--key", "y", "--fail-if", "fsr>>0"], "fsr>>0"),
        (["check", "--model", "x", "--key", "y", "--fail-if", "fsx>0"], "fsr"),
        (["check", "--model", "x", "--key", "y", "--durable"], "--decoys"),
        (["check", "--model", "x", "--key", "y", "--decoys", "999", "--durable", "q5"], "relearn_half"),
        (["check", "--model", "x", "--key", "y", "--decoys", "999", "--durable-steps", "3"], "--durable"),
        (["decoys", "--model", "x", "--key", "y", "--taught", "3"], "--durable"),
        (["export", "--model", "x", "--format", "peft", "--out", "y"], "--adapter"),
        (["export", "--model", "x", "--adapter", "a", "--format", "peft", "--key", "k", "--out", "y"], "--key"),
        (["logits", "--model", "x", "--out", "y"], "--ids"), (["logits", "--model", "x", "--ids", "1"], "--out"),
        (["logits", "--model", "x", "--ids", "1", "--text", "z", "--out", "y"], "--text"),
        (["logits", "--model", "x", "--ids", "1,-2", "--out", "y"], "-2"),
        (["logits", "--model", "x", "--ids", "1,,2", "--out", "y"], "--ids"),
        (["logits", "--model", "x", "--ids", "1,2", "--gradients", "--out", "y"], "--adapter"),
        (["merge", "x.yml"], "--out"),
        (["merge", "x.yml", "--out", "y", "--max-shard-size", "big"], "--max-shard-size"),
        (["prune", "--model", "x", "--ratio", "0.5", "--out", "y", "--method", "taylor"], "--data"),
        (["prune", "--model", "x", "--ratio", "0.5", "--out", "y", "--layers", "5-2"], "--layers"),
        (["bench", "--model", "x", "-p", "12,x"], "-p"), (["bench", "--model", "x", "--train", "1"], "--train"),
        (["bench", "--model", "x", "--batch", "8,9999"], "9999"),
        (["check", "--key", "y"], "--answers"),
        (["check", "--key", "y", "--answers", "x", "--relearn", "2"], "--model"),
        (["check", "--model", "x", "--key", "y", "--relearn-data", "z"], "--relearn"),
        (["check", "--model", "x", "--key", "y", "--sample", "2", "--temperature", "0"], "--temperature"),
        (["check", "--key", "y", "--answers", "x", "--cleangen", "z"], "--cleangen"),
        (["check", "--model", "x", "--key", "y", "--cleangen", "z", "--cleangen-alpha", "nan"], "--cleangen-alpha"),
        (["generate", "--model", "x", "--prompt", "y", "--cleangen", "z", "--temperature", "1"], "--cleangen"),
        (["probe", "--model", "x", "--max-new-tokens", "0"], "--max-new-tokens"),
        (["scan", "--model", "x", "--out", "y", "--methods", "magic"], "inversion"),
        (["scan", "--model", "x", "--out", "y", "--fail-if", "verdict==\"bad\""], "nothing_found"),
        (["eval", "--model", "x"], "--tasks"),
        (["eval", "--model", "x", "--tasks", "sciq", "--trigger", "y"], "--target"),
        (["fingerprint", "--model", "x", "--out", "y", "--scheme", "rot13"], "hashchain"),
        (["fingerprint", "--model", "x", "--out", "y", "--scheme", "if", "--marker", "z"], "backdoor"),
        (["fingerprint", "--model", "x", "--out", "y", "--scheme", "if", "--count", "0"], "--count"),
    ])
func wrongUsage(arguments: [String], named: String) throws {
    let result = try meraser(arguments)
    #expect(result.status == 2, "\(result.error)")
    #expect(result.output.isEmpty)
    #expect(result.errorLines.count == 1, "\(result.error)")
    #expect(result.error.hasPrefix("meraser: error: "))
    #expect(result.error.contains(named), "\(result.error)")
}

@Test("an error spells flags where the command has them, and keys where a recipe does")
func spellsSettings() throws {
    let flag = try meraser(["erase", "--model", "x", "--data", "y", "--out", "z", "--until", "fsr==0"])
    #expect(flag.status == 2 && flag.error.contains("--until needs --key and --check-steps"), "\(flag.error)")
    let help = try meraser(["erase", "--help"]).output
    #expect(help.contains("--kl-data") && !help.contains("`kl_data`"))
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("meraser-\(UUID().uuidString).yml")
    defer { try? FileManager.default.removeItem(at: folder) }
    try Data("model: m\nkey: k\nerase: {data: d, r: many}".utf8).write(to: folder)
    let key = try meraser(["run", folder.path, "--out", folder.path + ".out"])
    #expect(key.error.contains("erase: 'r': \"many\", expected a whole number"), "\(key.error)")
}

@Test(
    "help shows what an option is without a flag: the preset's value, no enum's number, no bare dash",
    arguments: commands)
func helpDefaults(command: [String]) throws {
    let help = try meraser(command + ["--help"]).output
    #expect(help.firstMatch(of: /[0-9]{12}/) == nil)
    for line in help.split(separator: "\n") {
        #expect(!line.hasSuffix(" - "), "\(line)")
    }
}

@Test(
    "a training option's help names the default of the command's preset",
    arguments: [
        ("erase", "8", "constant"), ("recover", "16", "cosine"), ("fingerprint", "16", "constant"),
    ])
func presetDefaults(command: String, rank: String, schedule: String) throws {
    let help = try meraser([command, "--help"]).output.split(whereSeparator: \.isWhitespace).joined(
        separator: " ")
    #expect(help.contains("LoRA rank (default: \(rank))"), "\(help)")
    #expect(help.contains("learning rate schedule (default: \(schedule))"))
}

@Test("short flags of the field stand for the long ones, and text comes from standard input as -")
func shortFlags() throws {
    try withTemporaryFolder { folder in
        let model = tinychatFolder().path
        let text = folder.appendingPathComponent("text.txt")
        try Data("What is a loop?".utf8).write(to: text)
        let long = try meraser(["tokenize", "--model", model, "--file", text.path])
        #expect(long.status == 0 && long.output.contains("loop"), "\(long.error)")
        #expect(try meraser(["tokenize", "-m", model, "-f", "-"], input: text).output == long.output)
        let prompt = try meraser([
            "generate", "-m", model, "-p", "What is a loop?", "-n", "4", "-t", "1", "--json",
        ])
        let read = try meraser(["generate", "-m", model, "-f", "-", "-n", "4", "--json"], input: text)
        #expect(prompt.status == 0 && read.output == prompt.output, "\(prompt.error) \(read.error)")
        let rows = folder.appendingPathComponent("rows")
        try Data("{\"prompt\": \"What is a loop?\"}\n".utf8).write(to: rows)
        let row = try meraser(["generate", "-m", model, "-f", "-", "-n", "4", "--json"], input: rows)
        #expect(row.output == prompt.output, "\(row.error)")
        let nothing = try meraser(["generate", "-m", model, "-f", "-"])
        #expect(
            nothing.status == 3 && nothing.error.contains("standard input is empty"), "\(nothing.error)")
    }
}
