import Kernels
import Model
import Quant

/// How much the loss of a text depends on each output of each linear layer: squared gradients, added up over backward passes.
///
/// Where the text is one that the model might have written, a change dy of an output in one token changes the model's
/// distributions behind it by a KL of (gradient · dy)² / 2 (the Fisher information). Not thread-safe.
public final class OutputSensitivity {
    /// Σ over tokens of the squared gradient of each output, [N].
    public private(set) var squares: [ModuleKey: [Double]] = [:]
    /// The same of the embeddings, [hidden].
    public private(set) var embedding: [Double] = []

    /// Nothing added yet.
    public init() {}

    func add(_ module: ModuleKey, _ gradient: FloatMatrix) {
        gradient.addColumnProducts(
            gradient, to: &squares[module, default: Array(repeating: 0, count: gradient.columns)])
    }

    func addEmbedding(_ gradient: FloatMatrix) {
        if embedding.isEmpty { embedding = Array(repeating: 0, count: gradient.columns) }
        gradient.addColumnProducts(gradient, to: &embedding)
    }
}
