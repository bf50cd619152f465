import Base
import Quant

/// A model some of whose tensors are another's.
public struct SubstitutedWeights: TensorSource {
    private let source: any TensorSource
    private let proxy: any TensorSource
    private let names: Set<String>
    private let types: [String: TensorType]
    private let config: [UInt8]
    /// The weights, without buffers.
    public let tensorNames: [String]
    /// What the user should know.
    public let warnings: [String]

    /// A model with those tensors of `proxy`, in f32 where the two have them in different types.
    ///
    /// - Throws: `badInput` for a tensor that one of them lacks or that has two shapes, and what is wrong with config.json.
    public init(_ source: any TensorSource, names: Set<String>, from proxy: any TensorSource) throws {
        (self.source, self.proxy, self.names) = (source, proxy, names)
        let own = try ModelTensors(of: source)
        var types: [String: TensorType] = [:]
        let shapes = try own.names.map { name in
            let entry = try source.tensorEntry(name)
            var type = Self.type(entry)
            if names.contains(name) {
                let other = try proxy.tensorEntry(name)
                guard other.shape == entry.shape else {
                    throw MeraserError.badInput(
                        "tensor '\(name)' has shape \(other.shape) in \(proxy.path), but \(entry.shape) in \(source.path)"
                    )
                }
                if Self.type(other) != type { type = .f32 }
            }
            types[name] = type
            return (name, entry.shape)
        }
        if let missing = names.subtracting(own.names).sorted().first {
            throw MeraserError.badInput("\(source.path): there is no tensor '\(missing)'")
        }
        (self.types, tensorNames) = (types, own.names)
        let (config, changed) = try ConfigChanges(types: Set(types.values), tensors: shapes).applied(to: source)
        self.config = config
        warnings = source.warnings + proxy.warnings + own.warnings(path: source.path) + changed
    }

    /// The plain type that a tensor is written in.
    private static func type(_ entry: TensorEntry) -> TensorType {
        entry.exactType?.isTiled == false ? entry.plainType : .bf16
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
        names.contains(name) ? try proxy.rows(of: name) : try source.rows(of: name)
    }
}
