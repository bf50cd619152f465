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

    /// Reads a task that is part of the program, and has been put together of its parts.
    init(bundled value: JSONValue, name: String) throws {
        try self.init(value, place: "\(name).yml", folder: ".", standardName: name)
    }

    /// `value` with what it includes below it.
    static func overlaid(_ value: JSONValue, on base: JSONValue) -> JSONValue {
        guard let object = value.object, let below = base.object else { return value }
        let own = object.members.filter { $0.key != "include" }
        let kept = below.members.filter { object[$0.key] == nil }
        return .object(JSONObject((kept + own).map { (key: $0.key.string, value: $0.value) }))
    }

    /// The file with what it includes below it.
    static func read(_ path: String, depth: Int) throws -> JSONValue {
        let file = try MappedFile(path: path)
        let value = try parseYAML(file.withBytes { Array($0) }, file: path)
        guard value.object != nil, let included = try value.stringIfPresent("include", in: path) else { return value }
        guard depth < 8 else { throw MeraserError.badInput("\(path): files include each other more than 8 deep") }
        let other = URL(fileURLWithPath: path).deletingLastPathComponent().appendingPathComponent(included).path
        return overlaid(value, on: try read(other, depth: depth + 1))
    }

    private init(_ value: JSONValue, place: String, folder: String, standardName: String) throws {
        var file = try Settings(value, place: place)
        let name = try file.text("task") ?? standardName
        func field(_ key: String, _ source: String) throws -> TaskField {
            try TaskField(source, name: "\(key) of task '\(name)'")
        }
        func target(_ key: String, _ value: JSONValue) throws -> Target {
            try value.string.map { .field(try field(key, $0)) } ?? .fixed(value)
        }
        func choices(_ key: String, _ value: JSONValue, _ settings: Settings) throws -> Choices {
            try value.string.map { .field(try field(key, $0)) } ?? .fixed(try settings.fixedChoices(value, key: key))
        }
        let delimiter = try file.text("fewshot_delimiter") ?? "\n\n"
        let type = try file.text("output_type") ?? "multiple_choice"
        let output: TaskOutput
        switch type {
        case "multiple_choice":
            guard let value = file.value("doc_to_choice") else { throw missing("doc_to_choice", place) }
            output = .multipleChoice(try choices("doc_to_choice", value, file))
        case "loglikelihood": output = .logLikelihood
        case "loglikelihood_rolling": output = .rolling
        case "generate_until": output = .generation(try file.generation(delimiter: delimiter))
        default:
            throw MeraserError.badInput(
                "\(place): 'output_type' is \(quoted(type)), expected multiple_choice, loglikelihood, "
                    + "loglikelihood_rolling or generate_until")
        }
        guard let text = try file.scalar("doc_to_text") else { throw missing("doc_to_text", place) }
        guard let wanted = file.value("doc_to_target") else { throw missing("doc_to_target", place) }
        let step = try file.choice("process_results", ResultStep.self)
        let (metrics, match) = try file.metrics(of: output, step)
        self.init(
            name: name, docToText: try field("doc_to_text", text), docToTarget: try target("doc_to_target", wanted),
            output: output, metrics: metrics,
            config: value.replacing(
                "dataset_kwargs", with: RecordPaths.withoutFolders(value["dataset_kwargs"] ?? .null)))
        exactMatch = match
        results = step
        alias = try file.text("task_alias") ?? name
        version =
            try file.section("metadata").flatMap {
                var data = $0; return data.value("version")
            } ?? version
        trainingSplit = try file.text("training_split")
        validationSplit = try file.text("validation_split")
        testSplit = try file.text("test_split")
        fewshotSplit = try file.text("fewshot_split")
        self.step = try file.choice("process_docs", DocumentStep.self)
        description = try file.text("description").flatMap { $0.isEmpty ? nil : try field("description", $0) }
        targetDelimiter = try file.text("target_delimiter") ?? " "
        fewshotDelimiter = delimiter
        numFewshot = try file.int("num_fewshot", in: 0...1000) ?? 0
        if var fewshot = try file.section("fewshot_config") {
            sampler = try fewshot.choice("sampler", FewshotSampler.self) ?? .standard
            fewshotSplit = try fewshot.text("split") ?? fewshotSplit
            fewshotFields = (
                try fewshot.scalar("doc_to_text").map { try field("fewshot doc_to_text", $0) },
                try fewshot.value("doc_to_target").map { try target("fewshot doc_to_target", $0) },
                try fewshot.value("doc_to_choice").map { try choices("doc_to_choice", $0, fewshot) }
            )
            fewshotSamples = try fewshot.value("samples").map { value in
                let rows = value.array?.map(\.object) ?? []
                guard !rows.isEmpty, rows.allSatisfy({ $0 != nil }) else {
                    throw MeraserError.badInput("\(fewshot.place): 'samples' is \(value.kind), expected a list of rows")
                }
                return rows.compactMap { $0 }
            }
            if case .multipleChoice = output {
            } else if fewshotFields.choice != nil {
                throw MeraserError.badInput("\(fewshot.place): 'doc_to_choice' is not used by \(type)")
            }
            try fewshot.requireNothingElse()
        }
        dataFiles = try file.dataFiles(in: folder)
        for key in unusedKeys { _ = file.value(key) }
        try file.requireNothingElse()
    }
}

private func missing(_ key: String, _ place: String) -> MeraserError {
    .badInput("\(place): '\(key)' is missing, expected as in lm-evaluation-harness's tasks")
}

extension Settings {
    /// A text, or a whole number as text.
    fileprivate mutating func scalar(_ key: String) throws -> String? {
        if let number = value(key)?.int { return String(number) }
        return try text(key)
    }

    fileprivate func fixedChoices(_ value: JSONValue, key: String) throws -> [String] {
        let values = value.array ?? value.object?.members.map(\.value) ?? []
        let texts = values.compactMap { $0.string ?? $0.bool.map { $0 ? "True" : "False" } ?? $0.int.map(String.init) }
        guard texts.count == values.count, texts.count >= 2 else {
            throw MeraserError.badInput("\(place): '\(key)' is \(value.kind), expected two or more texts")
        }
        return texts
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
