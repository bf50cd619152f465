import Base
import Foundation
import Merge
import Quant
import TestSupport

/// Checkpoints of a few tensors for merges.
enum MergeFolders {
    typealias Tensors = [String: (shape: [Int], values: [Float])]

    /// Gaussian tensors of a model with that many layers, odd sizes on purpose.
    static func tensors(seed: UInt64, layers: Int = 3, scale: Float = 0.1) -> Tensors {
        var random = SeededRandom(seed: seed)
        var result: Tensors = [:]
        func add(_ name: String, _ shape: [Int]) {
            result[name] = (shape, random.gaussians(shape.reduce(1, *), scale: scale))
        }
        add("model.embed_tokens.weight", [37, 24])
        for layer in 0..<layers {
            add("model.layers.\(layer).self_attn.q_proj.weight", [24, 24])
            add("model.layers.\(layer).mlp.up_proj.weight", [56, 24])
            add("model.layers.\(layer).input_layernorm.weight", [24])
        }
        add("model.norm.weight", [24])
        return result
    }

    /// `base` with Gaussian noise; every fifth number stays as it is.
    static func variation(of base: Tensors, seed: UInt64, scale: Float = 0.05) -> Tensors {
        var random = SeededRandom(seed: seed)
        var result = base
        for name in base.keys.sorted() {
            let count = base[name]?.values.count ?? 0
            for i in 0..<count {
                let change = random.gaussian() * scale
                if i % 5 != 0 { result[name]?.values[i] += change }
            }
        }
        return result
    }

    /// A config.json of three layers.
    static let config = "{\"model_type\": \"llama\", \"num_hidden_layers\": 3, \"torch_dtype\": \"float32\"}\n"

    /// Writes a Hugging Face folder.
    static func write(
        _ folder: URL, _ tensors: Tensors, type: TensorType = .f32, config: String = config
    ) throws {
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try Data(config.utf8).write(to: folder.appendingPathComponent("config.json"))
        let names = tensors.keys.sorted()
        let declarations = names.map { TensorDeclaration(name: $0, type: type, shape: tensors[$0]?.shape ?? []) }
        let writer = try SafetensorsWriter(
            path: folder.appendingPathComponent("model.safetensors").path, tensors: declarations)
        for name in names {
            try plainBytes(tensors[name]?.values ?? [], type: type).withUnsafeBytes { try writer.write(name, $0) }
        }
        try writer.finish()
    }

    /// Reads a recipe from JSON in which `FOLDER` stands for that folder.
    static func recipe(_ json: String, in folder: URL) throws -> MergeRecipe {
        let text = json.replacingOccurrences(of: "FOLDER", with: folder.path)
        return try MergeRecipe(try JSONValue.parse(Array(text.utf8), file: "recipe"), file: "recipe")
    }

    /// Merges into `FOLDER/out` and opens that.
    static func merge(_ json: String, in folder: URL, threads: Int = 2, out: String = "out") throws -> any WeightStore {
        var options = MergeOptions()
        options.threads = threads
        let path = folder.appendingPathComponent(out).path
        _ = try mergeModels(try recipe(json, in: folder), destination: path, options: options)
        return try openWeightStore(path: path)
    }
}

/// The error that `body` throws, or nil.
func mergeError(_ body: () throws -> Void) -> MeraserError? {
    do {
        try body()
        return nil
    } catch {
        return error as? MeraserError
    }
}
