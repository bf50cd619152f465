import Base
import Foundation

/// The files of a Hugging Face model beside its weights, and which of its tensors are no weights: one list of each for
/// all who read and write models.
public enum HuggingFaceFiles {
    /// The text files that travel with a model.
    static let names = [
        "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "added_tokens.json", "chat_template.jinja", "tokenizer.model",
    ]
    /// What stands for tokenizer.json in older folders.
    public static let vocabularyNames = ["vocab.txt", "vocab.json", "merges.txt"]

    /// Ends of the names of buffers that transformers computes itself and older checkpoints hold.
    private static let bufferEndings = [
        ".rotary_emb.inv_freq", ".rotary_emb.cos_cached", ".rotary_emb.sin_cached", ".position_ids", ".masked_bias",
        ".attn.bias", ".attention.bias",
    ]

    /// True for a tensor that is no weight: a buffer that transformers computes itself.
    public static func isBuffer(_ name: String) -> Bool {
        name == "position_ids" || bufferEndings.contains { name.hasSuffix($0) }
    }
}

/// A folder with a tokenizer and no weights. Immutable and thread-safe.
struct TextFolder: TextFileSource {
    let path: String

    /// Nil if that is no folder, has weights or has none of a tokenizer's files.
    init?(path: String) throws {
        func has(_ name: String) -> Bool { FileManager.default.fileExists(atPath: path + "/" + name) }
        guard ["tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json"].contains(where: has),
            !CheckpointFiles.Format.allCases.contains(where: { has($0.single) || has($0.index) })
        else { return nil }
        self.path = path
    }

    func textFile(_ name: String) throws -> [UInt8]? { try CheckpointFiles.textFile(name, in: path) }
}

extension TextFileSource {
    /// The model's config.json, and its name for errors. Error (`badInput`): there is none, or it is no JSON.
    public func config() throws -> (json: JSONValue, file: String) {
        guard let config = try configIfPresent() else {
            throw MeraserError.badInput(
                "\(path) has no config.json; expected the folder of a Hugging Face model, an MQF or a GGUF file")
        }
        return config
    }

    /// The same; nil if there is none.
    public func configIfPresent() throws -> (json: JSONValue, file: String)? {
        let isFile = FileManager.default.fileExists(atPath: path + "/config.json")
        let file = path + (isFile ? "/" : ": ") + "config.json"
        return try textFile("config.json").map { (try JSONValue.parse($0, file: file), file) }
    }
}
