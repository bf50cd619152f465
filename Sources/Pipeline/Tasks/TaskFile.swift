import Audit
import Base
import Foundation

/// Keys of lm-evaluation-harness's task files that have no part in scoring here.
private let unusedKeys = [
    "tag", "group", "dataset_name", "should_decontaminate", "doc_to_decontamination_query", "repeats", "num_proc",
]

extension TaskDefinition {
    /// Reads a task file: YAML in lm-evaluation-harness's keys, without Python functions. `include` is followed;
    /// `dataset_kwargs: {data_files: …}` names data relative to the file. docs/reference/evaluation.md lists the keys.
    ///
    /// - Throws: a bad-input error that names file and key.
    public init(path: String) throws {
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        try self.init(
            try Self.read(path, depth: 0), place: path, folder: folder,
            standardName: URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent)
    }

    /// Reads a task that is part of the program.
    init(bundled bytes: [UInt8], name: String) throws {
        try self.init(
            try parseYAML(bytes, file: "\(name).yml"), place: "\(name).yml", folder: ".", standardName: name)
    }

    /// The file with what it includes below it.
    private static func read(_ path: String, depth: Int) throws -> JSONValue {
        let file = try MappedFile(path: path)
        let value = try parseYAML(file.withBytes { Array($0) }, file: path)
        guard let object = value.object, let included = try value.stringIfPresent("include", in: path) else {
            return value
        }
        guard depth < 8 else { throw MeraserError.badInput("\(path): files include each other more than 8 deep") }
        let other = URL(fileURLWithPath: path).deletingLastPathComponent().appendingPathComponent(included).path
        guard let base = try read(other, depth: depth + 1).object else { return value }
        let own = object.members.filter { $0.key != "include" }
        let kept = base.members.filter { object[$0.key] == nil }
        return .object(JSONObject((kept + own).map { (key: $0.key.string, value: $0.value) }))
    }

    private init(_ value: JSONValue, place: String, folder: String, standardName: String) throws {
        var file = try Settings(value, place: place)
        let type = try file.text("output_type") ?? "multiple_choice"
        guard type == "multiple_choice" else {
            throw MeraserError.badInput("\(place): 'output_type' is '\(type)', expected multiple_choice")
        }
        let name = try file.text("task") ?? standardName
        func field(_ key: String, _ source: String) throws -> TaskField {
            try TaskField(source, name: "\(key) of task '\(name)'")
        }
        guard let text = try file.scalar("doc_to_text") else { throw missing("doc_to_text", place) }
        guard let target = file.value("doc_to_target") else { throw missing("doc_to_target", place) }
        guard let choices = file.value("doc_to_choice") else { throw missing("doc_to_choice", place) }
        let metrics = try file.metrics()
        self.init(
            name: name, docToText: try field("doc_to_text", text),
            docToTarget: try target.string.map { .field(try field("doc_to_target", $0)) } ?? .fixed(target),
            docToChoice: try choices.string.map { .field(try field("doc_to_choice", $0)) }
                ?? .fixed(try file.fixedChoices(choices)),
            metrics: metrics,
            config: value.replacing(
                "dataset_kwargs", with: RecordPaths.withoutFolders(value["dataset_kwargs"] ?? .null)))
        alias = try file.text("task_alias") ?? name
        version =
            try file.section("metadata").flatMap {
                var data = $0; return data.value("version")
            } ?? version
        trainingSplit = try file.text("training_split")
        validationSplit = try file.text("validation_split")
        testSplit = try file.text("test_split")
        fewshotSplit = try file.text("fewshot_split")
        step = try file.choice("process_docs", DocumentStep.self)
        description = try file.text("description").flatMap { $0.isEmpty ? nil : try field("description", $0) }
        targetDelimiter = try file.text("target_delimiter") ?? " "
        fewshotDelimiter = try file.text("fewshot_delimiter") ?? "\n\n"
        numFewshot = try file.int("num_fewshot", in: 0...1000) ?? 0
        if var fewshot = try file.section("fewshot_config") {
            sampler = try fewshot.choice("sampler", FewshotSampler.self) ?? .standard
            fewshotSplit = try fewshot.text("split") ?? fewshotSplit
            try fewshot.requireNothingElse()
        }
        dataFiles = try file.dataFiles(in: folder)
        for key in unusedKeys { _ = file.value(key) }
        try file.requireNothingElse()
    }
}

private func missing(_ key: String, _ place: String) -> MeraserError {
    .badInput("\(place): '\(key)' is missing, expected as in lm-evaluation-harness's multiple-choice tasks")
}

extension Settings {
    /// A text, or a whole number as text.
    fileprivate mutating func scalar(_ key: String) throws -> String? {
        if let number = value(key)?.int { return String(number) }
        return try text(key)
    }

    fileprivate func fixedChoices(_ value: JSONValue) throws -> [String] {
        let values = value.array ?? value.object?.members.map(\.value) ?? []
        let texts = values.compactMap { $0.string ?? $0.bool.map { $0 ? "True" : "False" } ?? $0.int.map(String.init) }
        guard texts.count == values.count, texts.count >= 2 else {
            throw MeraserError.badInput("\(place): 'doc_to_choice' is \(value.kind), expected two or more texts")
        }
        return texts
    }

    /// `metric_list`; without one, lm-eval's `acc` and `acc_norm`.
    fileprivate mutating func metrics() throws -> [TaskMetric] {
        guard let value = value("metric_list") else { return [.acc, .accNorm] }
        guard let list = value.array, !list.isEmpty else {
            throw MeraserError.badInput("\(place): 'metric_list' is \(value.kind), expected a list of metrics")
        }
        var metrics: [TaskMetric] = []
        for (index, entry) in list.enumerated() {
            var entry = try Settings(entry, place: "\(place): metric \(index + 1)")
            guard let metric = try entry.choice("metric", TaskMetric.self) else {
                throw MeraserError.badInput("\(entry.place): 'metric' is missing")
            }
            let expected = metric == .f1 ? "macro" : "mean"
            let aggregation = try entry.text("aggregation") ?? (metric == .f1 ? "" : expected)
            guard aggregation == expected else {
                throw MeraserError.badInput(
                    "\(entry.place): 'aggregation' of \(metric.rawValue) is '\(aggregation)', expected \(expected)")
            }
            _ = try entry.flag("higher_is_better")
            try entry.requireNothingElse()
            if !metrics.contains(metric) { metrics.append(metric) }
        }
        return metrics
    }

    /// `dataset_kwargs: {data_files: {split: path or paths}}`.
    fileprivate mutating func dataFiles(in folder: String) throws -> [String: [String]] {
        _ = try text("dataset_path")
        guard var arguments = try section("dataset_kwargs") else { return [:] }
        let files = try arguments.section("data_files")
        // No code is loaded here that could be trusted or not.
        _ = try arguments.flag("trust_remote_code")
        try arguments.requireNothingElse()
        guard let files else { return [:] }
        var result: [String: [String]] = [:]
        for (split, value) in files.rest() {
            let paths = value.array?.compactMap(\.string) ?? value.string.map { [$0] } ?? []
            guard !paths.isEmpty, paths.count == value.array?.count ?? 1 else {
                throw MeraserError.badInput("\(files.place): '\(split)' is \(value.kind), expected a path or paths")
            }
            result[split] = paths.map { $0.hasPrefix("/") ? $0 : folder + "/" + $0 }
        }
        return result
    }
}
