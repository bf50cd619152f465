import Base
import Merge

/// What was done to one module, as a scan shows it.
public struct ModuleChange: Sendable, Equatable {
    /// The module's path.
    public let module: String
    /// The Frobenius norm of the change.
    public let norm: Double
    /// The shares that the leading singular values have of their common energy, the largest first.
    public let shares: [Double]

    /// The first `count` values of a spectrum.
    init(_ spectrum: ChangeSpectrum, count: Int) {
        module = spectrum.module
        norm = spectrum.energy.squareRoot()
        let energies = spectrum.values.prefix(count).map { $0 * $0 }
        let sum = energies.reduce(0, +)
        shares = sum > 0 ? energies.map { $0 / sum } : []
    }

    /// `{"module", "norm", "shares"}`.
    var json: JSONValue {
        ["module": .text(module), "norm": .real(norm), "shares": .array(shares.map { .real($0) })]
    }

    /// - Throws: a bad-input error that names `file`.
    init(json: JSONValue, file: String) throws {
        module = try json.string("module", in: file)
        norm = try json.double("norm", in: file)
        shares = try json.array("shares", in: file).compactMap(\.double)
    }
}
