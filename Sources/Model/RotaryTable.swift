import Foundation
import Kernels

/// How rotary frequencies are scaled for long contexts.
public enum RotaryScaling: Sendable, Equatable {
    /// As trained.
    case none
    /// Positions divided by a factor (`rope_type: linear`).
    case linear(factor: Double)
    /// Llama 3.1's piecewise scaling (`rope_type: llama3`; transformers `modeling_rope_utils`).
    case llama3(factor: Double, lowFrequencyFactor: Double, highFrequencyFactor: Double, originalContext: Double)
}

/// Cosines and sines of rotary embeddings, [positions, head_dim / 2]; grows on demand.
///
/// Computed with fp32 frequencies and angles, as transformers does, so that long positions agree with it to rounding.
/// Not thread-safe: belongs to one run.
public final class RotaryTable {
    /// Angular frequency of each pair.
    public let inverseFrequencies: [Float]
    private var storage: (cos: FloatStorage, sin: FloatStorage)
    private var capacity: Int

    /// A table for that head size; `theta` is `rope_theta`.
    public init(headDim: Int, theta: Double, scaling: RotaryScaling) {
        inverseFrequencies = (0..<headDim / 2).map { i in
            let exponent = Float(2 * i) / Float(headDim)
            let base = Float(1) / Float(pow(theta, Double(exponent)))
            return Self.scaled(base, by: scaling)
        }
        capacity = 0
        storage = (FloatStorage(rows: 0, columns: headDim / 2), FloatStorage(rows: 0, columns: headDim / 2))
        reserve(positions: 256)
    }

    /// Cosines for at least the positions reserved.
    public var cos: FloatMatrix { storage.cos.matrix }
    /// Sines for at least the positions reserved.
    public var sin: FloatMatrix { storage.sin.matrix }

    /// Makes the table hold positions 0 ..< `positions`.
    public func reserve(positions: Int) {
        guard positions > capacity else { return }
        capacity = max(positions, capacity * 2)
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
