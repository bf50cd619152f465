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
    /// Layers copied as they are.
    case passthrough

    /// True for the methods that add differences from a base.
    var usesDifferences: Bool { ![.linear, .slerp, .passthrough].contains(self) }
    /// True for the methods that need `base_model`.
    var needsBase: Bool { usesDifferences || self == .slerp }
    /// True where only differences with the elected sign are added.
    var electsSign: Bool { self == .ties || self == .dareTies }
    /// True where differences are thinned at random.
    var isRandom: Bool { self == .dareLinear || self == .dareTies }

    /// The parameters it reads; the flags among them take true or false.
    var parameters: [String] {
        switch self {
        case .linear: ["weight", "normalize"]
        case .slerp: ["t"]
        case .passthrough: ["scale"]
        case .taskArithmetic, .ties, .dareLinear, .dareTies:
            ["weight", "density", "lambda", "normalize", "rescale", "int8_mask"]
        }
    }

    /// Those of `parameters` that are flags, or that other methods read and this one may be given without harm.
    static let flags = ["normalize", "rescale", "int8_mask"]
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
    /// True for `tokenizer_source: base`: all models must have the base's vocabulary.
    public let requiresBaseTokenizer: Bool
    /// Parameters of the whole merge.
    public let parameters: MergeParameters
    /// What is odd about it but does no harm.
    public let warnings: [String]

    /// The models in the order in which they are named, the base last if it is only a base.
    public var models: [String] {
        var seen: Set<String> = []
        let names = slices.flatMap { $0.inputs.map(\.model) } + [base].compactMap { $0 }
        return names.filter { seen.insert($0).inserted }
    }

    /// The model whose config and tokenizer the result has.
    public var donor: String { base ?? models[0] }
}
