import Base
import CKernels
import Quant

/// A model without the weights that matter least to what they are multiplied with (Wanda, arXiv 2306.11695): in each row of a
/// matrix the share with the smallest abs(w) · ‖x‖ is zero, x being the inputs of its column on a calibration set. They are
/// chosen while the model is read.
public struct WandaWeights: FramedWeights {
    /// What stays.
    public let frame: ModelFrame
    private let ratio: Double
    /// The lengths of the inputs of each column, by the matrix's name; a matrix without them stays as it is.
    public var norms: [String: [Float]] = [:]

    /// A model of which in each row ⌊ratio · columns⌋ weights go where there are norms.
    ///
    /// - Throws: `badInput` for a config.json that cannot be read, `usage` for a ratio that is not from 0 to below 1.
    public init(_ source: any TensorSource, ratio: Double) throws {
        guard (0..<1).contains(ratio) else {
            throw MeraserError.usage("the ratio is \(ratio), expected 0 to below 1")
        }
        (frame, self.ratio) = (try ModelFrame(source), ratio)
    }

    /// The rows of that tensor.
    public func rows(of name: String) throws -> any TensorRows {
        let rows = try frame.source.rows(of: name)
        guard let norms = norms[name] else { return rows }
        return WandaRows(source: rows, norms: norms, dropped: Int(ratio * Double(norms.count)))
    }

    /// Weights that are zero now, over all matrices that have norms.
    public var droppedCount: Int {
        get throws {
            try norms.reduce(0) {
                $0 + (try frame.source.tensorEntry($1.key).rows) * Int(ratio * Double($1.value.count))
            }
        }
    }
}

/// Rows of which the lowest weights are zero.
private struct WandaRows: TensorRows {
    let source: any TensorRows
    let norms: [Float]
    let dropped: Int

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        try source.read(rows: rows, into: target, raw: &raw)
        var scratch = [mk_scored](repeating: mk_scored(), count: norms.count)
        mk_wanda_rows(target, Int64(rows.count), Int64(norms.count), norms, Int64(dropped), &scratch)
    }
}
