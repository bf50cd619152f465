import Base

/// The weights of a GGUF file, or of all its parts, under Hugging Face's names, in Hugging Face's order of rows and with
/// Hugging Face's values. Immutable and thread-safe.
public struct GGUFWeights: Sendable {
    /// The path as given.
    public let path: String
    /// All tensors, in the order of the files.
    public let tensors: [GGUFTensor]

    /// Opens a file; of a file in parts the first is named, and the others are found beside it.
    ///
    /// Errors (`badInput`): metadata that describes no model that is served, a tensor without a counterpart in Hugging
    /// Face's models, an element type that is not read, data beyond the file's end, or a part that is missing or another
    /// model's.
    public init(path: String) throws {
        let parts = try GGUFParts(path: path)
        try self.init(parts, try GGUFTextFiles(parts), path: path)
    }

    /// The weights of files that are open, whose metadata `texts` tells; `path` is the model's name for errors. Errors as
    /// above.
    init(_ parts: GGUFParts, _ texts: GGUFTextFiles, path: String) throws {
        let layout = try texts.layout()
        tensors = try parts.files.flatMap { gguf in
            let file = try MappedFile(path: gguf.path)
            let ends = gguf.tensors.dropFirst().map { gguf.dataOffset + $0.offset } + [file.count]
            return try zip(gguf.tensors, ends).flatMap { info, end -> [GGUFTensor] in
                // What config.json says.
                if GGUFKeys.ropeFactorNames.contains(info.name) { return [] }
                guard let places = layout.places[info.name] else {
                    throw MeraserError.badInput("\(gguf.path): tensor \(quoted(info.name)) \(Self.reason(info.name))")
                }
                let start = gguf.dataOffset + info.offset
                return try places.map {
                    try GGUFTensor($0, info: info, file: file, bytes: start..<max(start, end))
                }
            }
        }
        self.path = path
    }

    /// Why a tensor of that name is not read.
    private static func reason(_ name: String) -> String {
        let module = name.split(separator: ".").dropFirst(2).first ?? ""
        if module.hasSuffix("_exps") || module.hasSuffix("_shexp") || module.hasPrefix("ffn_gate_inp")
            || module.hasPrefix("ffn_") && name.split(separator: ".").count == 5
        {
            return "belongs to a mixture of experts (MoE), which is not read"
        }
        return "has no counterpart in the model that the metadata describes"
    }
}
