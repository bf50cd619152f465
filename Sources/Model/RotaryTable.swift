import Foundation
import Kernels
import Quant

/// The cosines and sines of a model's layers: one table for all layers with the same rotary positions. Not thread-safe:
/// belongs to one session or trainer.
final class RotaryTables {
    private let tables: [RotaryTable]
    /// Which table a layer uses.
    private let indices: [Int]

    init(_ spec: DecoderSpec) {
        var specs: [RotarySpec] = []
        indices = spec.layers.map { layer in
            let rotary = layer.attention.rotary
            if let index = specs.firstIndex(of: rotary) { return index }
            specs.append(rotary)
            return specs.count - 1
        }
        tables = specs.map(RotaryTable.init)
    }

    /// The table of that layer.
    subscript(layer: Int) -> RotaryTable { tables[indices[layer]] }

    /// Makes the tables hold positions 0 ..< `positions`.
    func reserve(positions: Int) {
        for i in tables.indices { tables[i].reserve(positions: positions) }
    }
}

/// Cosines and sines of rotary embeddings, [positions, width / 2]; grows on demand.
///
/// Computed with fp32 frequencies and angles, as transformers does, so that long positions agree with it to rounding.
/// Not thread-safe: belongs to one session or trainer.
public final class RotaryTable {
    /// Angular frequency of each pair.
    public let inverseFrequencies: [Float]
    private var storage: (cos: FloatStorage, sin: FloatStorage)
    private var capacity: Int

    /// A table of those positions.
    public init(_ spec: RotarySpec) {
        inverseFrequencies = (0..<spec.width / 2).map { i in
            let exponent = Float(2 * i) / Float(spec.width)
            let base = Float(1) / Float(pow(spec.theta, Double(exponent)))
            return Self.scaled(base, by: spec.scaling)
        }
        capacity = 0
        storage = (FloatStorage(rows: 0, columns: spec.width / 2), FloatStorage(rows: 0, columns: spec.width / 2))
    }

    /// Cosines for at least the positions reserved.
    public var cos: FloatMatrix { storage.cos.matrix }
    /// Sines for at least the positions reserved.
    public var sin: FloatMatrix { storage.sin.matrix }

    /// Makes the table hold positions 0 ..< `positions`.
    public func reserve(positions: Int) {
        guard positions > capacity else { return }
        capacity = max(positions, capacity * 2, 256)
        let columns = inverseFrequencies.count
        let cosines = FloatStorage(rows: capacity, columns: columns)
        let sines = FloatStorage(rows: capacity, columns: columns)
        for position in 0..<capacity {
            for i in 0..<columns {
                let angle = Double(Float(position) * inverseFrequencies[i])
                cosines.matrix[position, i] = Float(Foundation.cos(angle))
                sines.matrix[position, i] = Float(Foundation.sin(angle))
            }
        }
        storage = (cosines, sines)
    }

    private static func scaled(_ frequency: Float, by scaling: RotaryScaling) -> Float {
        switch scaling {
        case .none:
            return frequency
        case .linear(let factor):
            return frequency / Float(factor)
        case .llama3(let factor, let low, let high, let context):
            let wavelength = 2 * Float.pi / frequency
            if wavelength > Float(context / low) { return frequency / Float(factor) }
            if wavelength < Float(context / high) { return frequency }
            let smooth = (Float(context) / wavelength - Float(low)) / Float(high - low)
            return (1 - smooth) * frequency / Float(factor) + smooth * frequency
        }
    }
}
