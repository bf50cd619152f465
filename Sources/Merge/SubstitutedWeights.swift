import Base
import Quant

/// A model some of whose tensors are another's.
public struct SubstitutedWeights: FramedWeights {
    /// What is the model's own.
    public let frame: ModelFrame
    private let proxy: any TensorSource
    private let names: Set<String>

    /// A model with those tensors of `proxy`, in f32 where the two have them in different types.
    ///
    /// - Throws: `badInput` for a tensor that one of them lacks or that has two shapes, and what is wrong with config.json.
    public init(_ source: any TensorSource, names: Set<String>, from proxy: any TensorSource) throws {
        (self.proxy, self.names) = (proxy, names)
        frame = try ModelFrame(source, warnings: proxy.warnings) { name, entry in
            let type = ModelFrame.plainType(entry)
            guard names.contains(name) else { return type }
            let other = try proxy.tensorEntry(name)
            guard other.shape == entry.shape else {
                throw MeraserError.badInput(
                    "tensor '\(name)' has shape \(other.shape) in \(proxy.path), but \(entry.shape) in \(source.path)")
            }
            return ModelFrame.plainType(other) == type ? type : .f32
        }
        if let missing = names.subtracting(frame.names).sorted().first {
            throw MeraserError.badInput("\(source.path): there is no tensor '\(missing)'")
        }
    }

    /// The rows of that tensor.
    public func rows(of name: String) throws -> any TensorRows {
        names.contains(name) ? try proxy.rows(of: name) : try frame.source.rows(of: name)
    }
}
