import Base
import Kernels
import Merge
import Model
import Quant
import Tune

extension OpenedModel {
    /// This model's weights without those that matter least on a calibration set (Wanda): layer by layer in the order of the
    /// forward pass, the inputs of each being what the pruned layers before it make of the texts.
    ///
    /// - Parameters:
    ///   - ratio: the share of each row that goes.
    ///   - sequences: the texts, none of them empty.
    ///   - layers: those that are pruned; nil: all.
    ///   - isPruned: which of their matrices are.
    ///   - interrupt: looked at between forward passes.
    ///   - progress: called between layers with layers done and in all.
    /// - Throws: a usage error for adapters, a ratio or layers that make no sense, `interrupted`, what a forward throws.
    public func wandaWeights(
        ratio: Double, sequences: [[Int32]], layers: ClosedRange<Int>? = nil,
        isPruned: @escaping (Projection) -> Bool = { _ in true }, interrupt: InterruptFlag? = nil,
        progress: (Int, Int) -> Void = { _, _ in }
    ) throws -> WandaWeights {
        guard adapters.isEmpty else {
            throw MeraserError.usage("wanda prunes weights: write the adapters into them first (meraser export)")
        }
        let (model, count) = (transformer, transformer.spec.numHiddenLayers)
        let range = layers ?? 0...max(0, count - 1)
        guard range.lowerBound >= 0, range.upperBound < count else {
            throw MeraserError.usage(
                "layers \(range.lowerBound)-\(range.upperBound) are not in a model of \(count) layers")
        }
        func check() throws {
            if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted; nothing was written") }
        }
        var weights = try WandaWeights(model.store, ratio: ratio)
        let stream = CalibrationStream(model, sequences: sequences)
        for layer in 0...range.upperBound {
            var sums: [Projection: [Double]] = [:]
            if range.contains(layer) {
                try stream.run(layer, of: model, advances: false, check: check) { projections, x in
                    for projection in projections where isPruned(projection) {
                        x.addColumnProducts(
                            x, to: &sums[projection, default: Array(repeating: 0, count: x.columns)])
                    }
                }
            }
            var pruned: [Projection: Weight] = [:]
            for (projection, squares) in sums {
                let linear = model.spec[ModuleKey(layer: layer, projection: projection)]
                weights.norms[linear.weight] = squares.map { Float($0.squareRoot()) }
                pruned[projection] = Weight(try weights.matrix(linear))
            }
            try stream.run(layer, of: model.replacing(pruned, layer: layer), advances: true, check: check)
            progress(layer + 1, range.upperBound + 1)
        }
        return weights
    }
}

extension WandaWeights {
    /// A whole matrix.
    fileprivate func matrix(_ linear: LinearSpec) throws -> FloatMatrix {
        var values = [Float](repeating: 0, count: linear.rows * linear.columns)
        var raw: [UInt8] = []
        let rows = try rows(of: linear.weight)
        try values.withUnsafeMutableBufferPointer { target in
            guard let start = target.baseAddress else { return }
            try rows.read(rows: 0..<linear.rows, into: start, raw: &raw)
        }
        return FloatStorage(values, rows: linear.rows, columns: linear.columns).matrix
    }
}
