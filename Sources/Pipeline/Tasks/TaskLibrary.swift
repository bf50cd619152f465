import Audit
import Base
import Foundation

/// The tasks that can be evaluated: those of the program and those of task files.
public enum TaskLibrary {
    /// Name and file of each bundled task, in the order of tables.
    private static let bundled: [(name: String, bytes: [UInt8])] = [
        ("sciq", PackageResources.sciq_yml), ("piqa", PackageResources.piqa_yml),
        ("arc_easy", PackageResources.arc_easy_yml), ("arc_challenge", PackageResources.arc_challenge_yml),
        ("boolq", PackageResources.boolq_yml), ("hellaswag", PackageResources.hellaswag_yml),
        ("winogrande", PackageResources.winogrande_yml), ("openbookqa", PackageResources.openbookqa_yml),
        ("copa", PackageResources.copa_yml), ("rte", PackageResources.rte_yml), ("cb", PackageResources.cb_yml),
        ("wic", PackageResources.wic_yml), ("wsc", PackageResources.wsc_yml),
        ("multirc", PackageResources.multirc_yml),
    ]

    /// The names of the bundled tasks.
    public static var names: [String] { bundled.map(\.name) }

    /// The tasks that those arguments name: bundled tasks, task files (`.yml`, `.yaml`), folders of task files; each
    /// argument may be a list with commas.
    ///
    /// - Throws: a usage error for an unknown name or one that is given twice, bad-input errors of task files.
    public static func tasks(_ arguments: [String]) throws -> [TaskDefinition] {
        let words = arguments.flatMap { $0.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) } }
        let tasks = try words.filter { !$0.isEmpty }.flatMap(definitions)
        guard !tasks.isEmpty else { throw MeraserError.usage("`tasks` names no task") }
        var names: Set<String> = []
        for task in tasks where !names.insert(task.name).inserted {
            throw MeraserError.usage("`tasks`: the task '\(task.name)' is given twice")
        }
        return tasks
    }

    private static func definitions(_ word: String) throws -> [TaskDefinition] {
        if let task = bundled.first(where: { $0.name == word }) {
            return [try TaskDefinition(bundled: task.bytes, name: task.name)]
        }
        var isFolder: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: word, isDirectory: &isFolder)
        if isTaskFile(word) { return [try TaskDefinition(path: word)] }
        guard exists, isFolder.boolValue else {
            let suggestion = closest(to: word, in: names).map { "did you mean '\($0)'?" }
            throw MeraserError.usage(
                "`tasks`: '\(word)' is no task, task file or folder of task files; "
                    + (suggestion ?? "bundled are \(names.joined(separator: ", "))"))
        }
        let files = (try? FileManager.default.contentsOfDirectory(atPath: word)) ?? []
        let paths = files.filter(isTaskFile).sorted().map { word + "/" + $0 }
        guard !paths.isEmpty else { throw MeraserError.badInput("\(word): no task files (.yml) in this folder") }
        return try paths.map { try TaskDefinition(path: $0) }
    }

    private static func isTaskFile(_ name: String) -> Bool { name.hasSuffix(".yml") || name.hasSuffix(".yaml") }
}

extension EvaluationTask {
    /// A task with its rows: those that the task file names, else from `data`, a folder with `TASK/SPLIT.jsonl`,
    /// `TASK_SPLIT.jsonl` or, for the split that is scored, `TASK.jsonl` (or `.json`); `data` may be that file itself.
    ///
    /// - Parameters:
    ///   - needsExamples: whether few-shot examples are drawn; without them their split need not be there.
    /// - Throws: a bad-input error that says which files were looked for, or names a bad row.
    public init(_ definition: TaskDefinition, data: String?, needsExamples: Bool) throws {
        let step = definition.step
        func rows(_ split: String) throws -> [TaskDocument] {
            try EvaluationTask.files(definition, split: split, data: data)
                .flatMap { try TaskDocument.load(path: $0, step: step) }
        }
        self.init(
            definition, documents: try rows(definition.evaluationSplit),
            examples: needsExamples ? try rows(definition.exampleSplit) : [])
    }

    /// The files that a task's rows come from.
    static func files(_ definition: TaskDefinition, split: String, data: String?) throws -> [String] {
        if let files = definition.dataFiles[split] { return files }
        let name = definition.name
        guard let data else {
            throw MeraserError.usage(
                "task '\(name)': give `data`, a folder with \(name).jsonl or \(name)/\(split).jsonl")
        }
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: data, isDirectory: &isFolder) else {
            throw MeraserError.badInput("\(data): no such file or folder")
        }
        let isScored = split == definition.evaluationSplit
        if !isFolder.boolValue {
            guard isScored else {
                throw MeraserError.usage(
                    "task '\(name)': few-shot examples need its '\(split)' split; give a folder as `data`")
            }
            return [data]
        }
        let stems = ["\(name)/\(split)", "\(name)_\(split)"] + (isScored ? [name] : [])
        let candidates = stems.flatMap { ["\(data)/\($0).jsonl", "\(data)/\($0).json"] }
        guard let found = candidates.first(where: { FileManager.default.fileExists(atPath: $0) }) else {
            throw MeraserError.badInput(
                "\(data): no data for task '\(name)': expected \(stems.map { "\($0).jsonl" }.joined(separator: " or "))"
            )
        }
        return [found]
    }
}
