/// Where a model's Hugging Face files come from, with or without its weights. Thread-safe.
public protocol TextFileSource: Sendable {
    /// The file or folder as given.
    var path: String { get }
    /// The bytes of one of Hugging Face's files (`config.json`, `tokenizer.json`, …); nil if there is none.
    func textFile(_ name: String) throws -> [UInt8]?
    /// Lends the same bytes to `body`, without a copy where they lie in a mapped file; they must not be kept beyond it.
    func withTextFile<Result>(
        _ name: String, _ body: (UnsafeBufferPointer<UInt8>?) throws -> Result
    ) throws -> Result
}

extension TextFileSource {
    /// Lends a copy.
    public func withTextFile<Result>(
        _ name: String, _ body: (UnsafeBufferPointer<UInt8>?) throws -> Result
    ) throws -> Result {
        guard let bytes = try textFile(name) else { return try body(nil) }
        return try bytes.withUnsafeBufferPointer(body)
    }
}

/// Weights that are used where they lie in mapped files: an MQF file or a folder of safetensors. Thread-safe.
///
/// Its `sha256` is what an adapter records as its base. MQF: SHA-256 of the file. Folder: SHA-256 of the sorted lines
/// `sha256  name` of config.json and the safetensors files, as `sha256sum config.json *.safetensors | LC_ALL=C sort |
/// sha256sum` prints it.
public protocol WeightStore: StoredSource {
    /// The tensor of that name. Errors (`badInput`) name file and tensor: there is none, or its type or shape is not
    /// one that meraser computes with.
    func tensor(_ name: String) throws -> TensorView
    /// True if there is a tensor of exactly that name (compared by bytes).
    func hasTensor(_ name: String) -> Bool
    /// Takes the weights out of this process's resident memory, after work that has read all of them; they come back where
    /// they are read again.
    func releasePages()
}
