/// What a converter asks about a checkpoint before it reads any weight.
public protocol CheckpointSource: Sendable {
    /// The folder or file, for messages.
    var path: String { get }
    /// The names of all tensors.
    var tensorNames: [String] { get }
    /// What is odd about it, in a line each.
    var warnings: [String] { get }
    /// The shape of that tensor; nil if there is none.
    func shape(of name: String) -> [Int]?
    /// The type of its elements: f32, f16 or bf16. Error (`badInput`): another one.
    func type(of name: String) throws -> TensorType
    /// The file that the tensor lies in, for messages.
    func filePath(of name: String) -> String
    /// One of Hugging Face's files; nil if there is none.
    func textFile(_ name: String) throws -> [UInt8]?
}

extension SafetensorsFolder: CheckpointSource {
    /// The shape of that tensor; nil if there is none.
    public func shape(of name: String) -> [Int]? { entry(name)?.shape }
    /// The type of its elements. Errors (`badInput`) as `tensor`.
    public func type(of name: String) throws -> TensorType { try tensor(name).info.type }
    /// The safetensors file that the tensor lies in.
    public func filePath(of name: String) -> String { (try? tensor(name).file.path) ?? path }
}
