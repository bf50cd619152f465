import Base
import Kernels
import Quant

/// The weights of a model with adapters added: W + Σ scale · B · A, computed piece by piece in fp32.
///
/// Pieces have a fixed number of rows, and the sum over the rank is one chain of fp32 additions in the order of the rank, so
/// that results depend neither on who asks nor on the number of threads. Not thread-safe.
public struct FusedWeights {
    /// The two factors of one adapter for one weight, in fp32.
    private struct Factors {
        let a: FloatMatrix  // [r, K]
        let scaledB: FloatMatrix  // scale · B, [N, r]
    }

    /// The model.
    public let store: any WeightStore
    private let modulesByTensor: [String: [PEFTModule]]
    private let kernels: KernelContext
    private let workspace = LinearWorkspace()

    /// fp32 elements of a piece at most: 16 MiB.
    static let pieceElements = 4 << 20

    /// Finds the weight of every adapted module.
    ///
    /// Errors (`badInput`): a module that the model does not have, or factors whose shapes do not fit its weight; the line
    /// names adapter, module and both shapes.
    public init(store: any WeightStore, adapters: [PEFTAdapterFile], kernels: KernelContext) throws {
        self.store = store
        self.kernels = kernels
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
        let factors = (modulesByTensor[name] ?? []).map { module in
            let scaled = module.b.floats().map { module.scale * $0 }
            return Factors(
                a: FloatStorage(module.a.floats(), rows: module.rank, columns: columns).matrix,
                scaledB: FloatStorage(scaled, rows: rows, columns: module.rank).matrix)
        }
        let step = max(1, Self.pieceElements / columns)
        for first in stride(from: 0, to: rows, by: step) {
            let range = first..<min(first + step, rows)
            let piece = tensor.floats(rows: range)
            try body(factors.isEmpty ? piece : sum(piece, factors, rows: range, columns: columns))
        }
    }

    /// piece + Σ scale · B[rows] · A.
    private func sum(_ piece: [Float], _ factors: [Factors], rows: Range<Int>, columns: Int) -> [Float] {
        let result = FloatStorage(piece, rows: rows.count, columns: columns).matrix
        for factor in factors {
            kernels.lowRankExpand(
                factor.scaledB.slice(rows: rows), factor.a, .a, into: result, accumulate: true, workspace: workspace)
        }
        return result.toArray()
    }
}
