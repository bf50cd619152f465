import Base
import Foundation
import Kernels
import Merge
import Quant
import TestSupport
import Testing

private let embedding = "model.embed_tokens.weight"
private let head = "lm_head.weight"

/// A config.json with those members besides a Llama's.
private func config(_ members: String) -> String {
    "{\"model_type\": \"llama\", \"num_hidden_layers\": 3, \"vocab_size\": 37, \"torch_dtype\": \"float32\"\(members)}"
}

/// Writes a model; `headValue` is that of all weights of a head of its own.
private func write(
    _ folder: URL, _ name: String, seed: UInt64, head headValue: Float? = nil, config members: String = "",
    layers: Int = 3
) throws {
    var tensors = MergeFolders.tensors(seed: seed, layers: layers)
    if let headValue { tensors[head] = ([37, 24], Array(repeating: headValue, count: 37 * 24)) }
    try MergeFolders.write(folder.appendingPathComponent(name), tensors, config: config(members))
}

/// Merges into `out` and gives its tensors, its config.json and the warnings.
private func merged(
    _ recipe: String, in folder: URL, out: String = "out"
) throws -> (store: any WeightStore, config: JSONValue, warnings: [String]) {
    var options = MergeOptions()
    options.overwrite = true
    let path = folder.appendingPathComponent(out).path
    let report = try mergeModels(try MergeFolders.recipe(recipe, in: folder), destination: path, options: options)
    let store = try openWeightStore(path: path)
    return (store, try JSONValue.parse(try #require(try store.textFile("config.json")), file: "c"), report.warnings)
}

private func halves(_ a: String, _ b: String, _ more: String = "") -> String {
    """
    {"merge_method": "linear", "parameters": {"weight": 0.5}\(more),
     "models": [{"model": "FOLDER/\(a)"}, {"model": "FOLDER/\(b)"}]}
    """
}

@Test(
    "a tied and an untied model: the tied one's head is its embedding, the result has a head and says so",
    arguments: [("tied", "own"), ("own", "tied"), ("dead", "own"), ("silent", "own")])
func mergesTiedHeads(first: String, second: String) throws {
    try withTemporaryFolder { folder in
        try write(folder, "tied", seed: 1, config: ", \"tie_word_embeddings\": true")
        // A head that config.json ties is never read; a model without one says nothing.
        try write(folder, "dead", seed: 1, head: 99, config: ", \"tie_word_embeddings\": true")
        try write(folder, "silent", seed: 1)
        try write(folder, "own", seed: 2, head: 3, config: ", \"tie_word_embeddings\": false")
        let (store, config, warnings) = try merged(halves(first, second), in: folder)
        let tied = try openWeightStore(path: folder.appendingPathComponent("tied").path)
        let want = try tied.tensor(embedding).floats().map { (0.5 * $0 + 0.5 * 3) / 1 }
        #expect(try store.tensor(head).floats() == want)
        #expect(config["tie_word_embeddings"]?.bool == false)
        #expect(warnings.contains { $0.contains("'lm_head.weight' left out") } == [first, second].contains("dead"))
    }
}

@Test("models that are all tied stay tied, also where a file holds a head that nothing reads")
func keepsTiedHeads() throws {
    try withTemporaryFolder { folder in
        try write(folder, "a", seed: 1, config: ", \"tie_word_embeddings\": true")
        try write(folder, "b", seed: 2, head: 99, config: ", \"tie_word_embeddings\": true")
        let (store, config, _) = try merged(halves("a", "b"), in: folder)
        #expect(!store.hasTensor(head) && config["tie_word_embeddings"]?.bool == true)
    }
}

@Test("where only the first slice has a head of its own, the last slice's embedding is the head of the result")
func mergesTiedSlices() throws {
    try withTemporaryFolder { folder in
        try write(folder, "own", seed: 1, head: 3)
        try write(folder, "tied", seed: 2, config: ", \"tie_word_embeddings\": true")
        let (store, config, _) = try merged(
            """
            {"merge_method": "passthrough", "slices": [
              {"sources": [{"model": "FOLDER/own", "layer_range": [0, 2]}]},
              {"sources": [{"model": "FOLDER/tied", "layer_range": [1, 3]}]}]}
            """, in: folder)
        let tied = try openWeightStore(path: folder.appendingPathComponent("tied").path)
        #expect(try store.tensor(head).floats() == (try tied.tensor(embedding).floats()))
        #expect(config["tie_word_embeddings"]?.bool != true && config["num_hidden_layers"]?.int == 4)
    }
}

@Test("layers that move take their entries of config.json along; keys that count layers are named")
func movesLayerEntries() throws {
    try withTemporaryFolder { folder in
        let types = ", \"layer_types\": [\"a\", \"b\", \"c\"], \"sliding_window_pattern\": 3"
        let window = ", \"max_window_layers\": 3, \"use_sliding_window\": false"
        try write(folder, "m", seed: 1, config: types + window)
        try write(folder, "n", seed: 2, config: ", \"layer_types\": [\"x\", \"y\", \"z\"]")
        func slices(_ parts: [(String, Int, Int)]) -> String {
            let list = parts.map {
                "{\"sources\": [{\"model\": \"FOLDER/\($0)\", \"layer_range\": [\($1), \($2)]}]}"
            }
            return "{\"merge_method\": \"passthrough\", \"slices\": [\(list.joined(separator: ", "))]}"
        }
        let (_, config, warnings) = try merged(slices([("m", 0, 2), ("n", 1, 3), ("m", 0, 1)]), in: folder)
        #expect(config["layer_types"] == .array(["a", "b", "y", "z", "a"].map { .text($0) }))
        #expect(config["num_hidden_layers"]?.int == 5)
        #expect(warnings == ["config.json's 'sliding_window_pattern' counts layers, which are numbered anew: check it"])
        // Nothing moves in a merge of whole models, or when all layers stay in place.
        let (_, same, none) = try merged(slices([("m", 0, 2), ("m", 2, 3)]), in: folder)
        #expect(same["layer_types"] == .array(["a", "b", "c"].map { .text($0) }) && none.isEmpty)

        try write(folder, "short", seed: 3, config: ", \"layer_types\": [\"x\"]")
        let error = mergeError { _ = try merged(slices([("m", 0, 1), ("short", 2, 3)]), in: folder) }
        #expect(error?.message.contains("'layer_types'") == true && error?.message.contains("layer 2") == true)
    }
}

@Test("a merge leaves out how the weights were quantized, and says types, vocabulary and differences as they are")
func describesTensors() throws {
    try withTemporaryFolder { folder in
        try write(folder, "a", seed: 1, config: ", \"quantization_config\": {\"quant_method\": \"bitsandbytes\"}")
        try write(folder, "b", seed: 2, config: ", \"num_attention_heads\": 8")
        let (_, config, warnings) = try merged(halves("a", "b", ", \"dtype\": \"bfloat16\""), in: folder)
        #expect(config["quantization_config"] == nil && config["torch_dtype"]?.string == "bfloat16")
        #expect(config["vocab_size"]?.int == 37)
        #expect(warnings.contains { $0.hasPrefix("'quantization_config' left out") })
        #expect(warnings.contains { $0.contains("/b: config.json says 8 for 'num_attention_heads'") })

        // A filter that fits no tensor filters nothing.
        try write(folder, "c", seed: 3, config: ", \"num_attention_heads\": 8")
        let filtered = halves("b", "c").replacing(
            "0.5", with: "[{\"filter\": \"self_atn\", \"value\": 1}, {\"value\": 0.5}]")
        let (_, _, unused) = try merged(filtered, in: folder)
        #expect(unused == ["the filter 'self_atn' is part of no tensor's name: what it filters is not used"])
    }
}

/// Merges all layers of `m` under the config.json of a donor with those tensors instead of its own and a vocabulary of 40:
/// the vocabulary that the result says, or the error.
private func underForeignDonor(_ tensors: MergeFolders.Tensors) throws -> (vocabulary: Int?, error: String) {
    try withTemporaryFolder { folder in
        try write(folder, "m", seed: 1)
        let all = MergeFolders.tensors(seed: 2).merging(tensors) { _, new in new }
        try MergeFolders.write(
            folder.appendingPathComponent("donor"), all, config: config("").replacing("37", with: "40"))
        let recipe = """
            {"merge_method": "passthrough", "base_model": "FOLDER/donor", "slices": [
              {"sources": [{"model": "FOLDER/m", "layer_range": [0, 3]}]}]}
            """
        do {
            return (try merged(recipe, in: folder).config["vocab_size"]?.int, "")
        } catch let error as MeraserError {
            return (nil, error.message)
        }
    }
}

@Test("the config.json of a model that is in no slice must describe the result; only its vocabulary may differ")
func checksForeignDonor() throws {
    func zeros(_ shape: [Int]) -> (shape: [Int], values: [Float]) {
        (shape, [Float](repeating: 0, count: shape.reduce(1, *)))
    }
    #expect(try underForeignDonor([embedding: zeros([40, 24])]) == (37, ""))
    let names = (0..<3).map { "model.layers.\($0).mlp.up_proj.weight" }
    let narrow = try underForeignDonor(Dictionary(uniqueKeysWithValues: names.map { ($0, zeros([48, 24])) }))
    #expect(narrow.error.contains(names[0]) && narrow.error.contains("[48, 24]"), "\(narrow)")
    let biased = try underForeignDonor(["model.layers.1.self_attn.q_proj.bias": zeros([24])])
    #expect(biased.error.contains("q_proj.bias' is not in the result"), "\(biased)")
    let norm = try underForeignDonor(["model.norm.weight": zeros([25])])
    #expect(norm.error.contains("model.norm.weight"), "\(norm)")
}

@Test("an export leaves out a head that nothing reads, old buffers, and how the weights were quantized")
func exportsOwnTensors() throws {
    try withTemporaryFolder { folder in
        var tensors = MergeFolders.tensors(seed: 1)
        tensors[head] = ([37, 24], Array(repeating: 9, count: 37 * 24))
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ([12], Array(repeating: 1, count: 12))
        let members = ", \"tie_word_embeddings\": true, \"quantization_config\": {\"quant_method\": \"awq\"}"
        try MergeFolders.write(folder.appendingPathComponent("m"), tensors, config: config(members))
        let out = folder.appendingPathComponent("out").path
        let report = try exportHuggingFace(
            store: try openWeightStore(path: folder.appendingPathComponent("m").path), adapters: [], destination: out,
            options: HuggingFaceExportOptions(), kernels: KernelContext(threads: 1))
        let store = try openWeightStore(path: out)
        #expect(Set(store.tensorNames) == Set(MergeFolders.tensors(seed: 1).keys))
        let written = try JSONValue.parse(try #require(try store.textFile("config.json")), file: "c")
        #expect(written["tie_word_embeddings"]?.bool == true && written["quantization_config"] == nil)
        #expect(written["torch_dtype"]?.string == "bfloat16")
        #expect(report.warnings.count == 3, "\(report.warnings)")
    }
}
