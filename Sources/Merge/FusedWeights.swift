import COpenBLAS
import Quant

/// The weights of a model with adapters added: W + Σ scale · B · A, computed piece by piece in fp32.
///
/// Pieces have a fixed number of rows, so that results do not depend on who asks. Not thread-safe.
public struct FusedWeights {
    /// The two factors of one adapter for one weight, in fp32.
    private struct Factors {
        let a: [Float]  // [r, K]
        let b: [Float]  // [N, r]
        let rank: Int
        let scale: Float
    }

    /// The model.
    public let store: any WeightStore
    private let modulesByTensor: [String: [PEFTModule]]

    /// fp32 elements of a piece at most: 16 MiB.
    static let pieceElements = 4 << 20

    /// Finds the weight of every adapted module.
    ///
    /// Errors (`badInput`): a module that the model does not have, or factors whose shapes do not fit its weight; the line
    /// names adapter, module and both shapes.
    public init(store: any WeightStore, adapters: [PEFTAdapterFile]) throws {
        self.store = store
        var modules: [String: [PEFTModule]] = [:]
        for adapter in adapters {
            for module in adapter.modules {
                let name = module.path + ".weight"
                guard store.hasTensor(name) else {
                    throw MeraserError.badInput(
                        "\(adapter.path): module '\(module.path)' is not in \(store.path); the adapter belongs to another "
                            + "model")
                }
                let info = try store.tensor(name).info
                guard info.shape == [module.b.info.rows, module.a.info.columns] else {
                    throw MeraserError.badInput(
                        "\(adapter.path): module '\(module.path)' has factors for a weight of shape "
                            + "[\(module.b.info.rows), \(module.a.info.columns)], in \(store.path) it is \(info.shape)")
                }
                modules[name, default: []].append(module)
            }
        }
        modulesByTensor = modules
    }

    /// Lends the tensor's rows in order, in pieces: fp32, row-major.
    public func forEachPiece(of name: String, _ body: ([Float]) throws -> Void) throws {
        let tensor = try store.tensor(name)
        let (rows, columns) = (tensor.info.rows, tensor.info.columns)
        let factors = (modulesByTensor[name] ?? []).map {
            Factors(a: $0.a.floats(), b: $0.b.floats(), rank: $0.rank, scale: $0.scale)
        }
        let step = max(1, Self.pieceElements / columns)
        for first in stride(from: 0, to: rows, by: step) {
            let range = first..<min(first + step, rows)
            var piece = tensor.floats(rows: range)
            for factor in factors { add(factor, rows: range, columns: columns, to: &piece) }
            try body(piece)
        }
    }

    /// piece += scale · B[rows] · A.
    private func add(_ factors: Factors, rows: Range<Int>, columns: Int, to piece: inout [Float]) {
        factors.b.withUnsafeBufferPointer { b in
            let part = UnsafeBufferPointer(rebasing: b[rows.lowerBound * factors.rank..<rows.upperBound * factors.rank])
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(rows.count), blasint(columns), blasint(factors.rank),
                factors.scale, part.baseAddress, blasint(factors.rank), factors.a, blasint(columns), 1, &piece,
                blasint(columns))
        }
    }
}
