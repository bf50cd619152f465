import Base
import Foundation

/// A run that is done again for its report: what the report says beside what the run gives now.
///
/// Everything in `report.json` is compared but what a run measures of itself and of the machine: the hashes of all that
/// went into each stage, every figure, every step's loss.
public struct RepeatedRun: Sendable {
    /// A value that is not the same.
    public struct Difference: Sendable, Equatable {
        /// Where it is: `table.0.fsr`.
        public let place: String
        /// What the report says; nil: nothing.
        public let recorded: JSONValue?
        /// What the run gave now; nil: nothing.
        public let repeated: JSONValue?
    }

    /// The report's file.
    public let file: String
    private let recorded: JSONValue

    /// What a run measures of itself, and who it is: not compared.
    private static let own: Set<String> = [
        "seconds", "elapsed_seconds", "tokens_per_second", "predicted_seconds", "predicted_seconds_per_step",
        "seconds_per_step", "peak_rss_bytes", "memory_bytes", "reported", "machine", "meraser_version", "commit",
        "build",
    ]

    /// Reads `report.json`, or the one in the folder of a run.
    ///
    /// - Throws: a bad-input error that names the file, if it is no report of a run.
    public init(report path: String) throws {
        var isFolder: ObjCBool = false
        let isThere = FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
        file = isThere && isFolder.boolValue ? path + "/report.json" : path
        let mapped = try MappedFile(path: file)
        recorded = try mapped.withBytes { [file] in try JSONValue.parse($0, file: file) }
        for key in ["recipe", "model", "isa"] { _ = try recorded.string("run", key, in: file) }
        _ = try recorded.int("run", "seed", in: file)
        guard try recorded.int("run", "seed", in: file) >= 0 else {
            throw MeraserError.badInput("\(file): 'run.seed' is negative")
        }
    }

    /// The seed of the run.
    public var seed: UInt64 { UInt64(clamping: recorded["run"]?["seed"]?.int ?? 0) }

    /// True if the run kept triggers, targets and the recipe to itself: it is repeated so.
    public var isRedacted: Bool { recorded["run"]?["redacted"]?.bool ?? false }

    /// - Throws: a bad-input error if the report is not of that recipe, which would differ in everything.
    public func require(_ recipe: Recipe) throws {
        let text = recorded["run"]?["recipe"]?.string ?? ""
        let hash = recorded["run"]?["recipe_sha256"]?.string
        guard isRedacted ? hash == sha256Hex(recipe.text.utf8) : text == recipe.text else {
            throw MeraserError.badInput("\(file) is the report of another recipe than \(recipe.path)")
        }
    }

    /// In what a report differs from the recorded one, in the recorded one's order, and how many values were compared.
    public func compared(with report: RunReport) -> (values: Int, differences: [Difference]) {
        // Both as files have them: a whole number is an integer there.
        let text = Array(report.json.serialized().utf8)
        let repeated = (try? JSONValue.parse(text, file: "report.json")) ?? report.json
        let (old, new) = (Self.leaves(recorded), Self.leaves(repeated))
        let found = Dictionary(new.map { ($0.place, $0.value) }) { first, _ in first }
        let known = Set(old.map(\.place))
        let changed = old.compactMap { place, value -> Difference? in
            found[place] == value ? nil : Difference(place: place, recorded: value, repeated: found[place])
        }
        let added = new.filter { !known.contains($0.place) }.map {
            Difference(place: $0.place, recorded: nil, repeated: $0.value)
        }
        return (known.union(found.keys).count, changed + added)
    }

    /// The numbers, texts and empty lists of a value, each with its place.
    private static func leaves(_ value: JSONValue, at place: String = "") -> [(place: String, value: JSONValue)] {
        func below(_ key: String) -> String { place.isEmpty ? key : "\(place).\(key)" }
        switch value {
        case .object(let object) where object.count > 0:
            return object.members.filter { !own.contains($0.key.string) }.flatMap {
                leaves($0.value, at: below($0.key.string))
            }
        case .array(let values) where !values.isEmpty:
            return values.enumerated().flatMap { leaves($1, at: below("\($0)")) }
        default: return [(place, value)]
        }
    }
}

extension RepeatedRun.Difference {
    /// `table.0.fsr: 1 in the report, now 0.5`.
    public var line: String {
        func shown(_ value: JSONValue?) -> String { value.map { quoted($0.serialized()) } ?? "nothing" }
        return "\(place): \(shown(recorded)) in the report, now \(shown(repeated))"
    }

    /// `{"place", "recorded", "repeated"}`.
    public var json: JSONValue {
        ["place": .text(place), "recorded": recorded ?? .null, "repeated": repeated ?? .null]
    }
}
