import Base
import Quant

/// The Hugging Face files that are copied as they are; config.json is written anew.
private let verbatimFileNames = [
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "chat_template.jinja", "tokenizer.model", "vocab.txt", "vocab.json", "merges.txt",
]

/// Writes that config.json, and the other files of a Hugging Face folder as they are. Errors: `runtime` for a full disk.
func writeHuggingFaceFiles(of store: any WeightStore, folder: String, config: [UInt8]) throws {
    for name in verbatimFileNames {
        if let bytes = try store.textFile(name) { try writeFileAtomically(path: "\(folder)/\(name)", bytes) }
    }
    try writeFileAtomically(path: "\(folder)/config.json", config)
}
