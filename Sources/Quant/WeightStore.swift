/// Where a model's Hugging Face files come from, with or without its weights. Thread-safe.
public protocol TextFileSource: Sendable {
    /// The file or folder as given.
    var path: String { get }
    /// The bytes of one of Hugging Face's files (`config.json`, `tokenizer.json`, …); nil if there is none.
    func textFile(_ name: String) throws -> [UInt8]?
}

/// Where a model's weights and Hugging Face files come from: an MQF file or a folder of safetensors. Thread-safe.
public protocol WeightStore: TextFileSource {
    /// The names of all tensors.
    var tensorNames: [String] { get }
    /// The tensor of that name. Errors (`badInput`) name file and tensor: there is none, or its type or shape is not
    /// one that meraser computes with.
    func tensor(_ name: String) throws -> TensorView
    /// True if there is a tensor of exactly that name (compared by bytes).
    func hasTensor(_ name: String) -> Bool
    /// The identity of the weights, 64 hex digits: what an adapter records as its base. MQF: SHA-256 of the file.
    /// Folder: SHA-256 of the sorted lines `sha256  name` of config.json and the safetensors files, as
    /// `sha256sum config.json *.safetensors | LC_ALL=C sort | sha256sum` prints it. The first call reads everything.
    func sha256() throws -> String
    /// Reads everything and compares it with the checksums that the format has. Error: `badInput` naming what is damaged.
    func verify() throws
    /// What is odd about the files, in a line each, for the user; most stores have nothing to say.
    var warnings: [String] { get }
}

extension WeightStore {
    /// Nothing is odd.
    public var warnings: [String] { [] }
}
