import Base
import Quant

/// Where the matrices of each layer lie in their mapped files: with it they take memory only while their layer is at work,
/// and the system reads the next layer's while it is. The numbers are the same.
///
/// Thread-safe.
public struct LayerPages: Sendable {
    private let layers: [[TensorView]]

    /// The layers of a model's files.
    ///
    /// - Throws: a bad-input error for a tensor that is missing.
    public init(store: any WeightStore, spec: DecoderSpec) throws {
        layers = try spec.layers.map { layer in
            try Projection.allCases.compactMap { try layer[$0].map { try store.tensor($0.weight) } }
        }
    }

    /// Bytes of all layers, and of the largest.
    public var byteCounts: (all: Int, largest: Int) {
        let counts = layers.map { $0.reduce(0) { $0 + $1.info.byteCount } }
        return (counts.reduce(0, +), counts.max() ?? 0)
    }

    /// Has the system read that layer, which will be at work soon; nothing where there is none of that number.
    public func willNeed(_ layer: Int) {
        guard layers.indices.contains(layer) else { return }
        for view in layers[layer] { view.file.willNeed(at: view.info.offset, count: view.info.byteCount) }
    }

    /// Takes that layer out of this process's resident memory; it comes back where it is read again.
    public func release(_ layer: Int) {
        for view in layers[layer] { view.file.releasePages(at: view.info.offset, count: view.info.byteCount) }
    }
}
