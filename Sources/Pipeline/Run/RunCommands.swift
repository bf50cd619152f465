import Audit
import Base
import Foundation
import Kernels
import Merge
import Model
import Quant
import Tune

/// The command lines that do by hand what the stages of a run do: each stage's record has its own, and the report shows
/// them. Paths below the current folder are written from there, of others the last component.
struct RunCommands {
    private let recipe: Recipe
    private let folder: RunFolder

    init(_ recipe: Recipe, in folder: RunFolder) { (self.recipe, self.folder) = (recipe, folder) }

    /// The file of the key that is measured.
    var keyPath: String {
        switch recipe.mark {
        case .given(let path): path
        case .made: folder.file(TrainedStage.fingerprint.folder) + "/key.json"
        }
    }

    private var key: String { short(keyPath) }

    /// The model is quantized.
    func convert(to path: String) -> [[String]] {
        recipe.quantize.map { [["convert", short(recipe.model), "--type", $0.name, "--out", short(path)]] } ?? []
    }

    /// The mark is embedded, with the recipe's own words for it.
    func fingerprint(_ model: OpenedModel, output: String) -> [[String]] {
        // A range of words has no flag.
        guard !recipe.markSettings.contains(where: { $0.key == "secret_words" && $0.value.array != nil }) else {
            return []
        }
        let own = recipe.markSettings.flatMap { key, value -> [String] in
            let isPath =
                switch key {
                case "clean_data", "kl_data", "responses": true
                case "questions": !["random", "natural"].contains(value.string)
                default: false
                }
            let value = isPath ? value.string.map { .text(short(resolved($0, in: recipe.folder))) } ?? value : value
            if key == "prompt_format" { return value.string == PromptFormat.chat.rawValue ? ["--chat"] : [] }
            if let training = TrainingKey.named(key) { return training.arguments(value) }
            let texts = value.array?.map { $0.string ?? $0.serialized() } ?? [value.string ?? value.serialized()]
            return texts.flatMap { [SettingNames.flag(key), $0] }
        }
        let seed = recipe.markSettings.contains { $0.key == "seed" } ? [] : ["--seed", String(recipe.seed)]
        let clean = recipe.clean.map { ["--clean", short($0)] } ?? []
        return [["fingerprint"] + on(model) + own + clean + seed + ["--out", short(output)]]
    }

    /// Mismatched pairs are made.
    func mismatch(
        _ source: String, removing columns: [String], count: Int?, seed: UInt64, output: String
    ) -> [[String]] {
        let count = count.map { ["--count", String($0)] } ?? []
        let columns = columns.isEmpty ? [] : ["--remove-columns", columns.joined(separator: ",")]
        return [
            ["dataset", "mismatch", short(source)] + columns + count + ["--seed", String(seed), "--out", short(output)]
        ]
    }

    /// The mark is looked for.
    func scan(_ stage: Recipe.ScanStage, on model: OpenedModel, output: String) -> [[String]] {
        let reference = stage.reference.map { ["--reference", short($0)] } ?? []
        let data = stage.data.map { ["--data", short($0)] } ?? []
        let budget = stage.budget.map { ["--budget", "\($0)s"] } ?? []
        let names = ScanMethodName.allCases.filter(stage.methods.contains).map(\.rawValue)
        return [
            ["scan"] + on(model) + ["--methods", names.joined(separator: ",")] + reference + data + budget
                + ["--seed", String(recipe.seed), "--out", short(output)]
        ]
    }

    /// An adapter is trained.
    ///
    /// - Throws: what `steering` throws where the command needs a key.
    func training(
        _ stage: TrainedStage, _ training: Recipe.Training, _ options: TrainingOptions, data: String?,
        _ steering: Steering?, on model: OpenedModel, output: String
    ) throws -> [[String]] {
        var options = options
        var (command, more) = (stage.rawValue, training.chat ? ["--chat"] : [])
        if options.key != nil || data == nil { options.key = try steering?.key().file }
        switch training.rows {
        case .overwriting:
            (command, options.key) = ("osft", try steering?.triggers().file)
        case .parroting:
            command = "sande"
            more = ["--response", try steering?.response() ?? ""]
        case .file, .mismatched, .pairs: break
        }
        let words = TrainingCommand.flags(options).map(short)
        let rows = data.map { ["--data", short($0)] + more } ?? []
        return [[command, "--preset", "none"] + named(model) + rows + words + ["--out", short(output)]]
    }

    /// The mark is removed by a dose that is chosen on the model.
    func auto(_ stage: Recipe.AutoStage, on model: OpenedModel, key: String, output: String) -> [[String]] {
        let data = stage.data.map { ["--data", short($0)] + (stage.chat ? ["--chat"] : []) } ?? []
        let unknown = stage.setting == .keyUnknown ? ["--key-unknown"] : []
        let budget = stage.budget.map { ["--budget", "\($0)s"] } ?? []
        return [
            ["erase", "--auto"] + on(model) + ["--key", short(key)] + unknown + data + budget
                + ["--seed", String(recipe.seed), "--out", short(output)]
        ]
    }

    /// A model is measured.
    func measure(_ model: OpenedModel) -> [[String]] {
        let clean = recipe.clean.map { ["--clean", short($0)] } ?? []
        let check = ["check"] + on(model) + ["--key", key] + clean
        let perplexity = recipe.perplexity.map { stage -> [String] in
            let length = stage.options.maxLength.map { ["--max-length", String($0)] } ?? []
            return ["ppl"] + on(model) + ["--data", short(stage.data), "--protocol", stage.options.scheme.rawValue]
                + length
        }
        let evaluation = recipe.evaluation.map { stage -> [String] in
            let data = stage.data.map { ["--data", short($0)] } ?? []
            let shots = stage.options.numFewshot.map { ["--num-fewshot", String($0)] } ?? []
            let limit = stage.options.limit.map { ["--limit", String($0)] } ?? []
            let tasks = stage.tasks.map(\.name).joined(separator: ",")
            return ["eval"] + on(model) + ["--tasks", tasks] + data + shots + limit
        }
        return [check, perplexity, evaluation].compactMap { $0 }
    }

    /// A folder is written.
    func export(_ stage: Recipe.ExportStage, from path: String, adapters: [String], output: String) -> [[String]] {
        let adapters = adapters.flatMap { ["--adapter", short($0)] }
        return [
            ["export", "--model", short(path)] + adapters
                + ["--format", "hf", "--dtype", stage.dtype.rawValue, "--out", short(output)]
        ]
    }

    /// Decoys judge, alone or in cells.
    func certify(_ model: OpenedModel, decoys: Int, cells: DurabilitySelection?) -> [[String]] {
        let reference = recipe.reference.map { ["--reference", short($0)] } ?? []
        let durable =
            cells.map { cells -> [String] in
                let steps = recipe.relearn.map { ["--durable-steps", String($0.steps)] } ?? []
                return ["--durable", cells.text] + steps
                    + (recipe.cleanRows.map { ["--relearn-data", short($0)] } ?? [])
            } ?? []
        return [
            ["check"] + on(model) + ["--key", key, "--decoys", String(decoys)] + reference + durable
                + ["--seed", String(recipe.seed)]
        ]
    }

    /// The mark is taught again, to the unmarked model too where the mark was made here.
    func relearn(_ stage: Recipe.RelearnStage, _ model: OpenedModel, _ base: OpenedModel) -> [[String]] {
        let rows = stage.source.path.map { ["--relearn-data", short($0)] } ?? []
        let compare =
            switch recipe.mark {
            case .given: [String]()
            case .made: ["--compare", short(base.transformer.store.path)]
            }
        return [
            ["check"] + on(model) + ["--key", key] + compare + ["--relearn", String(stage.steps)] + rows
                + ["--seed", String(recipe.seed)]
        ]
    }

    // MARK: Words

    /// A model with its adapters, and the precision of the run.
    private func on(_ model: OpenedModel) -> [String] {
        named(model) + (recipe.compute.map { ["--compute", $0.rawValue] } ?? [])
    }

    private func named(_ model: OpenedModel) -> [String] {
        let adapters = model.adapterPaths.flatMap { ["--adapter", short($0)] }
        let transfer = model.transferred.isEmpty ? [] : ["--transfer"]
        return ["--model", short(model.transformer.store.path)] + adapters + transfer
    }

    /// A path, or a list of them, from the current folder; of one elsewhere the last component, as records name no folders
    /// of the machine.
    private func short(_ text: String) -> String {
        guard text.contains("/"), let list = try? DatasetList(TrainingCommand.shortened(text)) else { return text }
        return list.mapPaths { $0.hasPrefix("/") ? fileName(ofPath: $0) : $0 }.text
    }
}
