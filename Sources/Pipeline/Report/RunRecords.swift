import Base
import Quant

/// Everything that a run has left in its folder, read and checked. Nothing in it names a folder of the machine.
struct RunRecords: Sendable {
    /// The folder's own name.
    let folderName: String
    /// `run.json`: recipe, title, model, version, instruction set, seed.
    let identity: JSONValue
    /// The stages that measured.
    let stages: [RunReport.Stage]
    /// The trainings.
    let trainings: [RunReport.Training]
    /// What decoys say, and say in every cell.
    let certificate: RunReport.Certification?
    /// The cells.
    let durability: RunReport.Durability?
    /// The relearning test.
    let relearning: RunReport.Relearning?
    /// The records of all stages, in the order of a run.
    let records: [(stage: StageName, record: JSONValue)]

    /// Reads a run, finished or not.
    ///
    /// - Throws: a bad-input error that names the file which is missing, damaged or impossible.
    init(_ folder: RunFolder) throws {
        folderName = fileName(ofPath: folder.path)
        let file = folder.file("run.json")
        let identity = try folder.identity()
        for name in ["meraser_version", "recipe", "title", "model", "isa"] {
            _ = try identity.string(name, in: file)
        }
        self.identity = try Self.published(
            identity, isRedacted: try identity.boolIfPresent("redacted", in: file) ?? false)
        let records = try StageName.recorded.compactMap { stage in
            try folder.record(of: stage).map { (stage: stage, record: RecordPaths.withoutFolders($0)) }
        }
        func read<T>(_ stage: StageName, _ make: (JSONValue, String) throws -> T) throws -> T? {
            try records.first { $0.stage == stage }.map { try make($0.record, folder.recordPath(of: stage)) }
        }
        stages = try MeasuredStage.allCases.compactMap { name in
            try read(.measurement(name)) { try RunReport.Stage(name: name, record: $0, file: $1) }
        }
        trainings = try TrainedStage.allCases.compactMap { name in
            try read(.training(name)) { record, _ in
                try RunReport.Training(name: name, record: record, folder: folder)
            }
        }
        durability = try read(.durable) { try RunReport.Durability(record: $0, file: $1) }
        certificate = try read(.certify) { [durability] in
            try RunReport.Certification(record: $0, file: $1, durability: durability)
        }
        relearning = try read(.relearn) { try RunReport.Relearning(record: $0, file: $1) }
        self.records = records
    }

    /// A text of `run.json`.
    func text(_ key: String) -> String { identity[key]?.string ?? "" }

    /// True if triggers, targets and outputs are hashes.
    var isRedacted: Bool { identity["redacted"]?.bool ?? false }

    /// What a stage has left; nil: it is not done.
    func result(of stage: StageName) -> JSONValue? { records.first { $0.stage == stage }?.record["result"] }

    /// The stage of that name.
    func stage(_ name: MeasuredStage) -> RunReport.Stage? { stages.first { $0.name == name } }

    /// What was there before a removal, the last measurement after it, and the same weights without the mark where those were
    /// measured.
    struct Removal {
        let before: RunReport.Stage
        let last: RunReport.Stage
        let reference: RunReport.Stage?
    }

    /// The removal on the model that was worked on.
    var removal: Removal? {
        guard let before = stage(.before), let last = stage(.recovered) ?? stage(.erased) else {
            return nil
        }
        return Removal(before: before, last: last, reference: stage(.reference))
    }

    /// What was measured of the artefact that leaves the house.
    enum Artefact {
        /// The adapters on the source, in memory.
        case adapters(Removal)
        /// A folder, with the type of its weights.
        case folder(Removal, name: String)
    }

    /// The removal on what leaves the house; nil: that is the model which was worked on.
    var artefact: Artefact? {
        guard let last = stage(.exported) else { return nil }
        let export = records.first { $0.stage == .export }?.record
        let isSource = export.map { $0["inputs"]?["base"]?.string == Recipe.ExportStage.Base.source.rawValue } ?? true
        guard let before = stage(isSource ? .source : .before) else { return nil }
        let removal = Removal(before: before, last: last, reference: stage(isSource ? .sourceReference : .reference))
        guard export != nil else { return .adapters(removal) }
        return .folder(removal, name: last.type.map { "the exported folder (\($0))" } ?? "the exported folder")
    }

    /// The most memory that any stage's process had taken when the stage was done; nil if no record says.
    var peakBytes: Int? {
        let recorded = records.compactMap { $0.record["peak_rss_bytes"]?.int }
        return (recorded + trainings.compactMap { $0.result["peak_rss_bytes"]?.int }).max()
    }

    /// The machine that did the last stage which says so.
    var machine: JSONValue? {
        records.last { $0.record["machine"]?.object != nil }?.record["machine"]
    }

    /// What stands in the place of a redacted run's recipe.
    static let leftOut = "# left out: the run is redacted\n"

    /// `run.json` as it may be published: no folders, and of a redacted run no recipe.
    private static func published(_ identity: JSONValue, isRedacted: Bool) throws -> JSONValue {
        let shown = isRedacted ? leftOut : identity["recipe"]?.string ?? ""
        return .object(
            JSONObject(
                (identity.object?.members ?? []).map { member in
                    let isRecipe = member.key == "recipe"
                    let value = isRecipe ? .text(RecordPaths.withoutFolders(text: shown)) : member.value
                    return (key: member.key.string, value: RecordPaths.withoutFolders(value))
                }))
    }
}
