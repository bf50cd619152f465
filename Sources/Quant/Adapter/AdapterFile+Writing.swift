import Base
import Foundation

extension AdapterFile {
    /// The two factors of one module in memory, to be written.
    public struct Factors: Sendable {
        /// The module's path in the model.
        public let path: String
        /// A [r, K], row-major.
        public let a: [Float]
        /// B [N, r], row-major.
        public let b: [Float]
        /// Rank.
        public let rank: Int
        /// True for an embedding's, of which A is [r, tokens] and B [hidden, r].
        public let isEmbedding: Bool

        /// Factors whose counts are multiples of the rank: a precondition.
        public init(path: String, a: [Float], b: [Float], rank: Int, isEmbedding: Bool = false) {
            precondition(
                rank >= 1 && !a.isEmpty && !b.isEmpty && a.count % rank == 0 && b.count % rank == 0,
                "\(path): \(a.count) and \(b.count) numbers for rank \(rank)")
            self.path = path
            self.a = a
            self.b = b
            self.rank = rank
            self.isEmbedding = isEmbedding
        }

        /// The two tensors under PEFT's names.
        public var tensors: [(name: String, shape: [Int], values: [Float])] {
            let name = "base_model.model.\(path).lora_"
            let (nameA, nameB) = isEmbedding ? ("embedding_A", "embedding_B") : ("A.weight", "B.weight")
            return [(name + nameA, [rank, a.count / rank], a), (name + nameB, [b.count / rank, rank], b)]
        }
    }

    /// Rows of the input embedding in memory, to be written.
    public struct TokenRows {
        /// The embedding's path in the model.
        public let path: String
        /// The rows, row-major.
        public let values: [Float]
        /// How many they are.
        public let count: Int

        /// Rows of equal length, at least one: a precondition.
        public init(path: String, values: [Float], count: Int) {
            precondition(count >= 1 && values.count % count == 0, "\(path): \(values.count) numbers for \(count) rows")
            (self.path, self.values, self.count) = (path, values, count)
        }

        /// The tensor under PEFT's name, which depends on whether there are adapted modules beside it.
        public func tensor(besideModules: Bool) -> (name: String, shape: [Int], values: [Float]) {
            let place = besideModules ? ".token_adapter" : ""
            return (
                "base_model.model.\(path)\(place).trainable_tokens_delta", [count, values.count / count], values
            )
        }
    }

    /// Writes `adapter_config.json` and `adapter_model.safetensors` into a folder that exists, in f32.
    ///
    /// The weights are written first and the configuration, without which a folder is no adapter, last; each of them
    /// appears whole. The same input gives the same bytes.
    ///
    /// - Parameters:
    ///   - folder: where to; it must exist.
    ///   - config: what `adapter_config.json` says. A base model given as a path is written as its last component,
    ///     unless
    ///     `keepsBasePath`: somebody asked for it.
    ///   - factors: the modules.
    ///   - tokenRows: rows of the input embedding for the configuration's tokens.
    ///   - saved: tensors of the modules in `modulesToSave`, under PEFT's names.
    ///   - provenance: identities of the base model and of the frozen adapters below, recorded if known.
    ///   - overwrite: replace files of these names.
    public static func write(
        folder: String, config: PEFTConfig, factors: [Factors], tokenRows: TokenRows? = nil,
        saved: [(name: String, shape: [Int], values: [Float])] = [],
        provenance: AdapterProvenance = AdapterProvenance(), keepsBasePath: Bool = false, overwrite: Bool = false
    ) throws {
        var metadata: [String: String] = [:]
        metadata[baseKey] = provenance.baseSHA256
        metadata[sourceKey] = provenance.sourceSHA256
        if !provenance.parents.isEmpty { metadata[parentsKey] = provenance.parents.joined(separator: ",") }
        let rows = tokenRows.map { [$0.tensor(besideModules: !factors.isEmpty)] } ?? []
        try writeSafetensors(
            path: folder + "/" + AdapterTensors.safetensorsName, floats: factors.flatMap(\.tensors) + rows + saved,
            metadata: metadata, overwrite: overwrite)
        var config = config
        if !keepsBasePath { config.baseModelName = config.baseModelName.map(modelName) }
        let text = config.json().serialized(indent: 2, sortedKeys: true) + "\n"
        try writeFileAtomically(path: folder + "/" + configName, Array(text.utf8), overwrite: overwrite)
    }

    /// A name to record for a model: Hugging Face ids (`owner/name`) as they are, of a path on this machine only the
    /// last component, since it means nothing elsewhere and may tell who made the adapter.
    static func modelName(_ path: String) -> String {
        let isHubID =
            path.split(separator: "/").count == 2 && !["/", ".", "~"].contains { path.hasPrefix($0) }
            && !FileManager.default.fileExists(atPath: path)
        return isHubID ? path : fileName(ofPath: path)
    }
}
