import Foundation
import Quant

/// One opened model of a merge: its tensors by name and layer.
struct MergeModel: Sendable {
    let path: String
    /// Names of its tensors but those that `isLeftOut`.
    let names: [TensorName]
    /// Names of those.
    let leftOut: [String]
    /// Layers: one more than the highest number.
    let layerCount: Int

    /// A folder or an MQF file; nil for a GGUF file.
    private let weights: (any WeightStore)?
    private let ggufTensors: [[UInt8]: GGUFTensor]

    /// Opens a Hugging Face folder, an MQF or a GGUF file. Errors: `badInput`.
    init(path: String) throws {
        self.path = path
        let all: [String]
        if GGUFFile.isGGUF(path: path) {
            let tensors = try GGUFWeights(path: path).tensors
            weights = nil
            ggufTensors = Dictionary(tensors.map { (Array($0.name.utf8), $0) }, uniquingKeysWith: { first, _ in first })
            all = tensors.map(\.name)
        } else {
            let store = try openWeightStore(path: path)
            weights = store
            ggufTensors = [:]
            all = store.tensorNames
        }
        names = all.filter { !Self.isLeftOut($0) }.map(TensorName.init)
        leftOut = all.filter(Self.isLeftOut)
        layerCount = (names.compactMap(\.layer).max() ?? -1) + 1
    }

    /// Buffers that transformers computes itself and older checkpoints hold.
    private static func isLeftOut(_ name: String) -> Bool {
        name.hasSuffix(".rotary_emb.inv_freq") || name.hasSuffix(".position_ids") || name == "position_ids"
    }

    /// Where config.json and tokenizer come from. Error (`badInput`): a GGUF file has none of Hugging Face's files.
    func store() throws -> any WeightStore {
        guard let weights else {
            throw MeraserError.badInput(
                "\(path) is a GGUF file, which has no config.json for the result: make a Hugging Face folder or an MQF file "
                    + "the base_model (or the first model)")
        }
        return weights
    }

    /// The file of that name; nil if there is none.
    func textFile(_ name: String) throws -> [UInt8]? { try weights?.textFile(name) }

    /// The tensor of that name; of a model with a tied output head, the embedding where the head is asked for. nil if there
    /// is none.
    func tensor(_ name: String) throws -> ElementReader? {
        if let found = try ownTensor(name) { return found }
        return name == "lm_head.weight" ? try ownTensor("model.embed_tokens.weight") : nil
    }

    private func ownTensor(_ name: String) throws -> ElementReader? {
        guard let weights else { return ggufTensors[Array(name.utf8)].map { ElementReader($0) } }
        return weights.hasTensor(name) ? ElementReader(try weights.tensor(name)) : nil
    }
}
