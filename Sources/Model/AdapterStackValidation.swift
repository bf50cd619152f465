import Base
import Quant

extension AdapterProvenance {
    /// Checks that a stack of adapters is used where it belongs: each on the base that it records, or on the checkpoint
    /// that this was converted from, and above the parents that it records, in their order. Adapters without a record
    /// (written by PEFT) are accepted anywhere.
    ///
    /// - Parameters:
    ///   - adapters: lowest first, with the names that errors show.
    ///   - base: the model's name for errors.
    ///   - baseSHA256: the identity of the model (`WeightStore.sha256()`); called only if an adapter records a base,
    ///     since it reads the whole model.
    ///   - transfer: let adapters be used where they do not belong (their shapes were checked when they were loaded):
    ///     an
    ///     erasing adapter trained on a clean model, on a sibling that is marked.
    /// - Returns: with `transfer`, a line for each adapter that is used on another base or without its parents.
    /// - Throws: without `transfer`, a bad-input error that names the adapter and the base or the parents that it
    ///   needs.
    @discardableResult
    public static func validate(
        _ adapters: [(name: String, sha256: String?, provenance: AdapterProvenance)], base: String,
        baseSHA256: () throws -> String, transfer: Bool = false
    ) throws -> [String] {
        var transferred: [String] = []
        for (index, (name, _, provenance)) in adapters.enumerated() {
            if let recorded = provenance.baseSHA256 {
                let actual = try baseSHA256()
                if recorded != actual, provenance.sourceSHA256 != actual {
                    guard !transfer else {
                        transferred.append(
                            "\(name): transferred from the base model with SHA-256 \(recorded) to \(base) (\(actual))")
                        continue
                    }
                    throw MeraserError.badInput(
                        "\(name): this adapter belongs to the base model with SHA-256 \(recorded), not to \(base) "
                            + "(SHA-256 \(actual)); use the model that it was trained on, or `transfer`")
                }
            }
            var below = adapters[..<index].map(\.sha256)[...]
            for parent in provenance.parents {
                guard let place = below.firstIndex(of: parent) else {
                    if transfer {
                        transferred.append("\(name): used without the adapter with SHA-256 \(parent) below it")
                        break
                    }
                    throw MeraserError.badInput(
                        "\(name): this adapter was trained on top of the adapter with SHA-256 \(parent), which is not "
                            + "below it; pass that one with `adapter` before it")
                }
                below = below[(place + 1)...]
            }
        }
        return transferred
    }
}
