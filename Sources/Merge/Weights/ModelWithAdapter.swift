import Base
import CKernels
import Kernels
import Quant

/// A model with an adapter in it, in the types that its weights have: what `MODEL+ADAPTER` stands for in a recipe. Sums are
/// made in fp32 and rounded once.
struct ModelWithAdapter: TensorSource {
    private let fused: FusedWeights
    private let own: [String]

    /// Opens the adapter and finds its weights in the model. Errors (`badInput`): what `AdapterFile` and `FusedWeights`
    /// refuse, an adapter that says it belongs to other weights or on top of other adapters.
    init(_ store: any StoredSource, adapter path: String) throws {
        // Only a GGUF adapter asks for it, and refuses to be read without.
        let spec = (store as? any WeightStore).flatMap { try? DecoderSpec(of: $0) }
        let adapter = try AdapterFile(path: path, for: spec)
        if let recorded = adapter.provenance.baseSHA256 {
            let actual = try store.sha256()
            guard [recorded, adapter.provenance.sourceSHA256].contains(actual) else {
                throw MeraserError.badInput(
                    "\(path): this adapter belongs to the base model with SHA-256 \(recorded), not to \(store.path) "
                        + "(SHA-256 \(actual))")
            }
        }
        guard adapter.provenance.parents.isEmpty else {
            throw MeraserError.badInput(
                "\(path) was trained on top of another adapter: make one of both first, with a recipe of 'adapters'")
        }
        fused = try FusedWeights(store: store, adapters: [adapter], type: nil, kernels: .fromEnvironment(threads: 1))
        own = store.warnings
    }

    var path: String { fused.path }
    var tensorNames: [String] { fused.tensorNames }
    var warnings: [String] { own + fused.warnings }

    func textFile(_ name: String) throws -> [UInt8]? { try fused.textFile(name) }

    func entry(_ name: String) throws -> TensorEntry? {
        guard let entry = try fused.entry(name), fused.isFused(name) else { return try fused.entry(name) }
        let type = try fused.storedType(name).flatMap { $0.isTiled ? nil : $0 } ?? .f32
        return TensorEntry(computed: name, shape: entry.shape, type: type, path: entry.path)
    }

    func rows(of name: String) throws -> any TensorRows {
        let rows = try fused.rows(of: name)
        guard fused.isFused(name), let type = try entry(name)?.plainType, type != .f32 else { return rows }
        return RoundedRows(rows: rows, type: type, columns: try fused.tensorEntry(name).columns)
    }
}

/// Rows that are computed in fp32, in the type of the model.
private struct RoundedRows: TensorRows {
    let rows: any TensorRows
    let type: TensorType
    let columns: Int

    func read(rows range: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        try rows.read(rows: range, into: target, raw: &raw)
        mk_merge_round(Int32(type.rawValue), target, Int64(range.count * columns))
    }
}
