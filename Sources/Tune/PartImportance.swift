import Base
import Kernels
import Model
import Quant

/// First-order change of the loss if a part of a layer went, added up over backward passes.
///
/// For channel j of down_proj's input a, Σᵢ Wᵢⱼ·dWᵢⱼ = Σₜ aₜⱼ·daₜⱼ: gradient times weight without any gradient of a weight
/// (LLM-Pruner's Taylor score, 2305.11627, taken over the whole channel). For heads the same at o_proj's input. Not
/// thread-safe.
public final class PartImportance {
    /// Σ over batches and tokens, [layer][channel], signed.
    public private(set) var channels: [[Double]]
    /// The same for every element of the heads' outputs, [layer][H·D].
    private var outputs: [[Double]]
    private let groupWidth: Int

    /// Nothing added yet.
    public init(_ spec: DecoderSpec) {
        channels = spec.layers.map { Array(repeating: 0, count: $0.mlp.width) }
        outputs = spec.layers.map { Array(repeating: 0, count: $0.attention.queryWidth) }
        groupWidth = spec.layers[0].attention.groupSize * spec.layers[0].attention.headDim
    }

    /// Σ over each group of query heads that share a key and value head, [layer][group], signed.
    public var groups: [[Double]] {
        outputs.map { sums in
            stride(from: 0, to: sums.count, by: groupWidth).map { sums[$0..<$0 + groupWidth].reduce(0, +) }
        }
    }

    func addChannels(layer: Int, _ product: FloatMatrix, _ gradient: FloatMatrix) {
        product.addColumnProducts(gradient, to: &channels[layer])
    }

    func addHeads(layer: Int, _ attention: FloatMatrix, _ gradient: FloatMatrix) {
        attention.addColumnProducts(gradient, to: &outputs[layer])
    }
}
