import Base
import Foundation
import Merge
import TestSupport
import Testing

/// Recipes that are wrong, each with a word of the error that it must end in.
private let wrongRecipes: [(recipe: String, words: [String])] = [
    ("{\"models\": [{\"model\": \"a\"}]}", ["merge_method", "missing"]),
    ("{\"merge_method\": \"liner\", \"models\": [{\"model\": \"a\"}]}", ["liner", "linear, slerp"]),
    ("{\"merge_method\": \"linear\"}", ["models", "slices"]),
    ("{\"merge_method\": \"linear\", \"models\": []}", ["models"]),
    ("{\"merge_method\": \"linear\", \"models\": [{\"model\": \"a\"}], \"slices\": [{}]}", ["exactly one"]),
    ("{\"merge_method\": \"linear\", \"modles\": [{\"model\": \"a\"}]}", ["modles", "did you mean 'modules'"]),
    ("{\"merge_method\": \"linear\", \"models\": [{\"model\": \"a\", \"weight\": 1}]}", ["model 1", "weight"]),
    (
        "{\"merge_method\": \"ties\", \"base_model\": \"a\", \"models\": [{\"model\": \"b\", \"parameters\": "
            + "{\"wieght\": 1}}]}", ["wieght", "did you mean 'weight'"]
    ),
    ("{\"merge_method\": \"ties\", \"models\": [{\"model\": \"b\"}]}", ["base_model"]),
    ("{\"merge_method\": \"linear\", \"models\": [{\"model\": \"a\"}, {\"model\": \"a\"}]}", ["twice"]),
    ("{\"merge_method\": \"linear\", \"models\": [{\"model\": \"a+b+c\"}]}", ["a+b+c", "MODEL+ADAPTER"]),
    ("{\"merge_method\": \"linear\", \"models\": [{\"model\": \"a\"}], \"dtype\": \"int8\"}", ["dtype", "bfloat16"]),
    (
        linear + "\"tokenizer\": {\"tokens\": {\"x\": {\"force\": true}}}}",
        ["'x'", "'source' is missing"]
    ),
    (
        linear + "\"tokenizer\": {\"tokens\": {\"x\": {\"source\": {\"kind\": \"model_token\", \"model\": \"a\"}}}}}",
        ["'x'", "exactly one of 'token' and 'token_id'"]
    ),
    (linear + "\"tokenizer\": {\"tokens\": {\"x\": {\"source\": {\"kind\": \"mean\"}}}}}", ["'x'", "kind"]),
    (
        "{\"merge_method\": \"linear\", \"models\": [{\"model\": \"a\", \"parameters\": {\"weight\": \"much\"}}]}",
        ["weight", "number"]
    ),
    (
        "{\"merge_method\": \"linear\", \"models\": [{\"model\": \"a\", \"parameters\": {\"weight\": [{\"filter\": "
            + "\"x\"}]}}]}", ["weight", "value"]
    ),
    (
        "{\"merge_method\": \"slerp\", \"base_model\": \"a\", \"models\": [{\"model\": \"a\"}], \"parameters\": "
            + "{\"t\": 1}}", ["slerp", "one other"]
    ),
    (
        "{\"merge_method\": \"passthrough\", \"slices\": [{\"sources\": [{\"model\": \"a\", \"layer_range\": [3, 1]}]}]}",
        ["layer_range"]
    ),
    (
        "{\"merge_method\": \"linear\", \"slices\": [{\"sources\": [{\"model\": \"a\", \"layer_range\": [0, 1]}, "
            + "{\"model\": \"b\", \"layer_range\": [0, 2]}]}]}", ["slice 1", "different lengths"]
    ),
    // What would be accepted and not used.
    (linear + "\"chat_template\": \"auto\"}", ["chat_template"]),
    (linear + "\"write_readme\": true}", ["write_readme"]),
    (linear + "\"modules\": {}}", ["modules"]),
    (linear + "\"tokenizer\": {\"source\": \"base\", \"token\": {}}}", ["tokenizer", "token"]),
    (linear + "\"tokenizer\": {\"pad_to_multiple_of\": 0}}", ["pad_to_multiple_of"]),
    (linear + "\"tokenizer\": {\"source\": \"base\"}, \"tokenizer_source\": \"base\"}", ["only one"]),
    (linear + "\"parameters\": {\"density\": 0.5}}", ["density", "linear"]),
    (linear + "\"parameters\": {\"int8_mask\": true}}", ["int8_mask", "linear"]),
    (linear + "\"parameters\": {\"t\": 0.5}}", ["'t'", "linear"]),
    (tasks("task_arithmetic", "{\"weight\": 1, \"density\": 0.5}"), ["density", "task_arithmetic"]),
    (tasks("task_arithmetic", "{\"weight\": 1}", "{\"rescale\": true}"), ["rescale", "task_arithmetic"]),
    (tasks("ties", "{\"weight\": 1, \"normalize\": false}"), ["normalize", "one model", "slice"]),
    (tasks("dare_ties", "{\"weight\": 1, \"lambda\": 0.5}"), ["lambda", "one model"]),
    (tasks("ties", "{\"weight\": 1, \"epsilon\": 0.1}"), ["epsilon", "ties"]),
    (
        "{\"merge_method\": \"ties\", \"base_model\": \"a\", \"models\": [{\"model\": \"a\", \"parameters\": "
            + "{\"weight\": 1}}, {\"model\": \"b\"}]}", ["weight", "base"]
    ),
    (
        "{\"merge_method\": \"slerp\", \"base_model\": \"a\", \"models\": [{\"model\": \"a\"}, {\"model\": \"b\", "
            + "\"parameters\": {\"t\": 0.5}}]}", ["'t'", "one model"]
    ),
]

private let linear = "{\"merge_method\": \"linear\", \"models\": [{\"model\": \"a\"}], "

private func tasks(_ method: String, _ own: String, _ shared: String = "{}") -> String {
    "{\"merge_method\": \"\(method)\", \"base_model\": \"a\", \"models\": [{\"model\": \"b\", \"parameters\": \(own)}], "
        + "\"parameters\": \(shared)}"
}

@Test("a wrong recipe ends in one line that names the place and what was expected", arguments: wrongRecipes.indices)
func refusesWrongRecipes(index: Int) throws {
    let (text, words) = wrongRecipes[index]
    let error = try #require(
        mergeError {
            _ = try MergeRecipe(try JSONValue.parse(Array(text.utf8), file: "r.yml"), file: "r.yml")
        })
    #expect(error.kind == .badInput && error.message.hasPrefix("r.yml"))
    for word in words { #expect(error.message.contains(word), "\(error.message)") }
}

@Test("models that do not fit together are refused by tensor, and nothing is left behind")
func refusesForeignModels() throws {
    try withTemporaryFolder { folder in
        let base = MergeFolders.tensors(seed: 1)
        var missing = base
        missing["model.norm.weight"] = nil
        var wide = base
        wide["model.norm.weight"] = ([25], Array(repeating: 1, count: 25))
        var infinite = base
        infinite["model.layers.1.mlp.up_proj.weight"]?.values[30] = .infinity
        var huge = base
        huge["model.norm.weight"]?.values[3] = 70_000
        let models = [
            ("base", base), ("missing", missing), ("wide", wide), ("infinite", infinite), ("huge", huge),
            ("deep", MergeFolders.tensors(seed: 2, layers: 4)),
        ]
        for (name, tensors) in models { try MergeFolders.write(folder.appendingPathComponent(name), tensors) }
        let before = try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
        func expectError(_ model: String, _ words: [String], extra: String = "") throws {
            let error = try #require(
                mergeError {
                    _ = try MergeFolders.merge(
                        """
                        {"merge_method": "linear", "parameters": {"weight": 1, "normalize": false}\(extra),
                         "models": [{"model": "FOLDER/base"}, {"model": "FOLDER/\(model)"}]}
                        """, in: folder)
                }, "\(model)")
            #expect(error.kind == .badInput)
            for word in words { #expect(error.message.contains(word), "\(error.message)") }
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == before)
        }
        try expectError("missing", ["model.norm.weight", "missing"])
        try expectError("wide", ["model.norm.weight", "[25]", "[24]"])
        try expectError("infinite", ["model.layers.1.mlp.up_proj.weight", "row 1, column 6"])
        try expectError("deep", ["numbers of layers"])
        try expectError("nowhere", ["nowhere"])
        try expectError("huge", ["model.norm.weight", "too large"], extra: ", \"dtype\": \"float16\"")
        let noWeight = try #require(
            mergeError {
                _ = try MergeFolders.merge(
                    "{\"merge_method\": \"linear\", \"models\": [{\"model\": \"FOLDER/base\"}]}", in: folder)
            })
        #expect(noWeight.message.contains("weight") && noWeight.message.contains("embed_tokens"))
    }
}

@Test("an interrupted merge leaves nothing behind, a dry run writes nothing")
func interruptionLeavesNothing() throws {
    try withTemporaryFolder { folder in
        try MergeFolders.write(folder.appendingPathComponent("a"), MergeFolders.tensors(seed: 1))
        let recipe = try MergeFolders.recipe(
            "{\"merge_method\": \"linear\", \"models\": [{\"model\": \"FOLDER/a\"}], \"parameters\": {\"weight\": 1}}",
            in: folder)
        let out = folder.appendingPathComponent("out").path
        let error = mergeError {
            _ = try mergeModels(recipe, destination: out, options: MergeOptions(), isInterrupted: { true })
        }
        #expect(error?.kind == .interrupted)
        var options = MergeOptions()
        options.dryRun = true
        let report = try mergeModels(recipe, destination: out, options: options)
        #expect(report.tensorCount == 11 && report.fileNames.isEmpty)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["a"])
    }
}
