import Foundation
import Quant

/// One opened model of a merge: its tensors by name and layer.
struct MergeModel: Sendable {
    let path: String
    let store: any WeightStore
    /// Names of its tensors but those that `isLeftOut`.
    let names: [TensorName]
    /// Layers: one more than the highest number.
    let layerCount: Int

    /// Opens a model. Errors: `badInput`.
    init(path: String) throws {
        self.path = path
        store = try openWeightStore(path: path)
        names = store.tensorNames.filter { !Self.isLeftOut($0) }.map(TensorName.init)
        layerCount = (names.compactMap(\.layer).max() ?? -1) + 1
    }

    /// Buffers that transformers computes itself and older checkpoints hold.
    static func isLeftOut(_ name: String) -> Bool {
        name.hasSuffix(".rotary_emb.inv_freq") || name.hasSuffix(".position_ids") || name == "position_ids"
    }

    /// The tensor of that name; of a model with a tied output head, the embedding where the head is asked for. nil if there
    /// is none.
    func view(_ name: String) throws -> TensorView? {
        if store.hasTensor(name) { return try store.tensor(name) }
        let embedding = "model.embed_tokens.weight"
        guard name == "lm_head.weight", store.hasTensor(embedding) else { return nil }
        return try store.tensor(embedding)
    }
}
