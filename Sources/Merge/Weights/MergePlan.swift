import Base
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
        /// From the last input, the base, towards the average of the others; with a factor a row if `filterWise`.
        case modelStock(filterWise: Bool)
        /// On an arc from input 0 to input 1; of their differences from the last input if there is a base.
        case nuslerp(NuSLERP, hasBase: Bool)
        /// The mean of all inputs on the sphere.
        case karcher(maxIterations: Int, tolerance: Double)
    }

    let name: String
    let shape: [Int]
    let inputs: [ElementReader]
    let operation: Operation
    /// The type that the arithmetic is done in.
    let type: TensorType
    /// The type that is written.
    let outType: TensorType
    /// The names that filters of the recipe see.
    let filteredNames: [String]

    var elementCount: Int { inputs[0].entry.elementCount }
    /// Elements of a row.
    var columns: Int { inputs[0].entry.columns }

    /// The whole rows that those elements lie in.
    func rows(around range: Range<Int>) -> Range<Int> {
        range.lowerBound / columns * columns..<(range.upperBound + columns - 1) / columns * columns
    }

    /// True if the filter is part of one of the names that filters see.
    func isReached(by filter: String) -> Bool { filteredNames.contains { $0.contains(filter) } }
}

/// The numbers of task arithmetic and its relatives for one tensor.
struct TaskArithmetic: Sendable {
    /// One a difference, in the order of the inputs.
    let weights: [Double]
    let densities: [Double]
    /// How far the shares of a row's smallest and largest magnitudes are from the density, of DELLA.
    let epsilons: [Double]
    /// Shares of the largest magnitudes that go, of breadcrumbs.
    let gammas: [Double]
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
    /// What the result's config.json says otherwise than the donor's.
    let configChanges: ConfigChanges
    /// The result's tokens, where they are made of several models'; nil: they are the donor's.
    let vocabulary: MergedVocabulary?
    private(set) var warnings: [String]

    /// Opens the models and resolves every parameter. Errors: `badInput` naming file, tensor and parameter.
    init(recipe: MergeRecipe, seed: UInt64) throws {
        self.recipe = recipe
        let models = Dictionary(uniqueKeysWithValues: try recipe.models.map { ($0, try MergeModel(path: $0)) })
        guard let donor = models[recipe.donor] else { preconditionFailure("the donor \(recipe.donor) is no model") }
        self.donor = donor
        warnings = recipe.models.flatMap { models[$0]?.warnings ?? [] }
        vocabulary = try MergedVocabulary(recipe, models, donor, &warnings)
        var builder = MergePlanBuilder(
            recipe: recipe, models: models, donor: donor, vocabulary: vocabulary, seed: seed)
        steps = try builder.build()
        configChanges = ConfigChanges(
            types: Set(steps.map(\.outType)), tensors: steps.map { ($0.name, $0.shape) }, layers: builder.layers)
        warnings += Self.differences(recipe, models, donor)
        for filter in recipe.filters where !steps.contains(where: { $0.isReached(by: filter) }) {
            warnings.append("the filter '\(filter)' is part of no tensor's name: what it filters is not used")
        }
        let quantized = recipe.type == nil && steps.contains { $0.inputs.contains(where: \.isQuantized) }
        if quantized { warnings.append("quantized tensors count as float32: give 'dtype' or 'out_dtype' for less") }
    }

    /// What config.json says about how weights are used, not about their shapes.
    private static let meaningKeys = [
        "model_type", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act", "rms_norm_eps",
        "rope_theta",
        "rope_scaling", "rope_parameters", "sliding_window",
    ]

    /// Warnings about models whose weights mean something else than the result's config.json says.
    private static func differences(
        _ recipe: MergeRecipe, _ models: [String: MergeModel], _ donor: MergeModel
    ) -> [String] {
        guard let wanted = donor.config else { return [] }
        return recipe.models.compactMap { path in
            guard let config = models[path]?.config else { return nil }
            // What a GGUF file's metadata says goes by other keys: one that only one of the two has means nothing.
            let isMade = [path, donor.path].contains { models[$0]?.isGGUF == true }
            let keys = meaningKeys.filter { key in
                let (one, other) = (config[key] ?? .null, wanted[key] ?? .null)
                if isMade, one.isNull || other.isNull { return false }
                return one.double.map { $0 != other.double } ?? (one != other)
            }
            guard let key = keys.first else { return nil }
            func text(_ value: JSONValue?) -> String { value?.serialized() ?? "nothing" }
            return
                "\(path): config.json says \(text(config[key])) for '\(key)', the result's says \(text(wanted[key])), "
                + "from \(donor.path)"
                + (keys.count > 1 ? "; other keys differ too: \(keys.dropFirst().joined(separator: ", "))" : "")
        }
    }
}
