import Quant

extension LoRAAdapter {
    /// Checks that a stack of adapters is used where it belongs: each on the base that it records, and above the
    /// parents that it records, in their order. Adapters without a record (written by PEFT) are accepted anywhere.
    ///
    /// - Parameters:
    ///   - adapters: lowest first, with the names that errors show.
    ///   - base: the model's name for errors.
    ///   - baseSHA256: the identity of the model (`WeightStore.sha256()`); called only if an adapter records a base,
    ///     since it reads the whole model.
    /// - Throws: a bad-input error that names the adapter and the base or the parents that it needs.
    public static func validate(
        _ adapters: [(name: String, adapter: LoRAAdapter)], base: String, baseSHA256: () throws -> String
    ) throws {
        for (index, (name, adapter)) in adapters.enumerated() {
            if let recorded = adapter.provenance.baseSHA256 {
                let actual = try baseSHA256()
                guard recorded == actual else {
                    throw MeraserError.badInput(
                        "\(name): this adapter belongs to the base model with SHA-256 \(recorded), not to \(base) "
                            + "(SHA-256 \(actual)); use the model that it was trained on")
                }
            }
            var below = adapters[..<index].map(\.adapter.sha256)[...]
            for parent in adapter.provenance.parents {
                guard let place = below.firstIndex(of: parent) else {
                    throw MeraserError.badInput(
                        "\(name): this adapter was trained on top of the adapter with SHA-256 \(parent), which is not "
                            + "below it; pass that one with --adapter before it")
                }
                below = below[(place + 1)...]
            }
        }
    }
}
