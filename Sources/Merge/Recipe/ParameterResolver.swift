import Base
import CKernels
import Quant

/// Resolves the parameters of one tensor: those of a model before those of its slice before those of the
/// module before those of the recipe.
struct ParameterResolver {
    let recipe: MergeRecipe
    let slice: MergeSlice
    /// The tensor's name in the result, which filters of shared parameters see.
    let out: String
    /// The layer's place between first (0) and last (1).
    let t: Double
    /// The tensor's name in each input, which filters of their parameters see.
    let names: [String]

    /// What to do with the inputs, and in which order it takes them.
    func operation(type: TensorType, seed: UInt64) throws -> (MergeStep.Operation, order: [Int]) {
        let all = Array(slice.inputs.indices)
        let base = slice.inputs.firstIndex { $0.model == slice.base }
        switch recipe.method {
        case .passthrough:
            return (.copy(scale: number("scale", input: 0).map { Float($0) }), [0])
        case .linear:
            let weights = try all.map { Float(try required("weight", input: $0)) }
            let sum = sumLikeTorch(weights)
            guard flag("normalize") ?? true else { return (.linear(weights: weights, divisor: 1), all) }
            guard sum != 0, sum.isFinite else {
                throw MeraserError.badInput("tensor '\(out)': the weights add up to \(sum); set 'normalize: false'")
            }
            return (.linear(weights: weights, divisor: sum), all)
        case .slerp:
            guard let base else { preconditionFailure("slerp without a base") }
            return (.slerp(t: Float(try required("t", input: nil))), [base, 1 - base])
        case .modelStock:
            guard let base else { preconditionFailure("model_stock without a base") }
            return (.modelStock(filterWise: flag("filter_wise") ?? false), all.filter { $0 != base } + [base])
        case .nuslerp:
            return (.nuslerp(try arc(), hasBase: base != nil), all.filter { $0 != base } + [base].compactMap { $0 })
        case .karcher:
            guard all.count > 1 else { return (.copy(scale: nil), all) }
            let tolerance = number("tol", input: nil) ?? 1e-5
            guard tolerance >= 0 else {
                throw MeraserError.badInput("tensor '\(out)': 'tol' is \(tolerance), expected no negative number")
            }
            let iterations = try whole("max_iter", standard: 10, in: 1...1000)
            return (.karcher(maxIterations: iterations, tolerance: tolerance), all)
        case .taskArithmetic, .ties, .dareLinear, .dareTies, .breadcrumbs, .breadcrumbsTies, .della, .dellaLinear:
            guard let base else { preconditionFailure("\(recipe.method) without a base") }
            let others = all.filter { $0 != base }
            guard !others.isEmpty else { return (.copy(scale: nil), [base]) }
            return (.tasks(try taskArithmetic(others, seed: seed)), others + [base])
        }
    }

    private func taskArithmetic(_ others: [Int], seed: UInt64) throws -> TaskArithmetic {
        func share(_ key: String, _ index: Int, standard: Double) throws -> Double {
            let share = number(key, input: index) ?? standard
            guard (0...1).contains(share) else {
                throw MeraserError.badInput(
                    "tensor '\(out)' of \(slice.inputs[index].model): '\(key)' is \(share), expected 0 to 1")
            }
            return share
        }
        let densities = try others.map { try share("density", $0, standard: 1) }
        let epsilons = others.map { number("epsilon", input: $0) ?? 0.15 }
        if [.della, .dellaLinear].contains(recipe.method) {
            for (index, (density, epsilon)) in zip(others, zip(densities, epsilons)) where density > 0 && density < 1 {
                guard epsilon >= 0, density + epsilon < 1, density - epsilon > 0 else {
                    throw MeraserError.badInput(
                        "tensor '\(out)' of \(slice.inputs[index].model): 'epsilon' is \(epsilon) and 'density' "
                            + "\(density), expected density - epsilon and density + epsilon between 0 and 1")
                }
            }
        }
        return TaskArithmetic(
            weights: try others.map { try required("weight", input: $0) }, densities: densities, epsilons: epsilons,
            gammas: try others.map { try share("gamma", $0, standard: 0.01) },
            lambda: number("lambda", input: nil) ?? 1,
            normalizes: flag("normalize") ?? recipe.method.normalizesByDefault,
            rescales: flag("rescale") ?? recipe.method.isRandom, method: recipe.method,
            maskKeys: others.indices.map { MaskKey.value(seed: seed, tensor: out, difference: $0) })
    }

    /// How far between the two models, and which numbers make a vector.
    private func arc() throws -> NuSLERP {
        let base = slice.inputs.firstIndex { $0.model == slice.base }
        let weights = try slice.inputs.indices.filter { $0 != base }.map { try required("weight", input: $0) }
        let sum = weights.reduce(0, +)
        let flattens = flag("nuslerp_flatten") ?? true
        if flattens, flag("nuslerp_row_wise") == true {
            throw MeraserError.badInput(
                "tensor '\(out)': 'nuslerp_row_wise' is not used where the tensor is one vector; set "
                    + "'nuslerp_flatten: false'")
        }
        let vectors: NuSLERP.Vectors = flattens ? .tensor : flag("nuslerp_row_wise") == true ? .columns : .rows
        return NuSLERP(t: abs(sum) < 1e-6 ? 0.5 : weights[1] / sum, vectors: vectors)
    }

    private func whole(_ key: String, standard: Int, in range: ClosedRange<Int>) throws -> Int {
        guard let value = number(key, input: nil) else { return standard }
        guard let whole = Int(exactly: value), range.contains(whole) else {
            throw MeraserError.badInput(
                "tensor '\(out)': '\(key)' is \(value), expected a whole number from \(range.lowerBound) to "
                    + "\(range.upperBound)")
        }
        return whole
    }

    private func required(_ key: String, input: Int?) throws -> Double {
        if let value = number(key, input: input) { return value }
        let owner = input.map { " of \(slice.inputs[$0].model)" } ?? ""
        throw MeraserError.badInput(
            "tensor '\(out)'\(owner): the recipe gives no '\(key)', which \(recipe.method.rawValue) needs")
    }

    private func number(_ key: String, input: Int?) -> Double? {
        sources(input).lazy.compactMap { $0[key]?.number(tensor: input.map { names[$0] } ?? out, t: t) }.first
    }

    private func flag(_ key: String) -> Bool? {
        sources(nil).lazy.compactMap { $0[key]?.flag(tensor: out, t: t) }.first
    }

    private func sources(_ input: Int?) -> [MergeParameters] {
        (input.map { [slice.inputs[$0].parameters] } ?? [])
            + [slice.parameters, recipe.moduleParameters, recipe.parameters]
    }
}

/// The sum of some fp32 numbers in the order of torch.sum.
func sumLikeTorch(_ values: [Float]) -> Float {
    mk_merge_unit_dot(values, 1, [Float](repeating: 1, count: values.count), 1, Int64(values.count))
}

/// What the random mask of one difference depends on, and nothing else: seed, tensor and the difference's number.
enum MaskKey {
    private static let increment: UInt64 = 0x9E37_79B9_7F4A_7C15

    static func value(seed: UInt64, tensor: String, difference: Int) -> UInt64 {
        // FNV-1a of the name.
        let name = tensor.utf8.reduce(0xCBF2_9CE4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
        return mixed(mixed(mixed(seed &+ increment) ^ name) &+ increment &* UInt64(difference + 1))
    }

    /// The finaliser of SplitMix64.
    private static func mixed(_ value: UInt64) -> UInt64 {
        var z = value
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
