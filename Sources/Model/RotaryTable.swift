import Foundation
import Kernels
import Quant

/// The cosines and sines of a model's layers: one table for all layers with the same rotary positions. Not thread-safe:
/// belongs to one session or trainer.
final class RotaryTables {
    private let tables: [RotaryTable]
    /// Which table a layer uses; nil: none.
    private let indices: [Int?]

    init(_ spec: DecoderSpec) {
        var specs: [RotarySpec] = []
        indices = spec.layers.map { layer in
            guard let rotary = layer.attention.rotary else { return nil }
            if let index = specs.firstIndex(of: rotary) { return index }
            specs.append(rotary)
            return specs.count - 1
        }
        tables = specs.map(RotaryTable.init)
    }

    /// The table of that layer; nil where it has no positions.
    subscript(layer: Int) -> RotaryTable? {
        guard let index = indices[layer] else { return nil }
        return tables[index]
    }

    /// Makes the tables hold what that batch needs.
    func prepare(for batch: PackedBatch) {
        for i in tables.indices { tables[i].prepare(for: batch) }
    }
}

/// Cosines and sines of rotary embeddings, [rows, width / 2]; grows on demand.
///
/// A row is a position; where the angles depend on the length of a sequence, it is a token of the batch at work.
///
/// Computed with fp32 frequencies and angles, as transformers does, so that long positions agree with it to rounding.
/// Not thread-safe: belongs to one session or trainer.
public final class RotaryTable {
    private let spec: RotarySpec
    /// Angular frequency of each pair, where it does not depend on the length.
    private let frequencies: [Float]
    private let factor: Float
    private var storage: (cos: FloatStorage, sin: FloatStorage)
    private var capacity = 0
    /// Row by row, where rows are tokens.
    private var tokenRows: [Int32] = []

    /// An empty table.
    public init(_ spec: RotarySpec) {
        self.spec = spec
        frequencies = spec.frequencies(length: 0)
        factor = spec.attentionFactor
        storage = (FloatStorage(rows: 0, columns: spec.width / 2), FloatStorage(rows: 0, columns: spec.width / 2))
    }

    /// Cosines of the rows that were prepared.
    public var cos: FloatMatrix { storage.cos.matrix }
    /// Sines of the rows that were prepared.
    public var sin: FloatMatrix { storage.sin.matrix }

    /// The rows of the tokens of the batch that was prepared, whose positions those are.
    public func rows(_ positions: [Int32]) -> [Int32] { spec.scaling.dependsOnLength ? tokenRows : positions }

    /// Makes the table hold the rows of that batch.
    public func prepare(for batch: PackedBatch) {
        guard spec.scaling.dependsOnLength else {
            var last: Int32 = 0
            for i in batch.positions.indices { last = max(last, batch.positions[i]) }
            return reserve(positions: Int(last) + 1)
        }
        reserve(rows: batch.tokenCount)
        tokenRows = (0..<Int32(batch.tokenCount)).map { $0 }
        for sequence in batch.sequences where sequence.count > 0 {
            let frequencies = spec.frequencies(length: sequence.length)
            for row in sequence.start..<sequence.start + sequence.count {
                fill(row, position: Int(batch.positions[row]), frequencies)
            }
        }
    }

    /// Makes the table hold positions 0 ..< `positions`; only where they do not depend on a length.
    public func reserve(positions: Int) {
        guard positions > capacity else { return }
        reserve(rows: max(positions, capacity * 2, 256))
        for position in 0..<capacity { fill(position, position: position, frequencies) }
    }

    private func reserve(rows: Int) {
        guard rows > capacity else { return }
        capacity = rows
        storage = (
            FloatStorage(rows: rows, columns: spec.width / 2), FloatStorage(rows: rows, columns: spec.width / 2)
        )
    }

    private func fill(_ row: Int, position: Int, _ frequencies: [Float]) {
        let (cosines, sines) = (storage.cos.matrix, storage.sin.matrix)
        for i in frequencies.indices {
            let angle = Double(Float(position) * frequencies[i])
            cosines[row, i] = Float(Foundation.cos(angle)) * factor
            sines[row, i] = Float(Foundation.sin(angle)) * factor
        }
    }
}

extension RotarySpec {
    /// The factor on cosines and sines.
    var attentionFactor: Float {
        switch scaling {
        case .none, .linear, .llama3, .dynamic: 1
        case .yarn(_, _, _, let factor, _): Float(factor)
        case .longrope(_, _, _, let factor): Float(factor)
        }
    }

    /// Angular frequencies of the pairs in a sequence of that many tokens, in fp32 as transformers computes them.
    func frequencies(length: Int) -> [Float] {
        switch scaling {
        case .none:
            return powers.map { 1 / $0 }
        case .linear(let factor):
            return powers.map { 1 / $0 / Float(factor) }
        case .llama3(let factor, let low, let high, let context):
            return powers.map { Self.llama3(1 / $0, Float(factor), low, high, context) }
        case .dynamic(let factor, let context):
            let stretch = Float(factor) * Float(max(length, context)) / Float(context) - Float(factor - 1)
            let exponent = Float(divisor) / Float(divisor - 2)
            return powers(of: Double(Float(theta) * pow(stretch, exponent))).map { 1 / $0 }
        case .yarn(let factor, let low, let high, _, _):
            let span = Float(high == low ? 0.001 : high - low)
            return powers.enumerated().map { i, power in
                let kept = 1 - min(max((Float(i) - Float(low)) / span, 0), 1)
                return 1 / (Float(factor) * power) * (1 - kept) + 1 / power * kept
            }
        case .longrope(let short, let long, let context, _):
            return zip(length > context ? long : short, powers).map { 1 / (Float($0) * $1) }
        }
    }

    private var powers: [Float] { powers(of: theta) }

    private func powers(of theta: Double) -> [Float] {
        (0..<width / 2).map { Float(pow(theta, Double(Float(2 * $0) / Float(divisor)))) }
    }

    private static func llama3(
        _ frequency: Float, _ factor: Float, _ low: Double, _ high: Double, _ context: Double
    ) -> Float {
        let wavelength = 2 * Float.pi / frequency
        if wavelength > Float(context / low) { return frequency / factor }
        if wavelength < Float(context / high) { return frequency }
        let smooth = (Float(context) / wavelength - Float(low)) / Float(high - low)
        return (1 - smooth) * frequency / factor + smooth * frequency
    }
}
