import Foundation
import Quant

/// What happens to one tensor of the result, with every number that the recipe gives for it.
struct MergeStep: Sendable {
    /// How the inputs become the tensor.
    enum Operation: Sendable {
        /// The one input, times a factor if there is one.
        case copy(scale: Float?)
        /// Σ weights[i] · input i / divisor.
        case linear(weights: [Float], divisor: Float)
        /// Between input 0, the base, and input 1.
        case slerp(t: Float)
        /// Differences of the other inputs from the last one, the base.
        case tasks(TaskArithmetic)
    }

    let name: String
    let shape: [Int]
    let inputs: [ElementReader]
    let operation: Operation
    /// The type that the arithmetic is done in.
    let type: TensorType
    /// The type that is written.
    let outType: TensorType

    var elementCount: Int { inputs[0].count }
}

/// The numbers of task arithmetic and its relatives for one tensor.
struct TaskArithmetic: Sendable {
    /// One a difference, in the order of the inputs.
    let weights: [Double]
    let densities: [Double]
    let lambda: Double
    let normalizes: Bool
    let rescales: Bool
    let method: MergeMethod
    /// What the random masks of the differences depend on.
    let maskKeys: [UInt64]
}

/// All tensors of a merge's result, checked, in the order of the model; nothing has been read but headers.
struct MergePlan: Sendable {
    let recipe: MergeRecipe
    let donor: MergeModel
    let steps: [MergeStep]
    /// Layers of the result.
    let layerCount: Int
    private(set) var warnings: [String]

    /// Opens the models and resolves every parameter. Errors: `badInput` naming file, tensor and parameter.
    init(recipe: MergeRecipe, seed: UInt64) throws {
        self.recipe = recipe
        let models = Dictionary(uniqueKeysWithValues: try recipe.models.map { ($0, try MergeModel(path: $0)) })
        guard let donor = models[recipe.donor] else { preconditionFailure("the donor \(recipe.donor) is no model") }
        self.donor = donor
        warnings = recipe.warnings
        if recipe.requiresBaseTokenizer { try Self.compareVocabularies(recipe, models) }
        var builder = MergePlanBuilder(recipe: recipe, models: models, seed: seed)
        steps = try builder.build()
        layerCount = builder.layerCount
        if let first = donor.leftOut.first {
            warnings.append(
                "\(donor.leftOut.count) tensors like '\(first)' left out: transformers computes them itself")
        }
        let quantized = recipe.type == nil && steps.contains { $0.inputs.contains { $0.type.isTiled } }
        if quantized { warnings.append("quantized tensors count as float32: give 'dtype' or 'out_dtype' for less") }
    }

    /// The tokens and their numbers must be the base's: embeddings are merged row by row.
    private static func compareVocabularies(_ recipe: MergeRecipe, _ models: [String: MergeModel]) throws {
        guard let base = models[recipe.donor], let bytes = try base.textFile("tokenizer.json") else { return }
        let wanted = try vocabulary(bytes, base.path)
        for path in recipe.models where path != recipe.donor {
            guard let other = try models[path]?.textFile("tokenizer.json"), other != bytes else { continue }
            guard try vocabulary(other, path) == wanted else {
                throw MeraserError.badInput(
                    "\(path): the vocabulary is not that of \(base.path); 'tokenizer_source: base' merges embeddings row by "
                        + "row and cannot reorder tokens")
            }
        }
    }

    private static func vocabulary(_ bytes: [UInt8], _ path: String) throws -> [JSONValue?] {
        let json = try JSONValue.parse(bytes, file: path + "/tokenizer.json")
        return [json["model"]?["vocab"], json["added_tokens"]]
    }
}

/// Builds the steps of a plan slice by slice.
private struct MergePlanBuilder {
    let recipe: MergeRecipe
    let models: [String: MergeModel]
    let seed: UInt64
    private(set) var layerCount = 0
    private var steps: [MergeStep] = []

    init(recipe: MergeRecipe, models: [String: MergeModel], seed: UInt64) {
        self.recipe = recipe
        self.models = models
        self.seed = seed
    }

    mutating func build() throws -> [MergeStep] {
        guard let first = recipe.slices.first, let last = recipe.slices.last else { return [] }
        for name in try names(of: first, inLayers: false) where name.isBeforeLayers {
            try append(name, out: name.text, slice: first, layer: 0, t: 0)
        }
        for slice in recipe.slices { try append(slice) }
        for name in try names(of: last, inLayers: false) where !name.isBeforeLayers {
            try append(name, out: name.text, slice: last, layer: 0, t: 0)
        }
        guard !steps.isEmpty else { throw MeraserError.badInput("\(recipe.donor) has no tensors") }
        return steps
    }

    private mutating func append(_ slice: MergeSlice) throws {
        let ranges = try slice.inputs.map { input in
            guard let model = models[input.model] else { preconditionFailure("\(input.model) is not open") }
            let layers = input.layers ?? 0..<model.layerCount
            guard layers.upperBound <= model.layerCount else {
                throw MeraserError.badInput(
                    "\(input.model) has \(model.layerCount) layers, the recipe asks for \(layers.lowerBound) to "
                        + "\(layers.upperBound)")
            }
            return layers
        }
        guard let count = ranges.first?.count, ranges.allSatisfy({ $0.count == count }) else {
            let counts = zip(slice.inputs, ranges).map { "\($0.model) \($1.count)" }.joined(separator: ", ")
            throw MeraserError.badInput("the models have different numbers of layers: \(counts); use 'slices'")
        }
        let templates = try names(of: slice, inLayers: true)
        for layer in 0..<count {
            // mergekit's place of a layer: 0 to 1 over the slice, and 1 in a slice of one layer.
            let t = count > 1 ? Double(layer) / Double(count - 1) : 1
            for name in templates {
                try append(name, out: name.inLayer(layerCount), slice: slice, layer: layer, t: t)
            }
            layerCount += 1
        }
    }

    /// Every tensor that one of the slice's models has, outside the layers or in them (as that of layer 0).
    private func names(of slice: MergeSlice, inLayers: Bool) throws -> [TensorName] {
        var seen: Set<[UInt8]> = []
        var result: [TensorName] = []
        let order = slice.inputs.sorted { ($0.model == recipe.donor ? 0 : 1) < ($1.model == recipe.donor ? 0 : 1) }
        for input in order {
            for name in models[input.model]?.names ?? [] where (name.layer != nil) == inLayers {
                if seen.insert(Array(name.template.utf8)).inserted {
                    result.append(inLayers ? TensorName(name.inLayer(0)) : name)
                }
            }
        }
        return result
    }

    /// One tensor of the result: `layer` counts from the beginning of the slice.
    private mutating func append(_ name: TensorName, out: String, slice: MergeSlice, layer: Int, t: Double) throws {
        var readers: [ElementReader] = []
        for input in slice.inputs {
            let own = name.inLayer((input.layers?.lowerBound ?? 0) + layer)
            guard let reader = try models[input.model]?.tensor(own) else {
                throw MeraserError.badInput(
                    "\(input.model): tensor '\(own)' is missing, which another model of the merge has")
            }
            guard (readers.first ?? reader).shape == reader.shape else {
                throw MeraserError.badInput(
                    "tensor '\(own)' has shape \(reader.shape) in \(input.model), but \(readers[0].shape) in "
                        + "\(slice.inputs[0].model); expected equal shapes")
            }
            readers.append(reader)
        }
        let type = recipe.type ?? Self.promoted(readers.map(\.type))
        let resolver = ParameterResolver(
            recipe: recipe, slice: slice, out: out, t: t,
            names: slice.inputs.map { name.inLayer(($0.layers?.lowerBound ?? 0) + layer) })
        let (operation, order) = try resolver.operation(type: type, seed: seed)
        steps.append(
            MergeStep(
                name: out, shape: readers[0].shape, inputs: order.map { readers[$0] },
                operation: operation, type: type, outType: recipe.outType ?? type))
    }

    /// torch's promotion; quantized types count as f32.
    private static func promoted(_ types: [TensorType]) -> TensorType {
        let first = types[0]
        return types.allSatisfy { $0 == first } && !first.isTiled ? first : .f32
    }
}
