import Base
import Foundation
import Quant

/// One opened model of a merge: its tensors by name and layer.
struct MergeModel: Sendable {
    let path: String
    /// Names of its weights.
    let names: [TensorName]
    /// Layers: one more than the highest number.
    let layerCount: Int
    /// config.json; nil for a GGUF file and for a folder without one.
    let config: JSONValue?
    /// The head that is the embedding; nil where there is a head of its own, or none.
    let tiedHead: ModelTensors.Head?
    /// What the user should know about it.
    let warnings: [String]

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
            config = nil
            ggufTensors = Dictionary(tensors.map { (Array($0.name.utf8), $0) }, uniquingKeysWith: { first, _ in first })
            all = tensors.map(\.name)
        } else {
            let store = try openWeightStore(path: path)
            weights = store
            config = try store.textFile("config.json").map { try JSONValue.parse($0, file: "\(path): config.json") }
            ggufTensors = [:]
            all = store.tensorNames
        }
        let tensors = ModelTensors(all, config: config)
        names = tensors.names.map(TensorName.init)
        tiedHead = tensors.tiedHead
        warnings = (weights?.warnings ?? []) + tensors.warnings(path: path)
        layerCount = (names.compactMap(\.layer).max() ?? -1) + 1
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
        let name = name == tiedHead?.name ? tiedHead?.embedding ?? name : name
        guard let weights else { return ggufTensors[Array(name.utf8)].map { ElementReader($0) } }
        return weights.hasTensor(name) ? ElementReader(try weights.tensor(name)) : nil
    }

    /// The shape of that tensor; nil if there is none. Errors: as `tensor`.
    func shape(_ name: String) throws -> [Int]? { try tensor(name)?.shape }
}
