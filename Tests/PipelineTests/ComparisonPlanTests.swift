import Base
import Foundation
import Quant
import TestSupport
import Testing

@testable import Pipeline

/// A comparison's file beside the files that it names, all of them small texts.
private func comparison(_ text: String) throws -> Comparison {
    try withTemporaryFolder { folder in
        for name in ["model.mqf", "other.mqf", "key.json", "pairs.json", "clean.json", "text.jsonl"] {
            try Data("{}".utf8).write(to: folder.appendingPathComponent(name))
        }
        try FileManager.default.createDirectory(
            at: folder.appendingPathComponent("hf"), withIntermediateDirectories: true)
        let url = folder.appendingPathComponent("c.yml")
        try Data(text.utf8).write(to: url)
        return try Comparison(path: url.path)
    }
}

private let head = """
    reference: other.mqf
    clean_data: clean.json
    mismatch: pairs.json
    victims:
      - {name: v, model: model.mqf, key: key.json}

    """

@Test("words in a command line come back from a shell, and from the reader of templates")
func shellWordsComeBack() throws {
    let words = [
        "plain", "a b", "", "it's", "$HOME", "fsr==0 && prefix_match<0.05", "\\n", "*", "é\n\"x\"", "--a=-1", "~",
    ]
    #expect(shellWords(shellText(words)) == words)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/sh")
    process.arguments = ["-c", "printf '%s\\0' \(shellText(words))"]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    let read = String(decoding: output, as: UTF8.self).split(separator: "\0", omittingEmptySubsequences: false)
    #expect(read.dropLast().map(String.init) == words)
    #expect(shellText(["--data", "inputs/a.json"]) == "--data inputs/a.json")
    #expect(shellWords("a 'b c' \"d \\\" e\" f\\ g") == ["a", "b c", "d \" e", "f g"])
    #expect(shellWords("a 'b") == nil)
}

@Test("a method that tunes takes several files with weights, and each of them is an input; others take one")
func lists() throws {
    let plan = try comparison(
        head + """
            methods:
              - {method: recover, data: "clean.json:0.7,pairs.json:0.3", eval_data: text.jsonl, max_steps: 3}
            """)
    let words = try #require(plan.steps.flatMap(\.commands).first { $0.arguments.first == "recover" }).arguments
    let place = try #require(words.firstIndex(of: "--data"))
    #expect(words[place + 1] == "inputs/clean.json:0.7,inputs/pairs.json:0.3")
    #expect(words.contains("inputs/text.jsonl"))
    #expect(
        Set(plan.inputs.map(\.name)).isSuperset(of: ["inputs/clean.json", "inputs/pairs.json", "inputs/text.jsonl"]))
    for (data, named) in [("clean.json:0.7,none.json:0.3", "none.json"), ("clean.json:0.7,pairs.json", "weight")] {
        let text = errorText(.badInput) {
            _ = try comparison(head + "methods:\n  - {method: recover, data: \"\(data)\", max_steps: 3}\n")
        }
        #expect(text.contains(named), "\(text)")
    }
}

@Test("victims × methods × budgets become command lines with paths in the comparison's folder")
func planned() throws {
    let plan = try comparison(
        head + """
              - name: made
                clean: text.jsonl
                fingerprint: {scheme: utf, count: 4, learning_rate: 5e-4, until: fsr==1, seed: 7}
            ppl: {data: text.jsonl, protocol: chunk}
            methods:
              - method: none
              - name: MEraser
                method: erase
                erase: {mismatch_count: 30, learning_rate: 5e-3, until: fsr==0, bos: false}
                recover: {chat: true}
                budgets: {short: {erase: {max_steps: 20}}, long: {erase: {max_steps: 60}, recover: {max_steps: 9}}}
              - {name: transfer, erase: {mismatch_count: 30}, budgets: [40]}
              - {name: Q8, method: quantize, type: q8_0, victims: [made]}
            """)
    #expect(
        plan.cells.map(\.name) == [
            "v/reference", "v/none", "v/MEraser-short", "v/MEraser-long", "v/transfer-40", "made/reference",
            "made/none", "made/MEraser-short", "made/MEraser-long", "made/transfer-40", "made/Q8",
        ])
    func texts(_ path: String) throws -> [String] {
        try #require(plan.steps.first { $0.path == path }).commands.map(\.text)
    }
    #expect(
        try texts("victims/made") == [
            "meraser fingerprint --model inputs/other.mqf --clean inputs/text.jsonl --scheme utf --count 4 "
                + "--learning-rate 0.0005 --until fsr==1 --seed 7 --out victims/made/mark --json"
        ])
    #expect(
        try texts("cells/v/MEraser-long") == [
            "meraser erase --model inputs/model.mqf --data shared/mismatched-pairs.json-30/mismatched.json "
                + "--learning-rate 0.005 --until fsr==0 --no-bos --max-steps 60 --key inputs/key.json --seed 42 "
                + "--out cells/v/MEraser-long/erase --json",
            "meraser recover --model inputs/model.mqf --adapter cells/v/MEraser-long/erase --data inputs/clean.json "
                + "--chat --max-steps 9 --seed 42 --out cells/v/MEraser-long/recover --json",
            "meraser check --model inputs/model.mqf --adapter cells/v/MEraser-long/erase --adapter "
                + "cells/v/MEraser-long/recover --key inputs/key.json --json",
            "meraser ppl --model inputs/model.mqf --adapter cells/v/MEraser-long/erase --adapter "
                + "cells/v/MEraser-long/recover --data inputs/text.jsonl --protocol chunk --json",
        ])
    // Trained once, on the reference; put on both victims.
    #expect(plan.steps.count { $0.path == "shared/transfer-40" } == 1)
    let transfer = try texts("shared/transfer-40")
    #expect(transfer[0].hasPrefix("meraser erase --model inputs/other.mqf --data shared/mismatched"))
    #expect(
        try texts("cells/made/transfer-40")[0]
            == "meraser check --model inputs/other.mqf --adapter victims/made/mark --adapter shared/transfer-40/erase "
            + "--transfer --key victims/made/mark/key.json --clean inputs/text.jsonl --json")
    // What a step needs comes before it.
    for (index, step) in plan.steps.enumerated() {
        for need in step.needs { #expect(plan.steps[..<index].contains { $0.path == need }, "\(step.path): \(need)") }
    }
    let conversion = "meraser convert shared/made-hf/model --out cells/made/Q8/model.mqf --type q8_0 --json"
    #expect(try texts("cells/made/Q8")[0] == conversion)
    #expect(
        try plan.steps(only: "made/Q8").map(\.path) == ["victims/made", "shared/made-hf", "cells/made/Q8"])
    #expect(try plan.cells(only: "MEraser-*").count == 4 && plan.cells(only: "v").count == 5)
}

@Test("a Hugging Face folder is converted once where a type is given, and merged as it is")
func convertedOnce() throws {
    let plan = try comparison(
        """
        reference: hf
        quantize: iq4_nl
        victims:
          - {name: a, model: model.mqf, key: key.json}
          - {name: b, key: key.json}
        methods:
          - {name: half, method: merge, merge_method: task_arithmetic, weight: 0.25}
        """)
    #expect(plan.steps.count { $0.path == "shared/hf-iq4_nl" } == 1)
    let merge = try #require(plan.steps.first { $0.path == "cells/b/half" })
    #expect(merge.needs.contains("shared/b-hf"))
    let config = try parseYAML(Array(try #require(merge.files.first).text.utf8), file: "merge.yml")
    #expect(config["base_model"]?.string == "inputs/hf" && config["merge_method"]?.string == "task_arithmetic")
    #expect(config["models"]?.array?.count == 1)
    #expect(config["models"]?.array?[0]["model"]?.string == "shared/b-hf/model")
    #expect(config["models"]?.array?[0]["parameters"]?["weight"]?.double == 0.25)
    #expect(
        merge.commands[0].text
            == "meraser merge cells/b/half/merge.yml --seed 42 --out cells/b/half/model.mqf --type iq4_nl --json")
    // The victim's own file was not quantized here: nothing is known of a source.
    #expect(!plan.steps.contains { $0.path.hasPrefix("cells/a/") && $0.commands.contains { $0.purpose == .source } })
}

@Test("what changes weights is done to the source as well where the victim was quantized, and measured beside it")
func sourceOfWeights() throws {
    let plan = try comparison(
        """
        reference: hf
        quantize: iq4_nl
        clean_data: clean.json
        victims:
          - {name: whole, key: key.json}
          - {name: made, fingerprint: {count: 4}}
        methods:
          - {name: half, method: merge, merge_method: task_arithmetic, weight: 0.25}
          - {name: less, method: prune, score: taylor, ratio: 0.2}
          - {name: bits, method: quantize, type: q4_0}
          - {name: none}
        """)
    func step(_ path: String) throws -> ComparisonStep { try #require(plan.steps.first { $0.path == path }) }
    func check(_ path: String) throws -> String {
        try #require(step(path).commands.first { $0.purpose == .check }).text
    }

    // Without adapters the source is the user's folder; with some it is that with them in it, made once and for no method.
    let half = try step("cells/whole/half")
    #expect(half.files.map(\.name) == ["merge.yml", "merge-source.yml"])
    let config = try parseYAML(Array(half.files[1].text.utf8), file: "merge-source.yml")
    #expect(config["models"]?.array?[0]["model"]?.string == "inputs/hf")
    #expect(half.commands.map(\.purpose) == [.work, .source, .check])
    #expect(
        half.commands[1].text
            == "meraser merge cells/whole/half/merge-source.yml --seed 42 --out cells/whole/half/source --json")
    #expect(
        try check("cells/whole/half")
            == "meraser check --model cells/whole/half/model.mqf --source cells/whole/half/source --key inputs/key.json --json"
    )
    let fused = try step("shared/made-source-hf")
    #expect(fused.isSetup && fused.needs.contains("victims/made"))
    #expect(
        fused.commands.map(\.text) == [
            "meraser export --model inputs/hf --adapter victims/made/mark --transfer --format hf --dtype f32 --out "
                + "shared/made-source-hf/model --json"
        ])
    let less = try step("cells/made/less")
    #expect(less.needs.contains("shared/made-source-hf") && less.commands[0].purpose == .work)
    #expect(
        less.commands[1].text
            == "meraser prune --model shared/made-source-hf/model --method taylor --ratio 0.2 --data inputs/clean.json "
            + "--seed 42 --out cells/made/less/source --json")
    #expect(try check("cells/made/bits").contains("--source shared/made-source-hf/model --key"))
    // Where only adapters are added, they go on the source itself; the unmarked model has its own.
    #expect(try check("cells/made/none").contains("--adapter victims/made/mark --source inputs/hf --key"))
    #expect(try check("cells/made/reference").contains("--model shared/hf-iq4_nl/model.mqf --source inputs/hf --key"))
}

@Test("a user's own commands are filled with the cell's paths, quotes kept together")
func ownCommands() throws {
    let plan = try comparison(
        head + """
            methods:
              - name: mine
                method: commands
                inputs: {extra: text.jsonl}
                commands:
                  - meraser recover --model {model} {adapters} --data {extra} --out {out}/tuned --until 'fsr==0 && n>1'
                measure: --model {model} {adapters} --adapter {out}/tuned
                check: --limit 2
            """)
    let commands = try #require(plan.steps.first { $0.path == "cells/v/mine" }).commands
    #expect(
        commands.map(\.text) == [
            "meraser recover --model inputs/model.mqf --data inputs/text.jsonl --out cells/v/mine/tuned --until "
                + "'fsr==0 && n>1' --json",
            "meraser check --model inputs/model.mqf --adapter cells/v/mine/tuned --limit 2 --key inputs/key.json "
                + "--json",
        ])
    #expect(commands[0].output == "cells/v/mine/tuned")
}

@Test(
    "mistakes in a comparison's file are named with the file and the place",
    arguments: [
        (head + "methods: [{name: erase}]", "'erase' is missing"),
        (head + "methods: [{name: erase, erase: {learning_rat: 1}}]", "learning_rate"),
        (head + "methods: [{name: erase, erase: {learning_rate: fast}}]", "learning_rate"),
        (head + "methods: [{name: x, method: eraze}]", "did you mean 'erase'"),
        (head + "methods: [{name: none, steps: 5}]", "unknown key 'steps'"),
        (head + "methods: [{name: quantize}]", "'type' is missing"),
        (head + "methods: [{name: quantize, type: q9}]", "iq4_nl"),
        (head + "methods: [{name: quantize, type: q8_0, budgets: [5]}]", "no steps"),
        (head + "methods: [{name: ../x, method: none}]", "names a folder"),
        (head + "methods: [{name: reference, method: none}]", "reference"),
        (head + "methods: [{method: none}, {method: none}]", "twice"),
        (head + "methods: [{method: none, victims: [w]}]", "no victim 'w'"),
        (head + "methods: [{name: transfer, erase: {until: fsr==0}}]", "max_steps"),
        (head + "methods: [{name: erase, erase: {seed: 1}}]", "'seed' is not set here"),
        (head + "methods: [{name: merge, weight: 2}]", "'weight' is 2"),
        (head + "methods: [{name: commands, commands: [\"erase --out {oot}\"]}]", "{out}"),
        (head + "methods: [{name: commands, commands: [\"erase 'x\"]}]", "not closed"),
        (head + "methods: none", "a list of mappings"), (head + "budget: 1\nmethods: [{method: none}]", "'budgets'"),
        ("methods: [{method: none}]", "'victims' is missing"),
        ("victims: [{name: v, key: key.json}]\nmethods: [{method: none}]", "'reference'"),
        ("victims: [{name: v, model: nowhere, key: key.json}]\nmethods: [{method: none}]", "does not exist"),
        ("victims: [{name: v, model: model.mqf}]\nmethods: [{method: none}]", "'fingerprint'"),
        (
            "victims: [{name: v, model: model.mqf, fingerprint: {scheme: utf, cuont: 3}}]\nmethods: [{method: none}]",
            "cuont"
        ),
    ])
func badComparisons(text: String, named: String) throws {
    let error = try #require(throws: MeraserError.self) { try comparison(text) }
    #expect([.badInput, .usage].contains(error.kind))
    #expect(error.message.contains("c.yml") && error.message.contains(named), "\(error.message)")
}

@Test("the bundled comparison of hosts asks for the owner's proof in every cell")
func bundledHosts() throws {
    let plan = try Comparison(path: packageRoot().appendingPathComponent("Examples/recipes/hosts.yml").path)
    // Four victims, seven hosts and the reference.
    #expect(plan.cells.count == 32)
    let proofs = try plan.script(only: "utf").components(separatedBy: "--presence 999 --presence-by outputs")
    #expect(proofs.count == 9)
}

@Test("the bundled comparison is a valid one")
func bundledComparison() throws {
    let plan = try Comparison(path: packageRoot().appendingPathComponent("Examples/recipes/compare.yml").path)
    #expect(plan.cells.count >= 14 && plan.inputs.allSatisfy { $0.name.hasPrefix("inputs/") })
    #expect(try plan.script(only: "utf/MEraser-50").contains("meraser erase --model shared/tinychat-iq4_nl/model.mqf"))
}
