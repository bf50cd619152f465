import Base
import CKernels
import Quant

/// One tensor of a pruned model: rows and columns that stay, and columns that become zero.
struct PrunedTensor: Sendable {
    let view: TensorView
    let declaration: TensorDeclaration
    /// Rows that stay; nil: all.
    let rows: [Int]?
    /// Columns that stay; nil: all.
    let columns: [Int]?
    /// Columns that become zero.
    let zeros: [Int]

    /// Lends the tensor's rows in order, as bytes of its type. Errors: `badInput` for weights too large for f16.
    func forEachPiece(_ body: ([UInt8]) throws -> Void) throws {
        let (count, width) = (view.info.rows, view.info.columns)
        let kept = columns.map { $0.map(Int64.init) }
        let step = max(1, (1 << 20) / width)
        for first in stride(from: 0, to: count, by: step) {
            let range = first..<min(first + step, count)
            var values = select(range)
            for row in 0..<values.count / width { for column in zeros { values[row * width + column] = 0 } }
            if let kept {
                let rows = values.count / width
                let source = values
                values = [Float](unsafeUninitializedCapacity: rows * kept.count) { buffer, count in
                    mk_prune_columns(
                        source, Int64(rows), Int64(width), kept, Int64(kept.count), buffer.baseAddress)
                    count = rows * kept.count
                }
            }
            guard !values.isEmpty else { continue }
            let bytes = plainBytes(values, type: declaration.type)
            if declaration.type == .f16, view.info.type != .f16, values.contains(where: { abs($0) >= 65_520 }) {
                throw MeraserError.badInput(
                    "\(view.file.path): tensor '\(view.info.name)' has weights too large for f16; choose bf16 or f32")
            }
            try body(bytes)
        }
        view.file.releasePages()
    }

    /// The rows of that range that stay, row-major.
    private func select(_ range: Range<Int>) -> [Float] {
        let values = view.floats(rows: range)
        guard let rows else { return values }
        let width = view.info.columns
        // A vector's elements are its rows here: a bias.
        if view.info.shape.count == 1 { return rows.map { values[$0] } }
        return rows.lazy.filter { range.contains($0) }.flatMap {
            values[($0 - range.lowerBound) * width..<($0 - range.lowerBound + 1) * width]
        }
    }
}

/// A pruned model as a writer or a converter sees it.
struct PrunedCheckpoint: TensorSource {
    let store: any WeightStore
    let tensors: [PrunedTensor]
    /// config.json of the result.
    let config: [UInt8]
    /// What the user should know.
    let warnings: [String]

    init(store: any WeightStore, spec: DecoderSpec, plan: PrunePlan, dtype: TensorType?) throws {
        self.store = store
        var parts: [[UInt8]: (layer: PrunePlan.Layer, part: LayerPart)] = [:]
        for (index, layer) in plan.layers.enumerated() {
            for part in LayerPart.all(spec.layers[index]) {
                _ = try part.tensor(in: store)
                parts[Array(part.linear.path.utf8)] = (layer, part)
            }
        }
        let own = try ModelTensors(of: store)
        tensors = try own.names.map { name in
            let view = try store.tensor(name)
            let module = name.split(separator: ".").dropLast().joined(separator: ".")
            let type = dtype ?? (view.info.type.isTiled ? .bf16 : view.info.type)
            guard let (layer, part) = parts[Array(module.utf8)] else {
                return PrunedTensor(
                    view: view, declaration: TensorDeclaration(name: name, type: type, shape: view.info.shape),
                    rows: nil,
                    columns: nil, zeros: [])
            }
            return Self.pruned(view, type, layer, part, isUniform: plan.isUniform)
        }
        var members: [(key: String, value: JSONValue)] = []
        if plan.isUniform, let layer = plan.layers.first {
            members = [
                ("num_attention_heads", .integer(layer.groups.count * spec.layers[0].attention.groupSize)),
                ("num_key_value_heads", .integer(layer.groups.count)),
                ("head_dim", .integer(spec.layers[0].attention.headDim)),
                ("intermediate_size", .integer(layer.channels.count)),
            ]
        }
        let changes = ConfigChanges(
            types: Set(tensors.map(\.declaration.type)),
            tensors: tensors.map { ($0.declaration.name, $0.declaration.shape) },
            members: members)
        let (text, changed) = try changes.applied(to: store)
        config = text
        warnings =
            store.warnings + own.warnings(path: store.path) + changed
            + (plan.isUniform
                ? [] : ["layers keep different numbers of heads or channels: what goes was set to zero, not removed"])
    }

    private static func pruned(
        _ view: TensorView, _ type: TensorType, _ layer: PrunePlan.Layer, _ part: LayerPart, isUniform: Bool
    ) -> PrunedTensor {
        let units = part.isAttention ? layer.groups : layer.channels
        let kept = units.flatMap { $0 * part.unit..<($0 + 1) * part.unit }
        let name = view.info.name
        func tensor(_ shape: [Int], rows: [Int]?, columns: [Int]?, zeros: [Int]) -> PrunedTensor {
            PrunedTensor(
                view: view, declaration: TensorDeclaration(name: name, type: type, shape: shape), rows: rows,
                columns: columns, zeros: zeros)
        }
        if name.hasSuffix(".bias") {
            // The bias of what is cut by columns belongs to the output, which stays.
            let rows = part.isByRow && isUniform ? kept : nil
            return tensor(rows.map { [$0.count] } ?? view.info.shape, rows: rows, columns: nil, zeros: [])
        }
        guard isUniform else {
            let zeros = part.isByRow ? [] : Set(0..<view.info.columns).subtracting(kept).sorted()
            return tensor(view.info.shape, rows: nil, columns: nil, zeros: zeros)
        }
        return part.isByRow
            ? tensor([kept.count, view.info.columns], rows: kept, columns: nil, zeros: [])
            : tensor([view.info.rows, kept.count], rows: nil, columns: kept, zeros: [])
    }

    func tensor(_ name: String) -> PrunedTensor? {
        tensors.first { $0.declaration.name.utf8.elementsEqual(name.utf8) }
    }

    var path: String { store.path }
    var tensorNames: [String] { tensors.map(\.declaration.name) }
    func entry(_ name: String) -> TensorEntry? {
        tensor(name).map(\.declaration).map {
            let count = $0.shape.reduce(1, *) * ($0.type.elementByteCount ?? 0)
            return TensorEntry(name: name, shape: $0.shape, exactType: $0.type, byteCount: count, path: path)
        }
    }
    func textFile(_ name: String) throws -> [UInt8]? { name == "config.json" ? config : try store.textFile(name) }
}
