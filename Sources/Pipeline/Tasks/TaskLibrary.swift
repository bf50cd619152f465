import Audit
import Base
import Foundation

/// Tasks that were chosen, and groups of them.
public struct TaskSelection: Sendable {
    /// Each once, in the order in which they were named.
    public let tasks: [TaskDefinition]
    /// Groups that were named, and those in them.
    public let groups: [TaskGroup]
}

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
        ("multirc", PackageResources.multirc_yml), ("record", PackageResources.record_yml),
        ("anli_r1", PackageResources.anli_r1_yml), ("anli_r2", PackageResources.anli_r2_yml),
        ("anli_r3", PackageResources.anli_r3_yml), ("logiqa", PackageResources.logiqa_yml),
        ("headqa_en", PackageResources.headqa_en_yml), ("headqa_es", PackageResources.headqa_es_yml),
        ("truthfulqa_mc1", PackageResources.truthfulqa_mc1_yml),
        ("truthfulqa_mc2", PackageResources.truthfulqa_mc2_yml),
        ("lambada_openai", PackageResources.lambada_openai_yml), ("wikitext", PackageResources.wikitext_yml),
        ("gsm8k", PackageResources.gsm8k_yml), ("gsm8k_cot", PackageResources.gsm8k_cot_yml),
    ]

    /// What the tasks of a family share, by its name.
    private static let shared = ["mmlu": PackageResources.mmlu_yml, "mmlu_pro": PackageResources.mmlu_pro_yml]

    /// Names for several tasks.
    private static let tags = [
        "anli": ["anli_r1", "anli_r2", "anli_r3"], "headqa": ["headqa_en", "headqa_es"],
        "truthfulqa": ["truthfulqa_mc1", "truthfulqa_mc2"],
    ]

    /// The groups of the program.
    private static let groups = TaskFamily.all.flatMap { family in
        family.taskGroups(
            family.name == "mmlu_pro"
                ? TaskGroup.Aggregate(metric: .exactMatch, filters: ["custom-extract"])
                : TaskGroup.Aggregate(metric: .acc))
    }

    /// The names of the bundled tasks, but for those of the groups.
    public static var names: [String] { bundled.map(\.name) }

    /// The names of the bundled groups.
    public static var groupNames: [String] { groups.map(\.name) }

    /// The tasks that those arguments name: as `selection`.
    public static func tasks(_ arguments: [String]) throws -> [TaskDefinition] { try selection(arguments).tasks }

    /// The tasks and groups that those arguments name: bundled ones, task files (`.yml`, `.yaml`), folders of task files;
    /// each argument may be a list with commas.
    ///
    /// - Throws: a usage error for an unknown name or one that is given twice, bad-input errors of task files.
    public static func selection(_ arguments: [String]) throws -> TaskSelection {
        let words = arguments.flatMap { $0.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) } }
            .filter { !$0.isEmpty }
        guard !words.isEmpty else { throw MeraserError.usage("`tasks` names no task") }
        var chosen = ChosenTasks()
        for word in words { try chosen.add(word) }
        return TaskSelection(tasks: chosen.tasks, groups: chosen.groups)
    }

    /// The bundled task of that name; nil if there is none.
    static func task(_ name: String) throws -> TaskDefinition? {
        if let task = bundled.first(where: { $0.name == name }) {
            return try TaskDefinition(bundled: try value(task.bytes, name), name: name)
        }
        for family in TaskFamily.all {
            guard let bytes = shared[family.name] else { continue }
            if let task = try family.task(name, base: try value(bytes, family.name)) { return task }
        }
        return nil
    }

    /// A bundled file with what it includes.
    private static func value(_ bytes: [UInt8], _ name: String) throws -> JSONValue {
        let value = try parseYAML(bytes, file: "\(name).yml")
        guard let included = try value.stringIfPresent("include", in: name),
            let base = bundled.first(where: { $0.name == included })
        else { return value }
        return TaskDefinition.overlaid(value, on: try self.value(base.bytes, included))
    }

    /// The bundled group of that name and those in it; none if there is none.
    static func group(_ name: String) -> [TaskGroup] {
        guard let group = groups.first(where: { $0.name == name }) else { return [] }
        return [group] + group.children.flatMap { $0 == name ? [] : Self.group($0) }
    }

    static func tag(_ name: String) -> [String]? { tags[name] }

    static var allNames: [String] {
        names + groupNames + tags.keys.sorted() + TaskFamily.all.flatMap(\.tasks)
    }

    static func isTaskFile(_ name: String) -> Bool { name.hasSuffix(".yml") || name.hasSuffix(".yaml") }
}

extension EvaluationTask {
    /// A task with its rows: those that the task file names, else from `data`, a folder with `TASK/SPLIT.jsonl`,
    /// `TASK_SPLIT.jsonl` or, for the split that is scored, `TASK.jsonl` (or `.json`), or the same under the name of its
    /// family; `data` may be that file itself.
    ///
    /// - Parameters:
    ///   - needsExamples: whether few-shot examples are drawn; without them their split need not be there.
    /// - Throws: a bad-input error that says which files were looked for, or names a bad row.
    public init(_ definition: TaskDefinition, data: String?, needsExamples: Bool) throws {
        let step = definition.step
        func rows(_ split: String) throws -> [TaskDocument] {
            try EvaluationTask.files(definition, split: split, data: data)
                .flatMap { try TaskDocument.load(path: $0, step: step, subset: definition.subset) }
        }
        func examples() throws -> [TaskDocument] {
            guard let samples = definition.fewshotSamples else { return try rows(definition.exampleSplit) }
            return try samples.enumerated().map {
                try TaskDocument($1, place: "task '\(definition.name)': sample \($0 + 1)", step: step)
            }
        }
        self.init(
            definition, documents: try rows(definition.evaluationSplit), examples: needsExamples ? try examples() : [])
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
        let stems = [name, definition.subset?.folder].compactMap { $0 }.flatMap { name in
            ["\(name)/\(split)", "\(name)_\(split)"] + (isScored ? [name] : [])
        }
        let candidates = stems.flatMap { ["\(data)/\($0).jsonl", "\(data)/\($0).json"] }
        guard let found = candidates.first(where: { FileManager.default.fileExists(atPath: $0) }) else {
            throw MeraserError.badInput(
                "\(data): no data for task '\(name)': expected \(stems.map { "\($0).jsonl" }.joined(separator: " or "))"
            )
        }
        return [found]
    }
}
