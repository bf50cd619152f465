import Base
import Quant

/// Which of a checkpoint's tensors are weights of the model, as transformers reads them. Every writer of models asks this.
struct ModelTensors: Sendable {
    /// The output head of a language model and the embedding that it may share.
    struct Head: Sendable, Equatable {
        /// The head's name.
        let name: String
        /// The embedding's name.
        let embedding: String
    }

    /// The weights, in the checkpoint's order.
    let names: [String]
    /// Buffers that transformers computes itself and older checkpoints hold.
    let buffers: [String]
    /// The head whose weights are the embedding's: config.json says so, or there are no others. Nil: a head of its own, or no
    /// language model.
    let tiedHead: Head?
    /// The tensor of a head that config.json ties to the embedding: nothing reads it.
    let unusedHead: String?
    /// The embedding of a language model, and the name that its head has or would have; nil for other models.
    let head: Head?

    private static let heads = [
        Head(name: "lm_head.weight", embedding: "model.embed_tokens.weight"),
        Head(name: "lm_head.weight", embedding: "transformer.wte.weight"),
        Head(name: "embed_out.weight", embedding: "gpt_neox.embed_in.weight"),
    ]

    /// Sorts those tensors; `config` is config.json where there is one.
    init(_ all: [String], config: JSONValue?) {
        let present = Set(all.map { Array($0.utf8) })
        let head = Self.heads.first { present.contains(Array($0.embedding.utf8)) }
        self.head = head
        let hasTensor = head.map { present.contains(Array($0.name.utf8)) } ?? false
        let isTied = config?["tie_word_embeddings"]?.bool == true
        tiedHead = isTied || !hasTensor ? head : nil
        let unused = isTied && hasTensor ? head?.name : nil
        unusedHead = unused
        buffers = all.filter(HuggingFaceFiles.isBuffer)
        names = all.filter { !HuggingFaceFiles.isBuffer($0) && $0 != unused }
    }

    /// The same of an opened model. Error (`badInput`): its config.json is no JSON.
    init(of source: any TensorSource) throws {
        self.init(source.tensorNames, config: try source.configIfPresent()?.json)
    }

    /// What the user should know about the tensors of the model at `path` that are left out.
    func warnings(path: String) -> [String] {
        var warnings: [String] = []
        if let first = buffers.first {
            warnings.append("\(buffers.count) tensors like '\(first)' left out: transformers computes them itself")
        }
        if let unusedHead {
            warnings.append("\(path): '\(unusedHead)' left out: config.json ties the output head to the embedding")
        }
        return warnings
    }

    /// The rows of the embedding among tensors of those names and shapes: the vocabulary; nil if there is none.
    static func vocabulary(_ tensors: [(name: String, shape: [Int])]) -> Int? {
        tensors.first { tensor in heads.contains { $0.embedding == tensor.name } }?.shape.first
    }

    /// True if one of those names is an output head.
    static func hasHead(_ names: [String]) -> Bool { names.contains { name in heads.contains { $0.name == name } } }
}
