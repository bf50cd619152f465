import Base
import Foundation

/// What `data` names: one file, or several with commas between them, and then either all or none with a weight behind a
/// colon (`a.jsonl:0.7,b.csv:0.3`).
///
/// Without weights all rows of all files are samples. With weights the files give samples in that proportion: each
/// s · weight of its samples, rounded down, where s is the largest number for which no file gives more than it has; so none
/// is taken twice, and at least one file is used up. Which ones follows from the seed, and is the same in every epoch.
public struct DatasetList: Sendable, Equatable {
    /// A file.
    public struct Part: Sendable, Equatable {
        /// Its path.
        public let path: String
        /// Its share of the samples in proportion to the other weights; nil: all of its samples are taken.
        public let weight: Double?
    }

    /// The files in the order given, at least one.
    public let parts: [Part]

    /// Reads the text of an option. What is the path of a file as it stands is that file, commas and colons included.
    ///
    /// - Throws: a usage error for an empty name, a weight that is no number above 0, or one that not all of several files have.
    public init(_ text: String) throws {
        if FileManager.default.fileExists(atPath: text) || !text.contains(where: { $0 == "," || $0 == ":" }) {
            parts = [Part(path: text, weight: nil)]
            return
        }
        parts = try text.split(separator: ",", omittingEmptySubsequences: false).map { try Self.part($0, of: text) }
        let weighted = parts.count { $0.weight != nil }
        guard weighted == 0 || (weighted == parts.count && weighted > 1) else {
            throw MeraserError.usage(
                "`data` \(quoted(text)): \(parts.count == 1 ? "one file alone has no weight" : "not every file has a weight"); "
                    + "write FILE, FILE,FILE or FILE:WEIGHT,FILE:WEIGHT")
        }
    }

    private static func part(_ text: Substring, of all: String) throws -> Part {
        guard let colon = text.lastIndex(of: ":"), let weight = Double(text[text.index(after: colon)...]) else {
            guard !text.isEmpty else { throw MeraserError.usage("`data` \(quoted(all)): a name is empty") }
            return Part(path: String(text), weight: nil)
        }
        guard weight.isFinite, weight > 0, colon > text.startIndex else {
            throw MeraserError.usage(
                "`data` \(quoted(all)): \(quoted(String(text))) is no file with a weight above 0")
        }
        return Part(path: String(text[..<colon]), weight: weight)
    }

    private init(parts: [Part]) { self.parts = parts }

    /// The files' paths.
    public var paths: [String] { parts.map(\.path) }

    /// The list as an option has it.
    public var text: String {
        parts.map { part in part.path + (part.weight.map { ":" + JSONValue.real($0).serialized() } ?? "") }
            .joined(separator: ",")
    }

    /// The list with other paths.
    public func mapPaths(_ change: (String) -> String) -> DatasetList {
        DatasetList(parts: parts.map { Part(path: change($0.path), weight: $0.weight) })
    }

    /// SHA-256 of what is named, 64 hex digits: of one file its own, of several that of theirs and the weights.
    ///
    /// - Throws: bad-input errors of files that cannot be read.
    public func sha256() throws -> String {
        let hashes = try parts.map { try sha256Hex(ofFile: $0.path) }
        return Self.identity(hashes, parts.map(\.weight), seed: nil)
    }

    fileprivate static func identity(_ hashes: [String], _ weights: [Double?], seed: UInt64?) -> String {
        guard hashes.count > 1 else { return hashes[0] }
        let lines = zip(hashes, weights).map { "\($0) \($1.map { JSONValue.real($0).serialized() } ?? "all")\n" }
        return sha256Hex((lines.joined() + (seed.map { "seed \($0)" } ?? "")).utf8)
    }
}

extension EncodedDataset {
    /// The samples of the files of a list, one file after the other; see `DatasetList` for what weights do.
    ///
    /// - Parameters:
    ///   - data: each file's samples, in the list's order.
    ///   - seed: of the draw.
    /// - Throws: a usage error if the weight of a file is so small that none of its samples is taken.
    public init(_ list: DatasetList, _ data: [EncodedDataset], seed: UInt64) throws {
        precondition(list.parts.count == data.count && data.allSatisfy { $0.softPrompt == nil })
        let skipped = data.reduce(0) { $0 + $1.skipped }
        let weights = list.parts.compactMap(\.weight)
        guard weights.count == data.count else {
            self.init(
                samples: data.count == 1 ? data[0].samples : data.flatMap(\.samples), skipped: skipped,
                sha256: DatasetList.identity(data.map(\.sha256), list.parts.map(\.weight), seed: nil))
            return
        }
        let scale = zip(data, weights).map { Double($0.samples.count) / $1 }.min() ?? 0
        var samples: [TrainingSample] = []
        for (index, part) in list.parts.enumerated() {
            let all = data[index].samples
            // What divides evenly must not fall below by rounding.
            let count = min(all.count, Int((scale * weights[index] * (1 + 1e-12)).rounded(.down)))
            guard count > 0 else {
                throw MeraserError.usage(
                    "`data`: with the weight \(weights[index]) none of the \(all.count) samples of \(part.path) is taken"
                )
            }
            var order = Array(all.indices)
            var random = KeyedRandom(seed: seed ^ 0x6D_6978, stream: UInt64(index))
            random.shuffle(&order)
            samples += order.prefix(count).sorted().map { all[$0] }
        }
        self.init(
            samples: samples, skipped: skipped,
            sha256: DatasetList.identity(data.map(\.sha256), list.parts.map(\.weight), seed: seed))
    }
}
