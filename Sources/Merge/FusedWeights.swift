import Base
import Kernels
import Quant

/// The weights of a model with adapters added: W + Σ scale · B · A, computed in fp32 while they are read.
///
/// The sum over the rank is one chain of fp32 additions in the order of the rank, so that results depend neither on the
/// pieces nor on the number of threads.
public struct FusedWeights: TensorSource {
    private let store: any TensorSource
    private let modulesByTensor: [String: [PEFTModule]]
    private let kernels: KernelContext
    private let type: TensorType
    private let config: [UInt8]
    /// The weights, without buffers and heads that nothing reads.
    public let tensorNames: [String]
    /// What the user should know.
    public let warnings: [String]

    /// Finds the weight of every adapted module; `type` is the plain type that the weights count as.
    ///
    /// Errors (`badInput`): a module that the model does not have, or factors whose shapes do not fit its weight; the line
    /// names adapter, module and both shapes; and what is wrong with config.json.
    public init(store: any TensorSource, adapters: [PEFTAdapterFile], type: TensorType, kernels: KernelContext) throws {
        self.store = store
        self.type = type
        // The pump has the threads.
        self.kernels = try KernelContext(threads: 1, isa: kernels.isaName)
        var modules: [String: [PEFTModule]] = [:]
        for adapter in adapters {
            for module in adapter.modules {
                let name = module.path + ".weight"
                guard let entry = try store.entry(name) else {
                    throw MeraserError.badInput(
                        "\(adapter.path): module '\(module.path)' is not in \(store.path); the adapter belongs to another "
                            + "model")
                }
                guard entry.shape == [module.b.info.rows, module.a.info.columns] else {
                    throw MeraserError.badInput(
                        "\(adapter.path): module '\(module.path)' has factors for a weight of shape "
                            + "[\(module.b.info.rows), \(module.a.info.columns)], in \(store.path) it is \(entry.shape)"
                    )
                }
                modules[name, default: []].append(module)
            }
        }
        modulesByTensor = modules
        let tensors = try ModelTensors(of: store)
        tensorNames = tensors.names
        let shapes = try tensors.names.map { ($0, try store.tensorEntry($0).shape) }
        let (config, changes) = try ConfigChanges(types: [type], tensors: shapes).applied(to: store)
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
        try store.entry(name).map { TensorEntry(computed: name, shape: $0.shape, type: type, path: $0.path) }
    }

    /// The rows of that tensor with its adapters' part.
    public func rows(of name: String) throws -> any TensorRows {
        let base = try store.rows(of: name)
        guard let modules = modulesByTensor[name] else { return base }
        let factors = modules.map { module in
            let (rows, columns) = (module.b.info.rows, module.a.info.columns)
            let scaled = module.b.floats().map { module.scale * $0 }
            return FusedRows.Factors(
                a: FloatStorage(module.a.floats(), rows: module.rank, columns: columns).matrix,
                scaledB: FloatStorage(scaled, rows: rows, columns: module.rank).matrix)
        }
        return FusedRows(base: base, factors: factors, kernels: kernels)
    }
}

/// base + Σ scale · B · A of one tensor.
private struct FusedRows: TensorRows, @unchecked Sendable {
    // @unchecked: the factors are only read.

    /// The two factors of one adapter, in fp32.
    struct Factors {
        let a: FloatMatrix  // [r, K]
        let scaledB: FloatMatrix  // scale · B, [N, r]
    }

    let base: any TensorRows
    let factors: [Factors]
    let kernels: KernelContext

    func read(rows: Range<Int>, into target: UnsafeMutablePointer<Float>, raw: inout [UInt8]) throws {
        guard let columns = factors.first?.a.columns else { preconditionFailure("no factors") }
        try base.read(rows: rows, into: target, raw: &raw)
        let piece = UnsafeMutableBufferPointer(start: target, count: rows.count * columns)
        let result = FloatStorage(Array(piece), rows: rows.count, columns: columns).matrix
        let workspace = LinearWorkspace()
        for factor in factors {
            kernels.lowRankExpand(
                factor.scaledB.slice(rows: rows), factor.a, .a, into: result, accumulate: true, workspace: workspace)
        }
        _ = piece.update(fromContentsOf: result.toArray())
    }
}
