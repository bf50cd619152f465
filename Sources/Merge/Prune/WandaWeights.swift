import Base
import CKernels
import Quant

/// A model without the weights that matter least to what they are multiplied with (Wanda, arXiv 2306.11695): in each row of a
/// matrix the share with the smallest abs(w) · ‖x‖ is zero, x being the inputs of its column on a calibration set. They are
/// chosen while the model is read.
public struct WandaWeights: TensorSource {
    private let source: any TensorSource
    private let ratio: Double
    private let types: [String: TensorType]
    private let config: [UInt8]
    /// The lengths of the inputs of each column, by the matrix's name; a matrix without them stays as it is.
    public var norms: [String: [Float]] = [:]
    /// The weights, without buffers.
    public let tensorNames: [String]
    /// What the user should know.
    public let warnings: [String]

    /// A model of which in each row ⌊ratio · columns⌋ weights go where there are norms.
    ///
    /// - Throws: `badInput` for a config.json that cannot be read, `usage` for a ratio that is not from 0 to below 1.
    public init(_ source: any TensorSource, ratio: Double) throws {
        guard (0..<1).contains(ratio) else {
            throw MeraserError.usage("the ratio is \(ratio), expected 0 to below 1")
        }
        (self.source, self.ratio) = (source, ratio)
        let own = try ModelTensors(of: source)
        var types: [String: TensorType] = [:]
        let shapes = try own.names.map { name in
            let entry = try source.tensorEntry(name)
            types[name] = entry.exactType?.isTiled == false ? entry.plainType : .bf16
            return (name, entry.shape)
        }
        (self.types, tensorNames) = (types, own.names)
        let (config, changed) = try ConfigChanges(types: Set(types.values), tensors: shapes).applied(to: source)
        self.config = config
        warnings = source.warnings + own.warnings(path: source.path) + changed
    }

    /// The model.
    public var path: String { source.path }

    /// The model's files; config.json says what is written.
    public func textFile(_ name: String) throws -> [UInt8]? {
        name == "config.json" ? config : try source.textFile(name)
    }

    /// What there is under that name.
    public func entry(_ name: String) throws -> TensorEntry? {
        guard let type = types[name], let entry = try source.entry(name) else { return nil }
        return TensorEntry(computed: name, shape: entry.shape, type: type, path: entry.path)
    }

    /// The rows of that tensor.
    public func rows(of name: String) throws -> any TensorRows {
        let rows = try source.rows(of: name)
        guard let norms = norms[name] else { return rows }
        return WandaRows(source: rows, norms: norms, dropped: Int(ratio * Double(norms.count)))
    }

    /// Weights that are zero now, over all matrices that have norms.
    public var droppedCount: Int {
        get throws {
            try norms.reduce(0) {
                $0 + (try source.tensorEntry($1.key).rows) * Int(ratio * Double($1.value.count))
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
