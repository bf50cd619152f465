import Base

/// How the weights of a model are stored: what its answers are the answers of.
public struct StoredTypes: Sendable, Equatable {
    /// Tensors of each type that occurs, the type with the most weights first.
    public let counts: [TensorType: Int]
    /// The type that most weights have.
    public let main: TensorType
    /// True if any tensor has a type of blocks.
    public let isQuantized: Bool

    /// The types of a store's tensors. Errors as `WeightStore.tensor`.
    public init(_ store: any WeightStore) throws {
        let infos = try store.tensorNames.map { try store.tensor($0).info }
        counts = infos.reduce(into: [:]) { $0[$1.type, default: 0] += 1 }
        let weights = infos.reduce(into: [TensorType: Int]()) { $0[$1.type, default: 0] += $1.elementCount }
        main = weights.max { ($0.value, $1.key.rawValue) < ($1.value, $0.key.rawValue) }?.key ?? .f32
        isQuantized = counts.keys.contains(where: \.isTiled)
    }

    /// `{"iq4_nl": 28, …}`, by name.
    public var json: JSONValue {
        .object(JSONObject(counts.map { (key: $0.key.name, value: .integer($0.value)) }.sorted { $0.key < $1.key }))
    }
}

extension MQFFile {
    /// The hash of what the file was converted from; nil where none is recorded.
    public var sourceSHA256: String? { metadata.string("mqf.source.sha256") }

    /// The model that this file was converted from, where it lies beside it under its name. Nil if there is none, or if it is
    /// not what it was. Reads all of it.
    public func recordedSource() -> String? {
        guard let name = metadata.string("general.name"), let hash = sourceSHA256,
            !name.isEmpty, ![".", ".."].contains(name), !name.contains("/")
        else { return nil }
        let folder = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        let source = path.contains("/") ? "\(folder)/\(name)" : name
        return (try? openTensorSource(path: source).sha256()) == hash ? source : nil
    }
}
