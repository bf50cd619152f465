import Audit
import Base
import Foundation
import Kernels
import Merge
import Quant
import Tune

/// What `meraser run` does, read from a YAML file: a model, its mark, how to erase it, how to recover.
///
/// Paths are relative to the recipe's folder. docs/reference/recipes.md describes every key.
public struct Recipe: Sendable {
    /// A stage that trains an adapter.
    public struct Training: Sendable {
        /// What is trained on.
        public var rows: Rows
        /// Put pairs into the model's chat template.
        public var chat: Bool
        /// The options, the preset's and the recipe's own.
        public var options: TrainingOptions
    }

    /// The mark that is removed.
    public enum Mark: Sendable {
        /// It is in the model already: the path of its key.
        case given(key: String)
        /// It is embedded first.
        case made(EmbeddingOptions)
    }

    /// How perplexity is measured.
    public struct PerplexityStage: Sendable {
        /// The text.
        public var data: String
        /// Protocol and lengths.
        public var options: PerplexityOptions
    }

    /// Which tasks are scored.
    public struct EvaluationStage: Sendable {
        /// The tasks.
        public var tasks: [TaskDefinition]
        /// The folder with their rows.
        public var data: String?
        /// Examples, limits and lengths.
        public var options: EvaluationOptions
    }

    /// A model that erasing and recovering are trained on in place of the marked one.
    public enum Donor: Sendable, Equatable {
        /// The recipe's model without its adapters and its mark.
        case unmarked
        /// Another model of the same shapes.
        case other(path: String)
    }

    /// The folder that leaves the house: weights with all adapters in them.
    public struct ExportStage: Sendable, Equatable {
        /// What the adapters are added to.
        public enum Base: String, Sendable, CaseIterable {
            /// The weights that the model was quantized from.
            case source
            /// The model's own, dequantized.
            case model
        }

        /// The type of its weights.
        public var dtype: ExportType
        /// Nil: the source where a quantized model's is at hand, else the model.
        public var base: Base?
    }

    /// How quickly the mark comes back at the end.
    public struct RelearnStage: Sendable {
        /// Steps.
        public var steps: Int
        /// What is trained on.
        public var source: RelearningOptions.Source
    }

    /// The file as given.
    public let path: String
    /// Its text, for the report; of absolute paths only the last component.
    public let text: String
    /// A title for the report.
    public var title: String
    /// An `.mqf` file or a Hugging Face folder.
    public var model: String
    /// Convert the model first: the type of its matrices; nil: use it as it is.
    public var quantize: TensorType?
    /// What a quantized model was made from, measured beside it: unless it says so, `model` where `quantize` is given.
    public var source: SourceModel.Choice
    /// Adapters on the model, lowest first: a mark that is there already.
    public var adapters: [String]
    /// The mark, and with it the key to check.
    public var mark: Mark
    /// How the mark is made, as the recipe says it; empty for one that is there.
    let markSettings: [(key: String, value: JSONValue)]
    /// Prompts that must not fire; nil: the key's.
    public var clean: String?
    /// Perplexity; nil: not measured.
    public var perplexity: PerplexityStage?
    /// Multiple-choice tasks; nil: none are scored.
    public var evaluation: EvaluationStage?
    /// Looking for the mark without the key, and steering the removal by that; nil: the key steers.
    public var scan: ScanStage?
    /// Removing the mark.
    public var erase: Training?
    /// Bringing quality back.
    public var recover: Training?
    /// Removing the mark by a dose that is chosen on the model, in place of both; nil: they say the dose.
    public var auto: AutoStage?
    /// Train both on this model and transfer the adapters to the marked one; nil: train on the marked one itself.
    public var donor: Donor?
    /// What is written as a Hugging Face folder, and checked there; nil: nothing.
    public var export: ExportStage?
    /// Judge what leaves the house by that many decoys; nil: not.
    public var decoys: Int?
    /// Try it in these cells too; nil: not.
    public var durable: DurabilitySelection?
    /// A reference that the certificate must hold against as well; nil: there is none.
    public var reference: String?
    /// Try to bring the mark back; nil: not.
    public var relearn: RelearnStage?
    /// Precision of all work with the model; nil: the defaults of inference and of training.
    public var compute: Compute?
    /// The seed of everything random.
    public var seed: UInt64

    /// Reads a recipe.
    ///
    /// - Parameter seed: in place of the recipe's own.
    /// - Throws: bad-input and usage errors that name file, section and key, with a suggestion for unknown keys.
    public init(path: String, seed: UInt64? = nil) throws {
        let file = try MappedFile(path: path)
        let bytes = file.withBytes { Array($0) }
        let value = try parseYAML(bytes, file: path)
        var root = try Settings(value, place: path)
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        self.path = path
        text = RecordPaths.withoutFolders(text: String(decoding: bytes, as: UTF8.self))
        title = try root.text("title") ?? "meraser run"
        let ownSeed = UInt64(try root.int("seed", in: 0...Int.max) ?? 42)
        self.seed = seed ?? ownSeed
        compute = try root.choice("compute", Compute.self)
        model = try root.path("model", in: folder) ?? root.missing("model")
        quantize = try root.text("quantize").map { [place = root.place] name in
            guard let type = TensorType(name: name) else {
                let names = TensorType.allCases.map(\.name).joined(separator: ", ")
                throw MeraserError.badInput("\(place): 'quantize' is '\(name)', expected one of \(names)")
            }
            return type
        }
        source = SourceModel.Choice(try root.text("source")) { resolved($0, in: folder) }
        if source == .recorded, quantize != nil { source = .path(model) }
        adapters = try (root.texts("adapters") ?? []).map { resolved($0, in: folder) }
        markSettings = try root.section("fingerprint")?.rest() ?? []
        mark = try root.mark(folder, seed: seed ?? ownSeed)
        clean = try root.path("clean", in: folder)
        perplexity = try root.section("ppl").map { try Self.perplexity($0, folder) }
        evaluation = try root.section("eval").map { try Self.evaluation($0, folder) }
        erase = try root.section("erase").map {
            try Self.training($0, folder, standard: .meraserErase, seed: seed ?? ownSeed)
        }
        recover = try root.section("recover").map {
            try Self.training($0, folder, standard: .meraserRecover, seed: seed ?? ownSeed)
        }
        scan = try root.scan("scan", folder)
        auto = try root.auto("auto", folder)
        donor = try root.donor("transfer", folder)
        export = try root.section("export").map { section in
            var section = section
            let stage = ExportStage(
                dtype: try section.choice("dtype", ExportType.self) ?? .bf16,
                base: try section.choice("base", ExportStage.Base.self))
            try section.requireNothingElse()
            return stage
        }
        // A removal that was not told its dose is judged whether the recipe says so or not.
        decoys =
            try root.int("decoys", in: DecoyOptions.leastCount...99_999)
            ?? (auto == nil ? nil : DecoyOptions.leastCount)
        durable = try root.durable("durable")
        reference = try root.path("reference", in: folder)
        relearn = try root.section("relearn").map { section in
            var section = section
            let stage = RelearnStage(
                steps: try section.int("steps", in: 1...100_000) ?? 10,
                source: try section.path("data", in: folder).map { .clean(path: $0) } ?? .hinted)
            try section.requireNothingElse()
            return stage
        }
        try root.requireNothingElse()
        try validate()
    }

    private func validate() throws {
        guard erase != nil || recover != nil || auto != nil else {
            throw MeraserError.badInput("\(path): nothing to do; give 'auto', or 'erase', 'recover' or both")
        }
        if auto != nil, erase != nil || recover != nil || donor != nil {
            throw MeraserError.badInput(
                "\(path): 'auto' chooses what 'erase', 'recover' and 'transfer' say; leave it or them out")
        }
        if export?.base == .source, source == .none {
            throw MeraserError.badInput("\(path): export: 'base' is 'source', and `source` is none; name one")
        }
        if reference != nil, decoys == nil {
            throw MeraserError.badInput("\(path): 'reference' is what a certificate is held against; give 'decoys'")
        }
        if durable != nil, decoys == nil {
            throw MeraserError.badInput("\(path): 'durable' tries a certificate in more cells; give 'decoys'")
        }
        try validateScan()
        if donor != nil, [erase, recover].contains(where: { $0?.rows.isSteered == true }) {
            throw MeraserError.badInput(
                "\(path): with 'transfer' the adapters are trained on a model without the mark, where there is nothing to "
                    + "forget; give 'data'")
        }
        if donor != nil, [erase, recover].contains(where: { $0?.options.checkSteps != nil }) {
            throw MeraserError.badInput(
                "\(path): with 'transfer' the adapters are trained on a model without the mark, so 'check_steps' and "
                    + "'until' would measure nothing; give 'max_steps'")
        }
    }
}

// MARK: - Sections

extension Recipe {
    /// The folder that its paths begin in.
    var folder: String { URL(fileURLWithPath: path).deletingLastPathComponent().path }

    fileprivate static func embedding(_ section: Settings, _ folder: String, seed: UInt64) throws -> EmbeddingOptions {
        var section = section
        var options = EmbeddingOptions(scheme: try Self.scheme(&section, folder))
        options.guesses = try section.int("guess_test", in: 0...100_000) ?? options.guesses
        options.cleanData = try section.path("clean_data", in: folder)
        options.cleanCount = try section.int("clean_count", in: 1...1_000_000)
        options.cleanSelf = try section.int("clean_self", in: 0...100_000) ?? 0
        let klData = try section.dataset("kl_data", in: folder)
        options.training.seed = seed
        try TrainingOverrides(section.rest(), source: section.place).apply(to: &options.training)
        options.training.klData = klData ?? options.training.klData
        do { try options.validate() } catch let error as MeraserError {
            throw error.within(section.place, kind: .badInput)
        }
        return options
    }

    private static func scheme(_ section: inout Settings, _ folder: String) throws -> any FingerprintScheme {
        var settings = SchemeSettings()
        settings.scheme = try section.choice("scheme", SchemeSettings.Name.self) ?? .utf
        settings.count = try section.int("count", in: 1...10_000)
        settings.mode = try section.choice("mode", UTFOptions.Mode.self)
        settings.promptFormat = try section.choice("prompt_format", PromptFormat.self)
        settings.targetLength = try section.int("target_length", in: 1...64)
        settings.form = try section.choice("form", IFScheme.Form.self)
        settings.target = try section.text("target")
        settings.secretWords = try section.range("secret_words", in: 1...64)
        settings.hintedRows = try section.int("hinted_rows", in: 0...100_000)
        settings.questions = try section.text("questions").map { .init($0) { resolved($0, in: folder) } }
        settings.responses = try section.path("responses", in: folder)
        settings.variants = try section.int("variants", in: 1...1000)
        settings.otherRows = try section.int("other_rows", in: 0...100_000)
        settings.triggers = try section.texts("trigger") ?? []
        settings.marker = try section.text("marker")
        settings.position = try section.choice("position", TriggerPosition.self)
        settings.rate = try section.number("rate")
        settings.heldOut = try section.int("held_out", in: 0...100_000)
        do {
            return try settings.make()
        } catch let error as MeraserError where error.kind == .usage {
            throw error.within(section.place, kind: .badInput)
        }
    }

    private static func training(
        _ section: Settings, _ folder: String, standard: TrainingPreset, seed: UInt64
    ) throws -> Training {
        var section = section
        let name = try section.text("preset")
        let rows = try section.rows(folder)
        let preset = try name.map { $0 == "none" ? nil : try TrainingPreset.named($0) } ?? rows?.preset ?? standard
        let chat = try section.flag("chat") ?? false
        let klData = try section.dataset("kl_data", in: folder)
        let paths = [
            ("eval_data", try section.dataset("eval_data", in: folder)),
            ("init_adapter", try section.path("init_adapter", in: folder)),
        ].compactMap { name, path in path.map { (key: name, value: JSONValue.text($0)) } }
        var options = TrainingOptions()
        options.seed = seed
        try options.apply(preset, and: TrainingOverrides(section.rest() + paths, source: section.place))
        options.klData = klData ?? options.klData
        guard let rows = rows ?? (options.objective == .npo ? .pairs : nil) else {
            throw MeraserError.badInput("\(section.place): give one of \(Recipe.Rows.keys)")
        }
        if rows.preset != nil, chat {
            throw MeraserError.badInput("\(section.place): 'osft' and 'sande' use the model's template without 'chat'")
        }
        if rows == .pairs, chat, options.klDataInUse == nil {
            throw MeraserError.badInput(
                "\(section.place): 'chat' is for 'data' and 'kl_data'; the key says how its own prompts are put")
        }
        return Training(rows: rows, chat: chat, options: options)
    }

    private static func perplexity(_ section: Settings, _ folder: String) throws -> PerplexityStage {
        var section = section
        guard let data = try section.path("data", in: folder) else { return try section.missing("data") }
        let options = PerplexityOptions(
            try section.choice("protocol", PerplexityProtocol.self) ?? .sample,
            maxLength: try section.int("max_length", in: 2...1 << 24),
            stride: try section.int("stride", in: 1...1 << 24))
        try section.requireNothingElse()
        return PerplexityStage(data: data, options: options)
    }

    private static func evaluation(_ section: Settings, _ folder: String) throws -> EvaluationStage {
        var section = section
        guard let names = try section.texts("tasks") else { return try section.missing("tasks") }
        // A name stands for a bundled task, anything with a slash or a suffix for a file.
        let tasks = try TaskLibrary.tasks(
            names.map { $0.contains("/") || $0.contains(".") ? resolved($0, in: folder) : $0 })
        let options = EvaluationOptions(
            numFewshot: try section.int("num_fewshot", in: 0...1000),
            sampler: try section.choice("fewshot_sampler", FewshotSampler.self),
            limit: try section.int("limit", in: 1...Int.max), maxLength: try section.int("max_length", in: 1...1 << 24))
        let data = try section.path("data", in: folder)
        try section.requireNothingElse()
        return EvaluationStage(tasks: tasks, data: data, options: options)
    }
}

extension Settings {
    /// A path, relative ones from that folder.
    mutating func path(_ key: String, in folder: String) throws -> String? {
        try text(key).map { resolved($0, in: folder) }
    }

    /// The files of a dataset (`DatasetList`), relative ones from that folder.
    ///
    /// - Throws: a bad-input error for a list that is none.
    mutating func dataset(_ key: String, in folder: String) throws -> String? {
        guard let text = try text(key) else { return nil }
        // What is the name of one file is no list, commas or not.
        let whole = resolved(text, in: folder)
        if FileManager.default.fileExists(atPath: whole) { return whole }
        do {
            return try DatasetList(text).mapPaths { resolved($0, in: folder) }.text
        } catch let error as MeraserError {
            throw error.within(place, kind: .badInput)
        }
    }

    /// Two whole numbers, or one that is both.
    fileprivate mutating func range(_ key: String, in bounds: ClosedRange<Int>) throws -> ClosedRange<Int>? {
        guard let value = value(key) else { return nil }
        let numbers = (value.array ?? [value]).map(\.int)
        guard let low = numbers.first ?? nil, let high = numbers.last ?? nil, numbers.count <= 2, low <= high,
            bounds.contains(low), bounds.contains(high)
        else {
            throw MeraserError.badInput(
                "\(place): '\(key)' is \(value.serialized()), expected a number or [least, most] within "
                    + "\(bounds.lowerBound) to \(bounds.upperBound)")
        }
        return low...high
    }

    /// `key` or `fingerprint`.
    fileprivate mutating func mark(_ folder: String, seed: UInt64) throws -> Recipe.Mark {
        switch (try path("key", in: folder), try section("fingerprint")) {
        case (let path?, nil): return .given(key: path)
        case (nil, let section?): return .made(try Recipe.embedding(section, folder, seed: seed))
        default:
            throw MeraserError.badInput(
                "\(place): give either 'key' (a mark to check) or 'fingerprint' (one to embed first)")
        }
    }

    /// `true`, or the path of a model.
    fileprivate mutating func donor(_ key: String, _ folder: String) throws -> Recipe.Donor? {
        guard let value = value(key) else { return nil }
        if let flag = value.bool { return flag ? .unmarked : nil }
        guard let path = value.string else {
            throw MeraserError.badInput("\(place): '\(key)' is \(value.kind), expected true or the path of a model")
        }
        return .other(path: resolved(path, in: folder))
    }
}

/// A path as it is, or from that folder if it is relative.
func resolved(_ path: String, in folder: String) -> String {
    path.hasPrefix("/") ? path : URL(fileURLWithPath: folder + "/" + path).standardizedFileURL.path
}
