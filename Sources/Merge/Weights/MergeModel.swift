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
    /// config.json; nil where there is none, or none can be made of a GGUF file's metadata.
    let config: JSONValue?
    /// The head that is the embedding; nil where there is a head of its own, or none.
    let tiedHead: ModelTensors.Head?
    /// The embedding, and the name that its head has or would have; nil for what is no language model.
    let head: ModelTensors.Head?
    /// What the user should know about it.
    let warnings: [String]
    /// Its weights and text files.
    let source: any TensorSource
    /// True for a GGUF file, whose config.json is made of its metadata.
    let isGGUF: Bool

    /// Opens what `openTensorSource` opens, with an adapter in it if the path names one (`ModelReference`).
    /// Errors: `badInput`.
    init(path: String) throws {
        self.path = path
        let reference = try ModelReference(path, place: "the model")
        let stored = try openTensorSource(path: reference.model)
        isGGUF = stored is GGUFModel
        source = try reference.adapter.map { try ModelWithAdapter(stored, adapter: $0) } ?? stored
        var unread: [String] = []
        do {
            config = try source.configIfPresent()?.json
        } catch let error as MeraserError where stored is GGUFModel {
            // Its weights can be merged all the same, where another model's config.json describes the result.
            config = nil
            unread = ["its configuration was not compared: \(error.message)"]
        }
        let tensors = ModelTensors(source.tensorNames, config: config)
        names = tensors.names.map(TensorName.init)
        (tiedHead, head) = (tensors.tiedHead, tensors.head)
        warnings = source.warnings + tensors.warnings(path: path) + unread
        layerCount = (names.compactMap(\.layer).max() ?? -1) + 1
    }

    /// The file of that name; nil if there is none.
    func textFile(_ name: String) throws -> [UInt8]? { try source.textFile(name) }

    /// The tensor of that name; of a model with a tied output head, the embedding where the head is asked for. nil if there
    /// is none.
    func tensor(_ name: String) throws -> ElementReader? {
        try ElementReader(name == tiedHead?.name ? tiedHead?.embedding ?? name : name, in: source)
    }

    /// The shape of that tensor; nil if there is none. Errors: as `tensor`.
    func shape(_ name: String) throws -> [Int]? { try tensor(name)?.entry.shape }
}
