import Base
import Quant

/// What of a model is as it was, and what has to be said anew, where values of its tensors change and no shape does.
public struct ModelFrame: Sendable {
    /// The model.
    let source: any TensorSource
    /// The type that each tensor is written in.
    private let types: [String: TensorType]
    /// config.json, which says so.
    private let config: [UInt8]
    /// The weights, without buffers.
    let names: [String]
    /// What the user should know.
    let warnings: [String]

    /// The frame of a model.
    ///
    /// - Parameters:
    ///   - more: warnings of what changes it.
    ///   - type: the type that a tensor is written in.
    /// - Throws: `badInput` for a config.json that cannot be read, and what `type` throws.
    init(
        _ source: any TensorSource, warnings more: [String] = [],
        type: (_ name: String, _ entry: TensorEntry) throws -> TensorType = { Self.plainType($1) }
    ) throws {
        self.source = source
        let own = try ModelTensors(of: source)
        var types: [String: TensorType] = [:]
        let shapes = try own.names.map { name in
            let entry = try source.tensorEntry(name)
            types[name] = try type(name, entry)
            return (name, entry.shape)
        }
        (self.types, names) = (types, own.names)
        let (config, changed) = try ConfigChanges(types: Set(types.values), tensors: shapes).applied(to: source)
        self.config = config
        warnings = source.warnings + more + own.warnings(path: source.path) + changed
    }

    /// The plain type that a tensor is written in: its own, or bf16 where that is none.
    static func plainType(_ entry: TensorEntry) -> TensorType {
        entry.exactType?.isTiled == false ? entry.plainType : .bf16
    }

    /// What there is under a name.
    func entry(_ name: String) throws -> TensorEntry? {
        guard let type = types[name], let entry = try source.entry(name) else { return nil }
        return TensorEntry(computed: name, shape: entry.shape, type: type, path: entry.path)
    }

    /// The model's files; config.json says what is written.
    func textFile(_ name: String) throws -> [UInt8]? { name == "config.json" ? config : try source.textFile(name) }
}

/// A model some of whose tensors have other values.
public protocol FramedWeights: TensorSource {
    /// Everything else.
    var frame: ModelFrame { get }
}

extension FramedWeights {
    /// The model.
    public var path: String { frame.source.path }
    /// The weights, without buffers.
    public var tensorNames: [String] { frame.names }
    /// What the user should know.
    public var warnings: [String] { frame.warnings }
    /// The model's files; config.json says what is written.
    public func textFile(_ name: String) throws -> [UInt8]? { try frame.textFile(name) }
    /// What there is under that name.
    public func entry(_ name: String) throws -> TensorEntry? { try frame.entry(name) }
}
