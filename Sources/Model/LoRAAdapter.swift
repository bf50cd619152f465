import Kernels
import Quant

/// The two factors of one adapted module: ΔW = scale · B · A.
public struct LoRAFactors {
    /// A [r, K].
    public let a: FloatMatrix
    /// B [N, r].
    public let b: FloatMatrix
    /// alpha / r, or alpha / √r.
    public let scale: Float

    /// Rank.
    public var rank: Int { a.rows }
}

/// A LoRA adapter: fp32 factors for some of a model's linear layers, and rows of its embedding in place of its own. PEFT's format on disk (see `AdapterFile`).
///
/// The factors are mutable through their matrices (training does that); use from one thread at a time.
public final class LoRAAdapter {
    /// Ranks, alphas, targets.
    public let config: LoRAConfig
    /// The adapted modules in the order of the forward pass.
    public let modules: [ModuleKey]
    /// Base and parents.
    public var provenance: AdapterProvenance
    /// SHA-256 of the file that it was loaded from, nil for a new one.
    public let sha256: String?
    /// Rows of the input embedding, for the configuration's tokens; nil: it has none.
    public let tokenRows: TokenRows?
    private let storage: FloatStorage
    private let factors: [ModuleKey: LoRAFactors]

    /// An adapter with all factors zero for every target module of `model` in the layers to transform, which it must have.
    public convenience init(config: LoRAConfig, for model: DecoderSpec) {
        self.init(config: config, modules: config.modules(of: model), for: model)
    }

    /// An adapter with all factors zero for those modules.
    public init(
        config: LoRAConfig, modules: [ModuleKey], for model: DecoderSpec,
        provenance: AdapterProvenance = AdapterProvenance(), sha256: String? = nil
    ) {
        self.config = config
        self.modules = modules.sorted()
        self.provenance = provenance
        self.sha256 = sha256
        (storage, factors, tokenRows) = Self.zeros(
            self.modules.map { module in
                let linear = model[module]
                return (module, config.rank(of: module), linear.rows, linear.columns)
            }, config, hiddenSize: model.hiddenSize)
    }

    /// A block for the factors of those modules [N, K] and the rows of the configuration's tokens, one after the other, and
    /// the factors and rows in it.
    private static func zeros(
        _ layout: [(module: ModuleKey, rank: Int, n: Int, k: Int)], _ config: LoRAConfig, hiddenSize: Int
    ) -> (FloatStorage, [ModuleKey: LoRAFactors], TokenRows?) {
        let ofFactors = layout.reduce(0) { $0 + $1.rank * ($1.n + $1.k) }
        let storage = FloatStorage(rows: 1, columns: ofFactors + config.tokens.count * hiddenSize)
        let all = storage.matrix
        var next = 0
        var factors: [ModuleKey: LoRAFactors] = [:]
        for (module, rank, n, k) in layout {
            let a = all.part(at: next, rows: rank, columns: k)
            let b = all.part(at: next + a.count, rows: n, columns: rank)
            next += a.count + b.count
            factors[module] = LoRAFactors(a: a, b: b, scale: config.scale(of: module))
        }
        if config.tokens.isEmpty { return (storage, factors, nil) }
        let rows = all.part(at: next, rows: config.tokens.count, columns: hiddenSize)
        return (storage, factors, TokenRows(tokens: config.tokens, rows: rows))
    }

    /// The factors of that module, or nil if it is not adapted.
    public subscript(module: ModuleKey) -> LoRAFactors? { factors[module] }

    /// All parameters as one row: for each module in order A, then B; the rows of tokens last.
    public var parameters: FloatMatrix { storage.matrix }

    /// The lowest decoder layer that a gradient has to go through.
    public var lowestLayer: Int { tokenRows == nil ? modules.first?.layer ?? 0 : 0 }

    /// A copy that shares nothing, with the same layout: also the shape of gradients and optimiser moments.
    public func copy() -> LoRAAdapter {
        let result = LoRAAdapter(layoutOf: self)
        result.parameters.copy(from: parameters)
        return result
    }

    /// An adapter of the same layout with all factors zero.
    public init(layoutOf other: LoRAAdapter) {
        config = other.config
        modules = other.modules
        provenance = other.provenance
        sha256 = nil
        (storage, factors, tokenRows) = Self.zeros(
            modules.compactMap { module in
                other.factors[module].map { (module, $0.rank, $0.b.rows, $0.a.columns) }
            }, config, hiddenSize: other.tokenRows?.rows.columns ?? 0)
    }
}
