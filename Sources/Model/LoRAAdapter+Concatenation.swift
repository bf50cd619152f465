import Kernels
import Quant

extension LoRAAdapter {
    /// One adapter that computes the sum of several for the same model: in each module the rows of their A are stacked
    /// and the columns of their B laid side by side, so the ranks add up.
    ///
    /// Exact: where all share one scale it stays the scale of the result; otherwise the scales are multiplied into B,
    /// which rounds each number of B once. Of rows of one token the upper adapter's stay. Modules that only some adapt
    /// have a smaller rank (`rank_pattern`). The result belongs to the base alone and has no parents. At least one
    /// adapter is needed.
    public static func concatenate(_ adapters: [LoRAAdapter], for model: DecoderSpec) -> LoRAAdapter {
        precondition(!adapters.isEmpty, "no adapters to concatenate")
        let modules = Set(adapters.flatMap(\.modules)).sorted()
        let parts = modules.map { module in adapters.compactMap { $0[module] } }
        let ranks = parts.map { $0.reduce(0) { $0 + $1.rank } }
        let scales = parts.map { factors in
            factors.allSatisfy { $0.scale == factors[0].scale } ? factors[0].scale : 1
        }
        let alphas = zip(scales, ranks).map { Double($0) * Double($1) }

        let rank = mostCommon(ranks) ?? 1
        let alpha = mostCommon(alphas) ?? 1
        var config = LoRAConfig(
            r: rank, loraAlpha: alpha, loraDropout: 0, targetModules: Set(modules.map(\.projection)))
        for (i, module) in modules.enumerated() {
            if ranks[i] != rank { config.rankPattern[module] = ranks[i] }
            if alphas[i] != alpha { config.alphaPattern[module] = alphas[i] }
        }
        config.tokens = AdapterStack(frozen: adapters).overlay?.tokens ?? []
        var provenance = adapters.lazy.map(\.provenance).first { $0.baseSHA256 != nil } ?? AdapterProvenance()
        provenance.parents = []
        let result = LoRAAdapter(config: config, modules: modules, for: model, provenance: provenance)
        for (module, factors) in zip(modules, parts) {
            if let target = result[module] { stack(factors, into: target) }
        }
        if let rows = result.tokenRows { AdapterStack(frozen: adapters).overlay?.place(rows.tokens, in: rows.rows) }
        return result
    }

    private static func stack(_ parts: [LoRAFactors], into target: LoRAFactors) {
        var first = 0
        for part in parts {
            target.a.slice(rows: first..<first + part.rank).copy(from: part.a)
            let factor = part.scale == target.scale ? 1 : part.scale / target.scale
            for row in 0..<part.b.rows {
                for column in 0..<part.rank { target.b[row, first + column] = factor * part.b[row, column] }
            }
            first += part.rank
        }
    }

    /// The value that occurs most often; of several the one that comes first; nil: there are none.
    private static func mostCommon<T: Hashable>(_ values: [T]) -> T? {
        var counts: [T: Int] = [:]
        for value in values { counts[value, default: 0] += 1 }
        let most = counts.values.max()
        return values.first { counts[$0] == most }
    }
}
