import Kernels
import Quant

extension LoRAAdapter {
    /// One adapter that adds what several stacked ones add: their factors side by side, the scales in B.
    ///
    /// Exact but for the order of additions. Of base and parents it remembers those of the first; dropout is left out.
    public static func joined(_ adapters: [LoRAAdapter], for model: DecoderSpec) -> LoRAAdapter {
        let modules = Set(adapters.flatMap(\.modules)).sorted()
        var config = LoRAConfig(r: 0, loraAlpha: 0, loraDropout: 0, targetModules: [])
        for module in modules {
            let rank = adapters.reduce(0) { $0 + ($1[module]?.rank ?? 0) }
            config.r = max(config.r, rank)
            config.rankPattern[module] = rank
            config.targetModules.insert(module.projection)
        }
        // With alpha equal to the rank the scale is 1.
        config.loraAlpha = Double(config.r)
        config.rankPattern = config.rankPattern.filter { $0.value != config.r }
        config.alphaPattern = config.rankPattern.mapValues(Double.init)
        let result = LoRAAdapter(
            config: config, modules: modules, for: model, provenance: adapters.first?.provenance ?? AdapterProvenance())
        for module in modules {
            guard let joined = result[module] else { continue }
            var first = 0
            for factors in adapters.compactMap({ $0[module] }) {
                joined.a.slice(rows: first..<first + factors.rank).copy(from: factors.a)
                for row in 0..<factors.b.rows {
                    for column in 0..<factors.rank {
                        joined.b[row, first + column] = factors.scale * factors.b[row, column]
                    }
                }
                first += factors.rank
            }
        }
        return result
    }
}
