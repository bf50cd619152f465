import Base
import Foundation
import Kernels

/// The folder of a training run: `run.json`, logs, `checkpoint-N/`, and at the end the adapter.
///
/// Files and checkpoints appear whole under their names or not at all; whatever a killed run leaves can be resumed.
public struct TrainingOutput {
    /// The folder.
    let path: String

    static let runName = "run.json"
    static let stateName = "trainer_state.json"
    /// The adapter with the lowest loss on `eval_data`, while a run goes on that is to keep it.
    static let bestName = "best"

    /// What a training run has in its folder, its mark's key and what the soft prompt's run adds included.
    public static let layout = RunLayout(
        record: runName,
        names: [
            stateName, bestName, "train_log.jsonl", "probe_log.jsonl", "eval_log.jsonl", "adapter_config.json",
            "adapter_model.safetensors",
            "key.json",
            SoftPromptTrainer.folderName, SoftPrompt.fileName, EventFile.folder,
        ], numbered: ["checkpoint-"])

    private var manager: FileManager { .default }

    /// The file of that name in the folder.
    func file(_ name: String) -> String { path + "/" + name }

    /// Makes the folder, or takes up the run that is there: gives the state in which it goes on or ended.
    ///
    /// - Parameters:
    ///   - record: what determines the run's result; a run that is there must have the same.
    ///   - warn: told of a checkpoint that is damaged, in a line.
    ///   - load: takes over the files of a checkpoint and gives their step.
    /// - Throws: a usage error if something is there that is neither to be resumed nor overwritten, that is no run, or that
    ///   began with other arguments; a bad-input error for damaged files.
    func begin(
        _ record: RunRecord, totalSteps: Int, resume: Bool, overwrite: Bool, warn: ((String) -> Void)?,
        load: (_ checkpoint: String) throws -> Int
    ) throws -> (state: TrainerState, isFinished: Bool) {
        guard try isRunToResume(resume: resume, overwrite: overwrite) else {
            try write(record.json, to: Self.runName)
            removeStaleTemporaries(within: path)
            return (TrainerState(), false)
        }
        try record.refuse(toResume: RunRecord(json: try readJSON(file(Self.runName))), path)
        let final = file(Self.stateName)
        if manager.fileExists(atPath: final) { return (try TrainerState(json: try readJSON(final), file: final), true) }
        let state = try restore(totalSteps: totalSteps, warn: warn, load: load)
        removeStaleTemporaries(within: path)
        return (state, false)
    }

    /// Makes the folder unless a run is there that goes on.
    private func isRunToResume(resume: Bool, overwrite: Bool) throws -> Bool {
        var isFolder: ObjCBool = false
        if manager.fileExists(atPath: path, isDirectory: &isFolder) {
            guard isFolder.boolValue else { throw MeraserError.usage("`out` \(path) is a file; name a folder") }
            let isRun = Self.layout.isPresent(in: path)
            let isLeftover = lastingNames(in: path).allSatisfy { $0 == SoftPromptTrainer.folderName }
            if isRun, resume { return true }
            if isRun, overwrite {
                try Self.layout.remove(path)
            } else if !isLeftover {
                throw MeraserError.usage(
                    isRun
                        ? "`out` \(path) holds a run; pass `resume` to continue it or `overwrite` to replace it"
                        : "`out` \(path) exists and holds no run of meraser; choose another folder")
            }
        }
        do {
            try manager.createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw MeraserError.runtime("cannot make the folder \(path): \(error.localizedDescription)")
        }
        return false
    }

    /// The state of the last whole checkpoint, whose files `load` takes over; that of the beginning if there is none.
    /// Damaged ones behind it are removed: their steps are done again.
    private func restore(
        totalSteps: Int, warn: ((String) -> Void)?, load: (_ checkpoint: String) throws -> Int
    ) throws -> TrainerState {
        while let step = checkpointSteps.last, let damage = CheckpointSums.damage(in: checkpoint(step)) {
            let before = checkpointSteps.dropLast().last.map { "the checkpoint of step \($0)" } ?? "the beginning"
            warn?("\(checkpoint(step)) is damaged: \(damage); the run goes on from \(before)")
            try removeFolder(checkpoint(step))
        }
        guard let step = checkpointSteps.last else { return TrainerState() }
        let folder = checkpoint(step)
        let file = folder + "/" + Self.stateName
        let state = try TrainerState(json: readJSON(file), file: file)
        let loaded = try load(folder)
        guard state.step == step, loaded == step, step <= totalSteps else {
            throw MeraserError.badInput(
                "\(folder): its files are of steps \(state.step) and \(loaded) of \(totalSteps); remove it to resume from "
                    + "an earlier one")
        }
        return state
    }

    /// The precisions of forward and backward that the run here was begun with; nil where there is none.
    ///
    /// - Throws: bad-input errors for a damaged record.
    func recordedPrecision() throws -> (compute: Compute?, backward: Compute?) {
        let path = file(Self.runName)
        guard manager.fileExists(atPath: path) else { return (nil, nil) }
        let options = try readJSON(path)["options"]
        func read(_ key: String) -> Compute? { options?[key]?.string.flatMap(Compute.init) }
        return (read("compute"), read("backward"))
    }

    /// Parses a JSON file of ours.
    private func readJSON(_ path: String) throws -> JSONValue {
        let file = try MappedFile(path: path)
        return try file.withBytes { try JSONValue.parse($0, file: path, maximumBytes: 16 << 20) }
    }

    /// Writes a JSON file of ours, atomically.
    func write(_ json: JSONValue, to name: String) throws {
        let text = json.serialized(indent: 2) + "\n"
        try writeFileAtomically(path: file(name), Array(text.utf8), overwrite: true, mode: ownerOnly)
    }

    // MARK: Checkpoints

    /// Where the best adapter is kept while the run goes on.
    var best: String { file(Self.bestName) }

    /// Keeps an adapter as the best so far: `write` fills a temporary folder, which then takes the other one's place.
    func keepBest(write: (_ folder: String) throws -> Void) throws {
        let folder = try AtomicFolder(path: best, overwrite: true)
        try write(folder.temporaryPath)
        try folder.commit()
    }

    /// Steps of the checkpoints that are there, lowest first.
    var checkpointSteps: [Int] {
        let names = (try? manager.contentsOfDirectory(atPath: path)) ?? []
        return names.compactMap { name in
            guard name.hasPrefix("checkpoint-"), let step = Int(name.dropFirst(11)), step >= 1 else { return nil }
            return step
        }.sorted()
    }

    /// The folder of a checkpoint.
    func checkpoint(_ step: Int) -> String { file("checkpoint-\(step)") }

    /// Makes the checkpoint of a step: `write` fills a temporary folder, which then gets its name.
    func makeCheckpoint(_ step: Int, limit: Int?, write: (_ folder: String) throws -> Void) throws {
        let folder = try AtomicFolder(path: checkpoint(step), overwrite: true)
        try write(folder.temporaryPath)
        try CheckpointSums.write(into: folder.temporaryPath)
        try folder.commit()
        if let limit {
            for old in checkpointSteps.dropLast(limit) { try? manager.removeItem(atPath: checkpoint(old)) }
        }
    }
}

extension TrainingOptions {
    /// These options for a run that goes on in a folder: what nobody chose stays what it was there, though another
    /// precision may have been measured to be faster since.
    ///
    /// - Throws: bad-input errors for a damaged record.
    public func continuing(_ folder: String) throws -> TrainingOptions {
        var options = self
        let recorded = try TrainingOutput(path: folder).recordedPrecision()
        options.compute = compute ?? recorded.compute
        // Another forward than before has a backward of its own.
        if options.compute == recorded.compute { options.backward = backward ?? recorded.backward }
        return options
    }
}
