import Base
import CKernels
import Kernels
import Quant

/// The weights of a model with adapters in them, computed in fp32 while they are read: one adapter after the other
/// takes W to W + scale · B · A, with a magnitude (DoRA) each row of that to its length there, or puts its own tensor
/// in place of W.
///
/// The sum over the rank is one chain of fp32 additions in the order of the rank, so that results depend neither on the
/// pieces nor on the number of threads.
public struct FusedWeights: TensorSource {
    private let store: any TensorSource
    private let fused: [String: FusedTensor]
    private let kernels: KernelContext
    private let type: TensorType?
    private let config: [UInt8]
    /// The weights, without buffers and heads that nothing reads, and with a head that is no longer the embedding.
    public let tensorNames: [String]
    /// What the user should know.
    public let warnings: [String]

    /// Finds the weight of every adapted module; `type` is the plain type that the weights count as. Nil: those that no
    /// adapter touches are what they are in the store, the others f32.
    ///
    /// Errors (`badInput`): a module or tensor that the model does not have, or shapes that do not fit its weight; the
    /// line names adapter, module and both shapes; and what is wrong with config.json.
    public init(store: any TensorSource, adapters: [AdapterFile], type: TensorType?, kernels: KernelContext) throws {
        self.store = store
        self.type = type
        // The pump has the threads.
        self.kernels = try KernelContext(threads: 1, isa: kernels.isaName)
        let tensors = try ModelTensors(of: store)
        var builder = FusedTensors(store: store, tiedHead: tensors.tiedHead)
        for adapter in adapters { try builder.add(adapter) }
        fused = builder.fused
        tensorNames = tensors.names + [builder.untiedHead].compactMap { $0 }
        let (fused, untied) = (builder.fused, builder.untiedHead)
        let shapes = try tensorNames.map { name in
            (name, try store.tensorEntry(name == untied ? fused[name]?.stored ?? name : name).shape)
        }
        let (config, changes) = try ConfigChanges(types: [type ?? .f32], tensors: shapes).applied(to: store)
        self.config = config
        warnings = tensors.warnings(path: store.path) + changes
    }

    /// The model.
    public var path: String { store.path }

    /// The model's files; config.json says what is written.
    public func textFile(_ name: String) throws -> [UInt8]? {
        name == "config.json" ? config : try store.textFile(name)
    }

    /// What there is under that name.
    public func entry(_ name: String) throws -> TensorEntry? {
        guard let entry = try store.entry(fused[name]?.stored ?? name) else { return nil }
        if type == nil, fused[name] == nil { return entry }
        return TensorEntry(computed: name, shape: entry.shape, type: type ?? .f32, path: entry.path)
    }

    /// What the types of the store were: those of touched weights too.
    public func storedType(_ name: String) throws -> TensorType? {
        try store.entry(fused[name]?.stored ?? name)?.exactType
    }

    /// True for a tensor that an adapter changes.
    public func isFused(_ name: String) -> Bool { fused[name] != nil }

    /// The rows of that tensor with its adapters' part.
    public func rows(of name: String) throws -> any TensorRows {
        guard let tensor = fused[name] else { return try store.rows(of: name) }
        let summed = try summed(tensor)
        return tensor.rows.isEmpty ? summed : PatchedRows(base: summed, columns: tensor.columns, rows: tensor.rows)
    }

    private func summed(_ tensor: FusedTensor) throws -> any TensorRows {
        let base = try tensor.saved.map { try SavedRows($0) } ?? store.rows(of: tensor.stored)
        guard !tensor.modules.isEmpty else { return base }
        let factors = try tensor.modules.map { module in
            let scaled = try module.b.floats().map { module.scale * $0 }
            return FusedRows.Factors(
                a: FloatStorage(try module.a.floats(), rows: module.rank, columns: module.a.columns).matrix,
                scaledB: FloatStorage(scaled, rows: module.b.rows, columns: module.rank).matrix,
                lengths: try module.magnitude?.floats())
        }
        return FusedRows(base: base, factors: factors, kernels: kernels)
    }
}

/// What becomes of one tensor of a model.
private struct FusedTensor {
    /// The model's tensor that it has the shape of, and the numbers if none are saved.
    let stored: String
    /// What stands in its place.
    var saved: AdapterTensor?
    /// What is added, in order.
    var modules: [AdapterModule] = []
    /// Single rows that stand in the place of its own, by number.
    var rows: [Int: [Float]] = [:]
    /// Elements of such a row.
    var columns = 0
}

/// Goes through adapters and finds out what becomes of which tensor.
private struct FusedTensors {
    let store: any TensorSource
    /// The head that is the embedding in the model.
    let tiedHead: ModelTensors.Head?
    private(set) var fused: [String: FusedTensor] = [:]

    init(store: any TensorSource, tiedHead: ModelTensors.Head?) {
        (self.store, self.tiedHead) = (store, tiedHead)
    }

    /// The name of the head that is the embedding in the model and here no longer.
    var untiedHead: String? { tiedHead.flatMap { fused[$0.name] == nil ? nil : $0.name } }

    mutating func add(_ adapter: AdapterFile) throws {
        for (name, tensor) in adapter.saved.sorted(by: { $0.key < $1.key }) {
            let stored = name == tiedHead?.name ? tiedHead?.embedding ?? name : name
            guard let entry = try store.entry(stored) else {
                throw MeraserError.badInput(
                    "\(adapter.path): the saved tensor \(quoted(name)) is not in \(store.path); the adapter belongs to "
                        + "another model")
            }
            guard entry.shape == tensor.shape else {
                throw MeraserError.badInput(
                    "\(adapter.path): the saved tensor \(quoted(name)) has shape \(tensor.shape), in \(store.path) it is "
                        + "\(entry.shape); a model whose vocabulary has grown must have grown before")
            }
            fused[name] = FusedTensor(stored: stored, saved: tensor)
        }
        // A head that is the embedding keeps the numbers that it was trained with, as in PEFT.
        if let tiedHead, adapter.saved[tiedHead.embedding] != nil, fused[tiedHead.name] == nil {
            fused[tiedHead.name] = FusedTensor(stored: tiedHead.embedding)
        }
        if let own = adapter.tokenRows { try add(own, of: adapter) }
        // The head has its own module then, or none; which the embedding's does not change, as in PEFT.
        if let tiedHead, fused[tiedHead.name] == nil,
            adapter.modules.contains(where: { $0.isEmbedding && $0.path + ".weight" == tiedHead.embedding })
        {
            fused[tiedHead.name] = FusedTensor(stored: tiedHead.embedding)
        }
        for module in adapter.modules {
            let name = module.path + ".weight"
            let stored = name == tiedHead?.name && fused[name] != nil ? tiedHead?.embedding ?? name : name
            guard let entry = try store.entry(stored) else {
                throw MeraserError.badInput(
                    "\(adapter.path): module '\(module.path)' is not in \(store.path); the adapter belongs to another "
                        + "model")
            }
            guard entry.shape == [module.b.rows, module.a.columns] else {
                throw MeraserError.badInput(
                    "\(adapter.path): module '\(module.path)' has factors for a weight of shape "
                        + "[\(module.b.rows), \(module.a.columns)], in \(store.path) it is \(entry.shape)")
            }
            fused[name, default: FusedTensor(stored: name)].modules.append(module)
        }
    }
}

extension FusedTensors {
    /// Rows of the embedding, which a head that is the embedding has too.
    private mutating func add(_ own: AdapterTokenRows, of adapter: AdapterFile) throws {
        let name = own.path + ".weight"
        guard let entry = try store.entry(name) else {
            throw MeraserError.badInput(
                "\(adapter.path): rows of '\(own.path)', which is not in \(store.path); the adapter belongs to another "
                    + "model")
        }
        guard entry.columns == own.rows.columns, own.tokens.allSatisfy({ $0 < entry.rows }) else {
            throw MeraserError.badInput(
                "\(adapter.path): rows of '\(own.path)' of \(own.rows.columns) numbers for tokens up to "
                    + "\(own.tokens.max() ?? 0), in \(store.path) it is \(entry.shape)")
        }
        let values = try own.rows.floats()
        var tensor = fused[name] ?? FusedTensor(stored: name)
        tensor.columns = entry.columns
        for (place, token) in own.tokens.enumerated() {
            tensor.rows[Int(token)] = Array(values[place * entry.columns..<(place + 1) * entry.columns])
        }
        fused[name] = tensor
    }
}

/// A tensor with single rows in the place of its own.
private struct PatchedRows: TensorRows {
    let base: any TensorRows
    let columns: Int
    let rows: [Int: [Float]]

    func read(rows range: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        try base.read(rows: range, into: target, raw: &raw)
        for row in range {
            rows[row]?.withUnsafeBufferPointer {
                guard let start = $0.baseAddress else { return }
                (target + (row - range.lowerBound) * columns).update(from: start, count: columns)
            }
        }
    }
}

/// The rows of a tensor that an adapter holds whole.
private struct SavedRows: TensorRows {
    let values: [Float]
    let columns: Int

    init(_ tensor: AdapterTensor) throws { (values, columns) = (try tensor.floats(), tensor.columns) }

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        values.withUnsafeBufferPointer {
            guard let start = $0.baseAddress else { return }
            target.update(from: start + rows.lowerBound * columns, count: rows.count * columns)
        }
    }
}

/// A tensor with its adapters, one after the other.
private struct FusedRows: TensorRows, @unchecked Sendable {
    // @unchecked: the factors are only read.

    /// The factors of one adapter, in fp32.
    struct Factors {
        let a: FloatMatrix  // [r, K]
        let scaledB: FloatMatrix  // scale · B, [N, r]
        let lengths: [Float]?  // of the rows of the sum, [N]
    }

    let base: any TensorRows
    let factors: [Factors]
    let kernels: KernelContext

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        guard let columns = factors.first?.a.columns else { preconditionFailure("no factors") }
        try base.read(rows: rows, into: target, raw: &raw)
        let piece = UnsafeMutableBufferPointer(start: target, count: rows.count * columns)
        let workspace = LinearWorkspace()
        for factor in factors {
            let result = FloatStorage(Array(piece), rows: rows.count, columns: columns).matrix
            kernels.lowRankExpand(
                factor.scaledB.slice(rows: rows), factor.a, .a, into: result, accumulate: true, workspace: workspace)
            _ = piece.update(fromContentsOf: result.toArray())
            guard let lengths = factor.lengths else { continue }
            lengths.withUnsafeBufferPointer {
                mk_merge_set_row_lengths(
                    target, Int64(rows.count), Int64(columns), $0.baseAddress.map { $0 + rows.lowerBound })
            }
        }
    }
}
