import Audit
import Base
import Foundation
import Model
import TestSupport
import Testing
import Tune

@testable import Pipeline

private func recipe(_ text: String) throws -> Recipe {
    try withTemporaryFolder { folder in
        let url = folder.appendingPathComponent("r.yml")
        try Data(text.utf8).write(to: url)
        return try Recipe(path: url.path)
    }
}

@Test("a stage has its preset's options with the recipe's over them, and paths from the recipe's folder")
func recipeLayers() throws {
    let recipe = try recipe(
        """
        model: model.mqf
        key: /keys/key.json
        seed: 7
        erase: {data: ../mismatched.json, r: 32, learning_rate: 5e-3}
        recover: {preset: none, data: clean.json}
        ppl: {data: text.jsonl, protocol: strided, stride: 64}
        """)
    #expect(recipe.model.hasSuffix("/model.mqf") && recipe.model.hasPrefix("/"))
    guard case .given("/keys/key.json") = recipe.mark else { throw MeraserError.runtime("\(recipe.mark)") }
    #expect(recipe.recover?.rows.path?.hasSuffix("/clean.json") == true)
    let erase = try #require(recipe.erase)
    // MEraser's own numbers, but for the two that the recipe sets.
    #expect(erase.options.lora.r == 32 && erase.options.lora.loraAlpha == 16)
    #expect(erase.options.learningRate == 0.005 && erase.options.epochs == 5 && erase.options.maxGradNorm == 0.5)
    #expect(erase.options.seed == 7)
    #expect(recipe.recover?.options.learningRate == 5e-5)
    #expect(recipe.perplexity?.options.stride == 64)
}

@Test(
    "a recipe's mistakes are named with the file",
    arguments: [
        ("model: m\nkey: k\nerase: {data: d}\nreciver: {data: d}", "unknown key 'reciver'"),
        ("model: m\nkey: k\nerase: {data: d, learing_rate: 1}", "learning_rate"),
        ("model: m\nkey: k\nerase: {data: d, learning_rate: fast}", "learning_rate"),
        ("key: k\nerase: {data: d}", "'model' is missing"), ("model: m\nerase: {data: d}", "'fingerprint'"),
        ("model: m\nkey: k\nerase: {data: d, mismatch: e}", "r.yml: erase: give one of 'data', 'mismatch'"),
        ("model: m\nkey: k\nerase: {data: d, mismatch_count: 3}", "'mismatch_count' goes with 'mismatch'"),
        ("model: m\nkey: k\nrecover: {r: 8}", "r.yml: recover: give one of"),
        ("model: m\nfingerprint: {clean_count: 3}\nerase: {data: d}", "fingerprint: 'clean_count' needs 'clean_data'"),
        ("model: m\nkey: k", "nothing to do"), ("model: m\nkey: k\nerase: {r: 8}", "'mismatch'"),
        ("model: m\nkey: k\nquantize: q9\nerase: {data: d}", "iq4_nl"), ("model: m\nkey: k\nerase: 5", "a mapping"),
        (
            "model: m\nkey: k\nerase: {data: d}\nexport: {dtype: q8_0}",
            "export: 'dtype' is 'q8_0', expected one of bf16"
        ),
        ("model: m\nkey: k\nerase: {data: d}\nexport: {format: hf}", "unknown key 'format'"),
        ("model: m\nkey: k\nsource: none\nerase: {data: d}\nexport: {base: source}", "'base' is 'source'"),
        ("model: m\nkey: k\nauto: true\nerase: {data: d}", "'auto'"),
        ("model: m\nkey: k\nauto: {setting: known}", "key_known"),
        ("model: m\nkey: k\nscan: true\nerase: {data: d}", "nothing uses what 'scan' finds"),
        ("model: m\nkey: k\nscan: true\nauto: {setting: key_unknown}", "looks for the mark itself"),
        ("model: m\nkey: k\nscan: {methods: [magic]}\nauto: true", "expected some of prompts"),
        ("model: m\nkey: k\nscan: {depth: 3}\nauto: true", "depth"),
        ("model: m\nkey: k\nscan: {budget: 0}\nauto: true", "seconds"),
        ("model: m\nkey: k\nscan: true\nerase: {osft: d}\ntransfer: true", "transfer"),
        ("model: m\nkey: k\nerase: {osft: d, chat: true}", "without 'chat'"),
        ("model: m\nkey: k\nerase: {osft: d, sande: d}", "one of 'data'"),
        ("model: m\nkey: k\nauto: {budget: 0}", "'budget'"), ("model: m\nkey: k\nauto: {rate: 1}", "rate"),
        ("model: m\nkey: k\nerase: {data: d}\nppl: {data: t, protocol: quick}", "strided"), ("- 1", "a mapping"),
    ])
func badRecipes(text: String, named: String) throws {
    let error = try #require(throws: MeraserError.self) { try recipe(text) }
    #expect([.badInput, .usage].contains(error.kind))
    #expect(error.message.contains("r.yml") && error.message.contains(named), "\(error.message)")
}

@Test("the demo's recipe is a valid one")
func demoRecipe() throws {
    let recipe = try Recipe(path: packageRoot().appendingPathComponent("Examples/recipes/demo.yml").path)
    guard case .made = recipe.mark else { throw MeraserError.runtime("no mark") }
    #expect(recipe.auto == Recipe.AutoStage() && recipe.erase == nil && recipe.decoys == 999)
    for path in [recipe.model, recipe.clean, recipe.perplexity?.data] {
        #expect(FileManager.default.fileExists(atPath: try #require(path)))
    }
}

@Test("eval names tasks, their data from the recipe's folder, and what to score")
func recipeEvaluation() throws {
    let base = "model: m.mqf\nkey: k.json\nrecover: {data: c.json}\n"
    let whole = try recipe(base + "eval: {tasks: [sciq, copa], data: rows, num_fewshot: 2, limit: 5}\n")
    let stage = try #require(whole.evaluation)
    #expect(stage.tasks.map(\.name) == ["sciq", "copa"])
    #expect(stage.data?.hasPrefix("/") == true && stage.data?.hasSuffix("/rows") == true)
    #expect(stage.options.numFewshot == 2 && stage.options.limit == 5)
    for (text, named) in [
        ("eval: {data: rows}", "tasks"), ("eval: {tasks: sciq, shots: 2}", "shots"), ("eval: {tasks: sciqq}", "sciq"),
    ] {
        let error = #expect(throws: MeraserError.self) { try recipe(base + text) }
        #expect(error?.message.contains(named) == true, "\(error?.message ?? "")")
    }
}

@Test("the audits' and the transfer's recipes are valid ones", arguments: ["utf", "if", "hashchain", "transfer"])
func auditRecipes(name: String) throws {
    let file = name == "transfer" ? "transfer.yml" : "audit-\(name).yml"
    let recipe = try Recipe(path: packageRoot().appendingPathComponent("Examples/recipes/\(file)").path)
    guard case .made(let mark) = recipe.mark else { throw MeraserError.runtime("no mark") }
    #expect(type(of: mark.scheme).name == (name == "transfer" ? "utf" : name))
    #expect(recipe.erase != nil && recipe.recover != nil && (recipe.donor == .unmarked) == (name == "transfer"))
    for path in [recipe.model, recipe.erase?.rows.path, recipe.recover?.rows.path, recipe.perplexity?.data] {
        #expect(FileManager.default.fileExists(atPath: try #require(path)))
    }
}

@Test("the recipe of scan and clean makes a mark, looks for it and removes what it finds")
func scanRecipe() throws {
    let recipe = try Recipe(path: packageRoot().appendingPathComponent("Examples/recipes/scan-and-clean.yml").path)
    guard case .made = recipe.mark else { throw MeraserError.runtime("no mark") }
    #expect(recipe.scan?.methods == [.prompts] && recipe.auto?.setting == .keyKnown && recipe.decoys == 999)
}

@Test(
    "a scheme's settings in a recipe are checked with the section's name",
    arguments: [
        ("{scheme: rot13}", "hashchain"), ("{scheme: if, marker: x}", "'marker' belongs to the scheme backdoor"),
        ("{scheme: if, secret_words: [4, 3]}", "'secret_words'"),
        ("{scheme: if, secret_words: many}", "'secret_words'"),
        ("{scheme: hashchain, variants: 0}", "'variants' is 0"), ("{scheme: backdoor, position: middle}", "random"),
        ("{scheme: hashchain, questions: nowhere.txt}", "nowhere.txt"),
        ("{scheme: utf, guess_test: -1}", "'guess_test'"),
    ])
func badSchemes(section: String, named: String) throws {
    let error = try #require(throws: MeraserError.self) {
        try recipe("model: m\nfingerprint: \(section)\nerase: {data: d}")
    }
    #expect(error.kind == .badInput && error.message.contains(named), "\(error.message)")
    let other = try #require(throws: MeraserError.self) {
        try recipe("model: m\nkey: k\ntransfer: 3\nerase: {data: d}")
    }
    #expect(other.message.contains("'transfer' is an integer"))
}

@Test("a certificate needs 999 decoys, and a reference a certificate")
func certificates() throws {
    let few = try #require(throws: MeraserError.self) {
        try recipe("model: m\nkey: k\ndecoys: 99\nerase: {data: d}")
    }
    #expect(few.kind == .badInput && few.message.contains("'decoys' is 99"))
    let held = try #require(throws: MeraserError.self) {
        try recipe("model: m\nkey: k\nreference: r\nerase: {data: d}")
    }
    #expect(held.message.contains("give 'decoys'"))
}

@Test("durable is true or a list of cells, and needs a certificate; its clean rows are relearn's, else recover's")
func durability() throws {
    let head = "model: m\nkey: k\ndecoys: 999\nerase: {data: d}\n"
    #expect(try recipe(head).durable == nil && recipe(head + "durable: false").durable == nil)
    #expect(try recipe(head + "durable: true").durable == .all)
    #expect(
        try recipe(head + "durable: [q4_0, nf4/relearn_half]").durable
            == .cells([DurabilityCell(.q4), DurabilityCell(.nf4, .relearnHalf)]))
    for (text, part) in [("3", "an integer"), ("[]", "a list of cells"), ("[q5]", "relearn_half"), ("q4_0", "list")] {
        let error = try #require(throws: MeraserError.self) { try recipe(head + "durable: \(text)") }
        #expect(error.kind == .badInput && error.message.contains(part), "\(error.message)")
    }
    let alone = try #require(throws: MeraserError.self) {
        try recipe("model: m\nkey: k\ndurable: true\nerase: {data: d}")
    }
    #expect(alone.message.contains("give 'decoys'"))
    #expect(try recipe(head).cleanRows == nil)
    #expect(try recipe(head + "recover: {data: /r}").cleanRows == "/r")
    #expect(try recipe(head + "recover: {data: /r}\nrelearn: {data: /c}").cleanRows == "/c")
    #expect(try recipe(head + "recover: {mismatch: /r}").cleanRows == nil)
}
