import Base
import Foundation
import Quant

/// The largest singular values of what was done to one module.
public struct ChangeSpectrum: Sendable, Equatable {
    /// The module's path in the model.
    public let module: String
    /// Singular values of the change, the largest first.
    public let values: [Double]
    /// ‖change‖², of all singular values.
    public let energy: Double

    /// The share of the energy of the `count` largest values that the largest has, from 1/`count` on; nil: there is no change,
    /// or it has fewer values.
    public func concentration(of count: Int) -> Double? {
        guard values.count >= count, count >= 1 else { return nil }
        let sum = values[..<count].reduce(0) { $0 + $1 * $1 }
        return sum > 0 ? values[0] * values[0] / sum : nil
    }
}

extension ChangeSpectrum {
    /// Of each module of an adapter: the values of scale · B · A, with DoRA's magnitudes left aside.
    ///
    /// - Parameter count: the most values of a module.
    /// - Throws: what reading throws; `runtime` where eigenvalues do not converge.
    public static func ofAdapter(_ adapter: AdapterFile, count: Int) throws -> [ChangeSpectrum] {
        try adapter.modules.map { module in
            let (a, b) = (try module.a.floats(), try module.b.floats())
            let values = try ofProduct(
                a: a, b: b, rank: module.rank, columns: module.a.columns, rows: module.b.rows,
                scale: Double(module.scale))
            return ChangeSpectrum(
                module: module.path, values: Array(values.prefix(count)), energy: values.reduce(0) { $0 + $1 * $1 })
        }
    }

    /// The singular values of scale · B · A, by way of those of its factors: B = U S Vᵀ and A = P T Qᵀ leave S Vᵀ P T.
    private static func ofProduct(
        a: [Float], b: [Float], rank: Int, columns: Int, rows: Int, scale: Double
    ) throws -> [Double] {
        let right = try TruncatedSVD(a, rows: rank, columns: columns, rank: min(rank, columns))
        let left = try TruncatedSVD(b, rows: rows, columns: rank, rank: min(rank, rows))
        let (n, m) = (left.values.count, right.values.count)
        var core = [Float](repeating: 0, count: n * m)
        for i in 0..<n {
            for j in 0..<m {
                var sum = 0.0
                for k in 0..<rank { sum += left.right[i * rank + k] * right.left[j * rank + k] }
                core[i * m + j] = Float(sum * left.values[i] * right.values[j] * scale)
            }
        }
        return try TruncatedSVD(core, rows: n, columns: m, rank: min(n, m)).values
    }

    /// Of each matrix of a layer in which a model differs from its base.
    ///
    /// - Parameters:
    ///   - model, base: folders or files of the same tensors.
    ///   - count: the most values of a module.
    ///   - threads: how many to use; the result does not depend on it.
    /// - Throws: `badInput` for models with other tensors or shapes; `interrupted`.
    public static func ofDifference(
        model: String, base: String, count: Int, threads: Int, isInterrupted: @escaping @Sendable () -> Bool = { false }
    ) throws -> [ChangeSpectrum] {
        var options = ExtractionOptions()
        (options.skipsUndecomposable, options.ignoresBiases) = (true, true)
        return try ExtractionPlan(model: model, base: base, options: options).spectra(count, threads, isInterrupted)
    }
}
