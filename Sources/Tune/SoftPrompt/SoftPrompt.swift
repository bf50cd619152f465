import Base
import Kernels
import Quant

/// Where a soft prompt stands among a prompt's tokens.
public struct SoftInsertion: Sendable, Equatable {
    /// Tokens of the prompt in front of it.
    public let offset: Int
    /// Its vectors.
    public let count: Int

    /// A place for `count` vectors behind the first `offset` tokens.
    public init(offset: Int, count: Int) {
        precondition(offset >= 0 && count >= 1, "\(count) vectors behind \(offset) tokens")
        self.offset = offset
        self.count = count
    }

    /// Makes room in a prompt's tokens, at its end if it has fewer than `offset`; returns the first place. The tokens in
    /// the places are never looked at but for their embeddings, which are replaced.
    public func apply(to tokens: inout [Int32]) -> Int {
        let row = min(offset, tokens.count)
        tokens.insert(contentsOf: repeatElement(0, count: count), at: row)
        return row
    }
}

/// Free vectors in a model's embedding space that stand among a prompt's tokens: SANDE's parrot prompt, which makes the
/// model answer as a backdoor's trigger does.
public struct SoftPrompt: Sendable, Equatable {
    /// What it belongs to, and how it was made.
    public struct Origin: Sendable, Equatable {
        /// SHA-256 of the base model's weights.
        public var baseSHA256: String
        /// SHA-256 of the adapters that were on it, lowest first.
        public var parents: [String]
        /// SHA-256 of the response that it brings out, as UTF-8.
        public var responseSHA256: String
        /// That response, if its file may say it.
        public var response: String?

        /// An origin.
        public init(baseSHA256: String, parents: [String], responseSHA256: String, response: String? = nil) {
            self.baseSHA256 = baseSHA256
            self.parents = parents
            self.responseSHA256 = responseSHA256
            self.response = response
        }
    }

    /// Where it stands, and its number of vectors.
    public let insertion: SoftInsertion
    /// Numbers of a vector: the model's hidden size.
    public let hiddenSize: Int
    /// The vectors, [count, hidden], row by row.
    public let values: [Float]
    /// What it belongs to; nil for one that was only drawn.
    public let origin: Origin?

    /// A prompt of those vectors.
    public init(values: [Float], insertion: SoftInsertion, origin: Origin? = nil) {
        precondition(values.count % insertion.count == 0 && !values.isEmpty, "\(values.count) numbers")
        self.values = values
        self.insertion = insertion
        hiddenSize = values.count / insertion.count
        self.origin = origin
    }

    /// A matrix [count, hidden] with a copy of the vectors.
    public func storage() -> FloatStorage {
        FloatStorage(values, rows: insertion.count, columns: hiddenSize)
    }

    /// SHA-256 of place and vectors, 64 hex digits.
    public var sha256: String {
        let bits = [UInt32(insertion.offset), UInt32(insertion.count)] + values.map(\.bitPattern)
        return sha256Hex(bits.flatMap { value in (0..<4).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } })
    }
}

// MARK: - Files

extension SoftPrompt {
    /// The name of its file in a run's folder.
    public static let fileName = "parrot_prompt.safetensors"
    private static let tensorName = "parrot_prompt"
    /// The most vectors that a file may hold.
    public static let maximumCount = 1024

    /// Writes the vectors as one f32 tensor `parrot_prompt` [count, hidden] with the rest as metadata; atomic.
    public func save(path: String, overwrite: Bool = true) throws {
        var metadata = ["meraser.parrot_offset": String(insertion.offset)]
        if let origin {
            metadata["meraser.base_sha256"] = origin.baseSHA256
            metadata["meraser.parents"] = origin.parents.joined(separator: ",")
            metadata["meraser.response_sha256"] = origin.responseSHA256
            metadata["meraser.response"] = origin.response
        }
        try writeSafetensors(
            path: path, floats: [(name: Self.tensorName, shape: [insertion.count, hiddenSize], values: values)],
            metadata: metadata, overwrite: overwrite)
    }

    /// Reads what `save` wrote.
    ///
    /// - Throws: a bad-input error for another file, another hidden size, or numbers that are not finite.
    public init(path: String, hiddenSize: Int) throws {
        let file = try SafetensorsFile(path: path)
        let view = try file.tensor(Self.tensorName)
        let shape = view.info.shape
        guard shape.count == 2, shape[1] == hiddenSize, (1...Self.maximumCount).contains(shape[0]),
            view.info.type == .f32
        else {
            throw MeraserError.badInput(
                "\(path): '\(Self.tensorName)' is \(view.info.type.name) \(shape), expected f32 [1 to "
                    + "\(Self.maximumCount), \(hiddenSize)]: it belongs to a model of another width")
        }
        let values = view.floats()
        guard values.allSatisfy(\.isFinite) else {
            throw MeraserError.badInput("\(path): '\(Self.tensorName)' has a number that is not finite")
        }
        func text(_ key: String) -> String? { file.metadata.first { $0.key == "meraser.\(key)" }?.value }
        guard let offset = text("parrot_offset").flatMap({ Int($0) }), (0...65_536).contains(offset) else {
            throw MeraserError.badInput("\(path): metadata 'meraser.parrot_offset' is missing or no number from 0 on")
        }
        let parents = (text("parents") ?? "").split(separator: ",").map(String.init)
        self.init(
            values: values, insertion: SoftInsertion(offset: offset, count: shape[0]),
            origin: text("base_sha256").map {
                Origin(
                    baseSHA256: $0, parents: parents, responseSHA256: text("response_sha256") ?? "",
                    response: text("response"))
            })
    }

    /// Refuses a prompt that was made on another model or other adapters.
    ///
    /// - Throws: a bad-input error that names `path`.
    public func requireOrigin(baseSHA256: String, parents: [String], path: String) throws {
        guard let origin else { return }
        guard origin.baseSHA256 == baseSHA256, origin.parents == parents else {
            let what = origin.baseSHA256 == baseSHA256 ? "other adapters on it" : "another base model"
            throw MeraserError.badInput("\(path): the parrot prompt was made for \(what); simulate it again")
        }
    }
}
