import Base
import CKernels
import Quant

/// How much each part of a layer matters: the parts with the lowest scores are pruned.
public struct PruneScores: Sendable, Equatable {
    /// One score for each group of query heads that share a key and value head.
    public var groups: [Double]
    /// One score for each channel of the MLP.
    public var channels: [Double]

    /// Those scores.
    public init(groups: [Double], channels: [Double]) {
        self.groups = groups
        self.channels = channels
    }
}

/// What the scores are made from.
public enum PruneMethod: String, Sendable, CaseIterable {
    /// Sum of magnitudes of all weights of a group or channel.
    case magnitudeL1 = "magnitude_l1"
    /// Sum of squares of them.
    case magnitudeL2 = "magnitude_l2"
    /// Random numbers.
    case random
    /// First-order change of the loss on a calibration set if the group or channel goes; needs a training pass.
    case taylor
    /// Single weights instead of groups: in each row those with the smallest product of their magnitude and the length of their
    /// input over a calibration set go; needs forward passes.
    case wanda

    /// True where scores are of groups and channels.
    public var isStructured: Bool { self != .wanda }
    /// True where a calibration set is needed.
    public var needsData: Bool { self == .taylor || self == .wanda }
}

/// Scores of all layers from the weights alone (`random`: from the seed). The sizes are those of `spec`.
///
/// A channel is a row of gate_proj and up_proj and a column of down_proj, a group the rows of its q heads, of k and of v and
/// the columns of o_proj. `taylor` and `wanda` are none of these: a precondition.
/// - Throws: `badInput` for tensors that are missing or have other shapes than config.json says.
public func pruneScores(
    of store: any WeightStore, spec: DecoderSpec, method: PruneMethod, seed: UInt64, threads: Int
) throws -> [PruneScores] {
    precondition(!method.needsData, "scores of \(method.rawValue) come from a calibration set")
    try spec.requirePrunable(store.path)
    var result = spec.layers.map { layer in
        PruneScores(
            groups: Array(repeating: 0, count: layer.attention.keyValueHeads),
            channels: Array(repeating: 0, count: layer.mlp.width))
    }
    if method == .random {
        for layer in result.indices {
            result[layer].groups = randomScores(result[layer].groups.count, "layer \(layer) groups", seed)
            result[layer].channels = randomScores(result[layer].channels.count, "layer \(layer) channels", seed)
        }
        return result
    }
    for layer in result.indices {
        for part in LayerPart.all(spec.layers[layer]) {
            let (rows, columns) = try sums(
                of: part.tensor(in: store), squares: method == .magnitudeL2, threads: threads)
            for (i, sum) in (part.isByRow ? rows : columns).enumerated() {
                if part.isAttention {
                    result[layer].groups[i / part.unit] += sum
                } else {
                    result[layer].channels[i] += sum
                }
            }
        }
    }
    return result
}

extension DecoderSpec {
    /// - Throws: `badInput` for an architecture that cannot be pruned yet: with fused modules, with norms over all heads, or
    ///   whose config.json cannot say that heads are gone.
    public func requirePrunable(_ path: String) throws {
        if let pruneObstacle {
            throw MeraserError.badInput("\(path): a \(architecture) cannot be pruned: \(pruneObstacle)")
        }
    }
}

/// One matrix of a layer that pruning cuts, by rows or by columns.
struct LayerPart: Sendable {
    let linear: LinearSpec
    let isByRow: Bool
    let isAttention: Bool
    /// Rows or columns of one group or channel.
    let unit: Int

    static func all(_ layer: LayerSpec) -> [LayerPart] {
        let head = layer.attention.headDim
        let queries = layer.attention.groupSize * head
        func part(_ projection: Projection, byRow isByRow: Bool, isAttention: Bool, _ unit: Int) -> LayerPart? {
            layer[projection].map { LayerPart(linear: $0, isByRow: isByRow, isAttention: isAttention, unit: unit) }
        }
        return [
            part(.q_proj, byRow: true, isAttention: true, queries),
            part(.k_proj, byRow: true, isAttention: true, head), part(.v_proj, byRow: true, isAttention: true, head),
            part(.o_proj, byRow: false, isAttention: true, queries),
            part(.gate_proj, byRow: true, isAttention: false, 1), part(.up_proj, byRow: true, isAttention: false, 1),
            part(.down_proj, byRow: false, isAttention: false, 1),
        ].compactMap { $0 }
    }

    func tensor(in store: any WeightStore) throws -> TensorView {
        let view = try store.tensor(linear.weight)
        let shape = [linear.rows, linear.columns]
        guard view.info.shape == shape else {
            throw MeraserError.badInput(
                "\(store.path): tensor '\(linear.weight)' has shape \(view.info.shape), config.json demands \(shape)")
        }
        return view
    }
}

/// Σ |w| or Σ w² by row and by column.
private func sums(of view: TensorView, squares: Bool, threads: Int) throws -> (rows: [Double], columns: [Double]) {
    let (rows, columns) = (view.info.rows, view.info.columns)
    // Fixed stretches of rows, added in order: the sums do not depend on the threads.
    let step = max(1, (1 << 20) / columns)
    let pieces = (rows + step - 1) / step
    let parts = ResultSlots<(rows: [Double], columns: [Double])>(count: pieces)
    try forEachInParallel(count: pieces, threads: threads) { piece in
        let range = piece * step..<min((piece + 1) * step, rows)
        let values = view.floats(rows: range)
        var rowSums = [Double](repeating: 0, count: range.count)
        var columnSums = [Double](repeating: 0, count: columns)
        mk_prune_sums(values, Int64(range.count), Int64(columns), squares, &rowSums, &columnSums)
        parts.set(piece, (rowSums, columnSums))
    }
    view.file.releasePages()
    var result = (rows: [Double](), columns: [Double](repeating: 0, count: columns))
    for part in parts.values {
        result.rows += part.rows
        for i in 0..<columns { result.columns[i] += part.columns[i] }
    }
    return result
}

/// Numbers between 0 and 1 that depend on seed and label only.
private func randomScores(_ count: Int, _ label: String, _ seed: UInt64) -> [Double] {
    (0..<count).map { Double(MaskKey.value(seed: seed, tensor: label, difference: $0) >> 11) * 0x1p-53 }
}
