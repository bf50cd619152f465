import Kernels
import Quant

extension LoRAAdapter {
    /// Initialises as PEFT does, so that the adapter changes nothing at first: A uniform in ±1/√K
    /// (`kaiming_uniform_` with a = √5), B zero.
    ///
    /// The numbers come from a counter keyed by (seed, module, element): they depend neither on which other modules are
    /// adapted nor on any order.
    public func initialize(seed: UInt64) {
        parameters.fill(0)
        for module in modules {
            guard let a = self[module]?.a else { continue }
            let bound = 1 / Double(a.columns).squareRoot()
            let key = mixed(seed &+ mixed(UInt64(module.site)))
            for i in 0..<a.count {
                // 53 bits centred in their interval: never exactly ±bound.
                let unit = (Double(mixed(key &+ UInt64(i)) >> 11) + 0.5) / 9_007_199_254_740_992
                a[i / a.columns, i % a.columns] = Float((2 * unit - 1) * bound)
            }
        }
    }
}

extension Transformer {
    /// Gives an adapter's rows of the embedding the numbers that they have with the adapters below it, as PEFT does.
    public func initializeTokenRows(_ adapter: LoRAAdapter, on frozen: [LoRAAdapter]) {
        guard let own = adapter.tokenRows else { return }
        kernels.gatherRows(weights.embedding, own.tokens, into: own.rows)
        AdapterStack(frozen: frozen).overlay?.place(own.tokens, in: own.rows)
    }
}

/// 64 random bits of a counter.
private func mixed(_ counter: UInt64) -> UInt64 {
    SplitMix64.mixed((counter &+ 1) &* SplitMix64.increment)
}
