import Base
import CKernels
import Quant

/// One tensor of a pruned model: rows and columns that stay, and columns that become zero.
struct PrunedTensor: Sendable {
    let source: TensorEntry
    /// What is written.
    let entry: TensorEntry
    /// Rows that stay; nil: all.
    let rows: [Int]?
    /// Columns that stay, of a vector its elements; nil: all.
    let columns: [Int]?
    /// Columns that become zero.
    let zeros: [Int]

    init(
        _ source: TensorEntry, shape: [Int]? = nil, type: TensorType, rows: [Int]? = nil, columns: [Int]? = nil,
        zeros: [Int] = []
    ) {
        self.source = source
        entry = TensorEntry(computed: source.name, shape: shape ?? source.shape, type: type, path: source.path)
        (self.rows, self.columns, self.zeros) = (rows, columns, zeros)
    }
}

/// The rows of a pruned tensor.
private struct PrunedRows: TensorRows {
    let tensor: PrunedTensor
    let source: any TensorRows

    func read(rows range: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        let width = tensor.source.columns
        if let columns = tensor.columns {
            var whole = [Float](repeating: 0, count: range.count * width)
            try whole.withUnsafeMutableBufferPointer { whole in
                guard let start = whole.baseAddress else { return }
                try source.read(rows: range, into: start, raw: &raw)
            }
            mk_prune_columns(
                whole, Int64(range.count), Int64(width), columns.map(Int64.init), Int64(columns.count), target)
        } else if let rows = tensor.rows {
            var place = range.lowerBound
            while place < range.upperBound {
                // Rows that lie together are read at once.
                var end = place + 1
                while end < range.upperBound, rows[end] == rows[end - 1] + 1 { end += 1 }
                let start = target + (place - range.lowerBound) * width
                try source.read(rows: rows[place]..<rows[end - 1] + 1, into: start, raw: &raw)
                place = end
            }
        } else {
            try source.read(rows: range, into: target, raw: &raw)
            for row in 0..<range.count { for column in tensor.zeros { target[row * width + column] = 0 } }
        }
    }
}

/// A pruned model: its rows and columns are chosen while it is read.
struct PrunedWeights: TensorSource {
    private let source: any TensorSource
    /// In the order of the source.
    let tensors: [PrunedTensor]
    /// config.json of the result.
    private let config: [UInt8]
    /// What the user should know.
    let warnings: [String]

    init(_ source: any WeightStore, spec: DecoderSpec, plan: PrunePlan, dtype: TensorType?) throws {
        self.source = source
        try spec.requirePrunable(source.path)
        var parts: [[UInt8]: (layer: PrunePlan.Layer, part: LayerPart)] = [:]
        for (index, layer) in plan.layers.enumerated() {
            for part in LayerPart.all(spec.layers[index]) {
                _ = try part.tensor(in: source)
                parts[Array(part.linear.path.utf8)] = (layer, part)
            }
        }
        let own = try ModelTensors(of: source)
        tensors = try own.names.map { name in
            let entry = try source.tensorEntry(name)
            let module = name.split(separator: ".").dropLast().joined(separator: ".")
            let type = dtype ?? (entry.exactType?.isTiled == false ? entry.plainType : .bf16)
            guard let (layer, part) = parts[Array(module.utf8)] else { return PrunedTensor(entry, type: type) }
            return Self.pruned(entry, type, layer, part, isUniform: plan.isUniform)
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
            types: Set(tensors.map(\.entry.plainType)), tensors: tensors.map { ($0.entry.name, $0.entry.shape) },
            members: members)
        let (text, changed) = try changes.applied(to: source)
        config = text
        warnings =
            source.warnings + own.warnings(path: source.path) + changed
            + (plan.isUniform
                ? [] : ["layers keep different numbers of heads or channels: what goes was set to zero, not removed"])
    }

    private static func pruned(
        _ source: TensorEntry, _ type: TensorType, _ layer: PrunePlan.Layer, _ part: LayerPart, isUniform: Bool
    ) -> PrunedTensor {
        let units = part.isAttention ? layer.groups : layer.channels
        let kept = units.flatMap { $0 * part.unit..<($0 + 1) * part.unit }
        if source.name.hasSuffix(".bias") {
            // The bias of what is cut by columns belongs to the output, which stays.
            guard part.isByRow, isUniform else { return PrunedTensor(source, type: type) }
            return PrunedTensor(source, shape: [kept.count], type: type, columns: kept)
        }
        guard isUniform else {
            let zeros = part.isByRow ? [] : Set(0..<source.columns).subtracting(kept).sorted()
            return PrunedTensor(source, type: type, zeros: zeros)
        }
        return part.isByRow
            ? PrunedTensor(source, shape: [kept.count, source.columns], type: type, rows: kept)
            : PrunedTensor(source, shape: [source.rows, kept.count], type: type, columns: kept)
    }

    private func tensor(_ name: String) -> PrunedTensor? {
        tensors.first { $0.entry.name.utf8.elementsEqual(name.utf8) }
    }

    var path: String { source.path }
    var tensorNames: [String] { tensors.map(\.entry.name) }
    func entry(_ name: String) -> TensorEntry? { tensor(name)?.entry }
    func textFile(_ name: String) throws -> [UInt8]? { name == "config.json" ? config : try source.textFile(name) }

    func rows(of name: String) throws -> any TensorRows {
        guard let tensor = tensor(name) else { preconditionFailure("no tensor \(name)") }
        return PrunedRows(tensor: tensor, source: try source.rows(of: name))
    }
}
