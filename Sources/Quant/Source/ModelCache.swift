import Base
import Foundation
import Logging

/// The folder where models that cannot be used in place lie as MQF files, named by what they were made from, so that one is
/// converted once. Its contents can be deleted at any time. Thread-safe; processes do not disturb each other, since a file
/// appears under its name only when it is complete.
public struct ModelCache: Sendable {
    /// A model in the cache.
    public struct Entry: Sendable {
        /// The MQF file.
        public let path: String
        /// Its bytes.
        public let byteCount: Int
        /// The name of the model that it was made from; nil where the file cannot be read.
        public let name: String?
        /// When it was made.
        public let date: Date
    }

    /// Raised when a model becomes another MQF file than before: 2 keeps q4_1, q4_k, q5_k and q6_k as they are.
    private static let generation = 2

    /// The folder; it may not exist yet.
    public let folder: String

    /// Gets a line about each model that is opened: where it is read from.
    private let notice: @Sendable (String) -> Void

    /// A cache in that folder. Its notices go to the logger `meraser` at level `info`, whose handler the program has set up,
    /// unless a test asks for them.
    public init(folder: String, notice: @escaping @Sendable (String) -> Void = log) {
        self.folder = folder
        self.notice = notice
    }

    /// The user's cache: `MERASER_CACHE`, else `XDG_CACHE_HOME/meraser`, else `~/.cache/meraser`.
    public init(environment: [String: String] = ProcessInfo.processInfo.environment) {
        func value(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        let caches = value("XDG_CACHE_HOME") ?? (value("HOME") ?? NSHomeDirectory()) + "/.cache"
        self.init(folder: value("MERASER_CACHE") ?? caches + "/meraser")
    }

    /// Logs a notice.
    public static func log(_ line: String) { Logger(label: "meraser").info("\(line)") }

    /// Makes the folder if it is not there.
    ///
    /// - Throws: a runtime error that says how to choose another one.
    public func makeFolder() throws {
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        } catch {
            throw MeraserError.runtime(
                "cannot make the cache folder \(folder): \(systemErrorText()); set MERASER_CACHE to one that can be written"
            )
        }
    }

    /// The MQF file of a model, converted now if it is not there: types stay as they are where MQF has them; of a GGUF file
    /// others become q8_0.
    ///
    /// - Parameter exactly: f32 instead of q8_0, so that every number is the GGUF file's.
    /// - Throws: as `convert` and `MQFFile`.
    func open(_ source: any StoredSource, exactly: Bool = false) throws -> MQFFile {
        let isWidened = try exactly && source.tensorNames.contains { try source.entry($0)?.exactType == nil }
        let key = try key(of: source) + (isWidened ? "-exact" : "")
        let file = "\(folder)/\(key)-\(numericsVersion).\(Self.generation).mqf"
        if let cached = try? MQFFile(path: file) {
            notice("\(source.path): read from \(file)")
            return cached
        }
        notice("\(source.path): converting to \(file)")
        try makeFolder()
        var options = ConvertOptions()
        options.threads = defaultThreadCount()
        options.overwrite = true
        options.keepsTypes = true
        if isWidened { options.substitute = .f32 }
        _ = try convert(source, destination: file, options: options)
        return try MQFFile(path: file)
    }

    /// What the MQF file depends on: the weights, and the text files that lie beside them.
    private func key(of source: any StoredSource) throws -> String {
        guard !(source is GGUFModel) else { return try source.sha256() }
        let texts = try (HuggingFaceFiles.names + HuggingFaceFiles.vocabularyNames).compactMap { name in
            try source.textFile(name).map { "\(sha256Hex($0))  \(name)\n" }
        }
        return sha256Hex((try source.sha256() + "\n" + texts.joined()).utf8)
    }

    /// What is in the cache, by name.
    public func entries() -> [Entry] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        return names.filter { $0.hasSuffix(".mqf") }.sorted().compactMap { name in
            let path = "\(folder)/\(name)"
            guard let attributes = try? FileManager.default.attributesOfItem(atPath: path) else { return nil }
            return Entry(
                path: path, byteCount: (attributes[.size] as? NSNumber)?.intValue ?? 0,
                name: (try? MQFFile(path: path))?.metadata.string("general.name"),
                date: attributes[.modificationDate] as? Date ?? .distantPast)
        }
    }

    /// Deletes what `entries` lists. Error (`runtime`): a file that cannot be deleted.
    public func clean() throws {
        for entry in entries() {
            do {
                try FileManager.default.removeItem(atPath: entry.path)
            } catch {
                throw MeraserError.runtime("cannot delete \(entry.path)")
            }
        }
    }
}
