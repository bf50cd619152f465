import Audit
import Base
import Kernels
import Model
import Quant

/// How the channels of two models' MLPs match in one layer.
public struct LayerMatching: Sendable, Equatable {
    /// The layer, from 0.
    public let layer: Int
    /// Of `up_proj`'s rows, matched by cosine: the correlation of a channel's number in one model with that in the other.
    public let plain: RankCorrelation
    /// Of the matching by `up_proj` with that by `gate_proj`; nil: there is no gate.
    public let robust: RankCorrelation?

    /// `{"layer", "plain", "plain_log10_p", "robust", "robust_log10_p", "channels"}`.
    var json: JSONValue {
        [
            "layer": .integer(layer), "channels": .integer(plain.n), "plain": .real(plain.value),
            "plain_log10_p": .real(plain.logPValue / ln10), "robust": robust.map { .real($0.value) } ?? .null,
            "robust_log10_p": robust.map { .real($0.logPValue / ln10) } ?? .null,
        ]
    }
}

/// The natural logarithm of ten.
let ln10 = 2.302585092994046

/// Reads the rows of MLPs, a layer at a time.
struct ChannelRows {
    private let source: any TensorSource
    private let spec: DecoderSpec

    init(_ source: any TensorSource, _ spec: DecoderSpec) { (self.source, self.spec) = (source, spec) }

    /// Layers.
    var count: Int { spec.numHiddenLayers }
    /// Columns of the rows.
    var width: Int { spec.hiddenSize }

    /// The rows of `up_proj` and of `gate_proj`, each of length 1; rows of zeros stay.
    ///
    /// - Throws: bad input for numbers that are none, and for fewer channels than can be compared.
    func read(_ layer: Int) throws -> (up: FloatMatrix, gate: FloatMatrix?) {
        switch spec.layers[layer].mlp.input {
        case .plain(let up): return (try rows(up), nil)
        case .gated(let gate, let up): return (try rows(up), try rows(gate))
        case .fusedGate(let linear):
            let half = linear.rows / 2
            return (try rows(linear, half..<linear.rows), try rows(linear, 0..<half))
        }
    }

    private func rows(_ linear: LinearSpec, _ range: Range<Int>? = nil) throws -> FloatMatrix {
        let range = range ?? 0..<linear.rows
        guard range.count >= 3 else {
            throw MeraserError.badInput(
                "\(source.path): '\(linear.weight)' has \(range.count) channels, expected 3 or more to compare")
        }
        guard let count = product(range.count, linear.columns) else {
            throw MeraserError.badInput("\(source.path): '\(linear.weight)' is too large")
        }
        var values = [Float](repeating: 0, count: count)
        var raw: [UInt8] = []
        let rows = try source.rows(of: linear.weight)
        try values.withUnsafeMutableBufferPointer { target in
            guard let start = target.baseAddress else { return }
            try rows.read(rows: range, into: start, raw: &raw)
            for row in 0..<range.count {
                let own = target[row * linear.columns..<(row + 1) * linear.columns]
                let length = own.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
                guard length.isFinite else {
                    throw MeraserError.badInput(
                        "\(source.path): '\(linear.weight)' has a number that is none in row \(range.lowerBound + row)")
                }
                guard length > 0 else { continue }
                for index in own.indices { target[index] = Float(Double(target[index]) / length) }
            }
        }
        return FloatStorage(values, rows: range.count, columns: linear.columns).matrix
    }
}

extension LayerMatching {
    /// Matches the channels of a layer of two models.
    ///
    /// - Throws: what reading and `check`, called now and then, throw.
    init(
        layer: Int, _ a: ChannelRows, _ b: ChannelRows, kernels: KernelContext, check: () throws -> Void
    ) throws {
        let (mine, theirs) = (try a.read(layer), try b.read(layer))
        func match(_ a: FloatMatrix, _ b: FloatMatrix) throws -> [Int?] {
            let cosines = FloatStorage(rows: b.rows, columns: a.rows).matrix
            kernels.linear(Weight(a), b, into: cosines)
            return try cosines.withNumbers {
                try LinearAssignment(maximizing: $0, rows: b.rows, columns: a.rows, check: check).columns
            }
        }
        let up = try match(mine.up, theirs.up)
        self.layer = layer
        let matched = up.enumerated().compactMap { place, other in other.map { (place, $0) } }
        plain = RankCorrelation(matched.map(\.0), matched.map(\.1))
        guard let gate = mine.gate, let other = theirs.gate else {
            robust = nil
            return
        }
        // Where in A both matchings put a channel of B: the order of B's channels does not matter.
        let pairs = zip(up, try match(gate, other)).compactMap { up, gate in up.flatMap { up in gate.map { (up, $0) } }
        }
        robust = pairs.count >= 3 ? RankCorrelation(pairs.map(\.0), pairs.map(\.1)) : nil
    }
}
