import Quant

/// How a merge combines the models.
public enum MergeMethod: String, Sendable, CaseIterable {
    /// Weighted mean; with equal weights the paper's WAG.
    case linear
    /// Spherical interpolation between the base and one other model.
    case slerp
    /// Base + weighted differences from it.
    case taskArithmetic = "task_arithmetic"
    /// Differences trimmed by magnitude, added where they agree with the elected sign.
    case ties
    /// Task arithmetic over randomly thinned differences.
    case dareLinear = "dare_linear"
    /// TIES over randomly thinned differences.
    case dareTies = "dare_ties"
    /// Task arithmetic without the differences of largest and of smallest magnitude.
    case breadcrumbs
    /// TIES without them.
    case breadcrumbsTies = "breadcrumbs_ties"
    /// TIES over differences that are thinned at random, in each row the larger ones less.
    case della
    /// Task arithmetic over those.
    case dellaLinear = "della_linear"
    /// From the base towards the average, the further the more the differences point the same way.
    case modelStock = "model_stock"
    /// Spherical interpolation between two models, or their differences from a base.
    case nuslerp
    /// The mean on the sphere.
    case karcher
    /// Layers copied as they are.
    case passthrough

    /// True for the methods that add differences from a base.
    var usesDifferences: Bool {
        switch self {
        case .linear, .slerp, .karcher, .passthrough: false
        case .taskArithmetic, .ties, .dareLinear, .dareTies, .breadcrumbs, .breadcrumbsTies, .della, .dellaLinear,
            .modelStock, .nuslerp:
            true
        }
    }
    /// True for the methods that need `base_model`.
    var needsBase: Bool { usesDifferences && self != .nuslerp || self == .slerp }
    /// True where only differences with the elected sign are added.
    var electsSign: Bool { [.ties, .dareTies, .breadcrumbsTies, .della].contains(self) }
    /// True where differences are thinned at random.
    var isRandom: Bool { [.dareLinear, .dareTies, .della, .dellaLinear].contains(self) }
    /// Whether the sum is divided by the weights where no recipe says.
    var normalizesByDefault: Bool { self == .ties || self == .della }

    /// The parameters that every model may have of its own; those of a slice or of the recipe are for all its models.
    public var modelParameters: [String] {
        switch self {
        case .linear, .taskArithmetic, .nuslerp: ["weight"]
        case .slerp, .modelStock, .karcher: []
        case .passthrough: ["scale"]
        case .ties, .dareLinear, .dareTies: ["weight", "density"]
        case .breadcrumbs, .breadcrumbsTies: ["weight", "density", "gamma"]
        case .della, .dellaLinear: ["weight", "density", "epsilon"]
        }
    }

    /// The parameters of a slice or of the whole recipe only. `int8_mask` is about mergekit's memory.
    public var sharedParameters: [String] {
        switch self {
        case .linear: ["normalize"]
        case .slerp: ["t"]
        case .passthrough: []
        case .taskArithmetic: ["lambda", "normalize"]
        case .ties, .dareLinear, .dareTies, .breadcrumbs, .breadcrumbsTies, .della, .dellaLinear:
            ["lambda", "normalize", "rescale", "int8_mask"]
        case .modelStock: ["filter_wise"]
        case .nuslerp: ["nuslerp_row_wise", "nuslerp_flatten"]
        case .karcher: ["max_iter", "tol"]
        }
    }

    /// Those parameters that take true or false.
    static let flags = ["normalize", "rescale", "int8_mask", "filter_wise", "nuslerp_row_wise", "nuslerp_flatten"]
}

/// Parameters of one place of a recipe.
public typealias MergeParameters = [String: MergeSetting]

/// One model of a slice, with the layers it gives.
public struct MergeInput: Sendable, Equatable {
    /// A folder or file.
    public let model: String
    /// The layers, all of them if nil.
    public let layers: Range<Int>?
    /// Parameters of this model.
    public let parameters: MergeParameters
}

/// Layers of the result that follow each other and come from the same models.
public struct MergeSlice: Sendable, Equatable {
    /// The models, base included.
    public let inputs: [MergeInput]
    /// The base of this slice.
    public let base: String?
    /// Parameters of this slice.
    public let parameters: MergeParameters
}

/// A merge recipe: mergekit's YAML.
public struct MergeRecipe: Sendable, Equatable {
    /// The method.
    public let method: MergeMethod
    /// The parts of the result, in order; one for a recipe with `models`.
    public let slices: [MergeSlice]
    /// The base model.
    public let base: String?
    /// The type that the arithmetic is done in; nil: that of the tensors.
    public let type: TensorType?
    /// The type that is written; nil: that of the arithmetic.
    public let outType: TensorType?
    /// Which tokens the result has; nil: rows are merged as they stand, and the donor's tokenizer is the result's.
    public let tokenizer: MergeTokenizer?
    /// Parameters of the module that the slices are in; none for a recipe without `modules`.
    public let moduleParameters: MergeParameters
    /// Parameters of the whole merge.
    public let parameters: MergeParameters

    /// The models in the order in which they are named, the base last if it is only a base.
    public var models: [String] {
        var seen: Set<String> = []
        let names = slices.flatMap { $0.inputs.map(\.model) } + [base].compactMap { $0 }
        return names.filter { seen.insert($0).inserted }
    }

    /// The folders and files that the models lie in, adapters included.
    public var paths: [String] {
        (models + (tokenizer?.models ?? [])).flatMap { (try? ModelReference($0, place: $0))?.paths ?? [$0] }
    }

    /// The filters on tensors' names of all parameters.
    var filters: [String] {
        let inputs = slices.flatMap(\.inputs).map(\.parameters)
        let all = ([parameters, moduleParameters] + slices.map(\.parameters) + inputs).flatMap(\.values)
        return Set(all.flatMap(\.filters)).sorted()
    }

    /// The model whose config and tokenizer the result has.
    public var donor: String { base ?? models[0] }
}
