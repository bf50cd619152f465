import ArgumentParser
import Base
import Kernels
import Pipeline
import Tune

/// What a command trains with where nobody says otherwise: a preset over its own options.
protocol TrainingStandard {
    /// The options below the preset.
    static var base: TrainingOptions { get }
    /// The preset, unless `--preset` names another.
    static var preset: TrainingPreset? { get }
}

extension TrainingStandard {
    /// Trainer's.
    static var base: TrainingOptions { TrainingOptions() }

    /// Both together: what `--help` shows.
    static var options: TrainingOptions {
        var options = base
        try? preset?.overrides.apply(to: &options)
        return options
    }
}

/// The files that an option names which may be a list; what is no list is left to its reader to refuse.
func datasetPaths(_ text: String) -> [String] { (try? DatasetList(text).paths) ?? [text] }

/// The flags of training, in the words of Trainer and PEFT: one for each `TrainingKey`, beside `--preset` and `--config`.
struct TrainingFlags<Standard: TrainingStandard>: ParsableArguments {
    @OptionGroup var draw: SeedOption
    @OptionGroup(title: "Training") var sets: TrainingSets
    @OptionGroup(title: TrainingKey.Group.adapter.rawValue)
    private var adapter: TrainingFlagGroup<Standard, AdapterFlags>
    @OptionGroup(title: TrainingKey.Group.optimiser.rawValue)
    private var optimiser: TrainingFlagGroup<Standard, OptimiserFlags>
    @OptionGroup(title: TrainingKey.Group.objective.rawValue)
    private var objective: TrainingFlagGroup<Standard, ObjectiveFlags>
    @OptionGroup(title: TrainingKey.Group.samples.rawValue)
    private var samples: TrainingFlagGroup<Standard, SampleFlags>
    @OptionGroup(title: TrainingKey.Group.measuring.rawValue)
    private var measuring: TrainingFlagGroup<Standard, MeasuringFlags>
    @OptionGroup(title: TrainingKey.Group.running.rawValue)
    private var running: TrainingFlagGroup<Standard, RunningFlags>

    /// What the command line says.
    private var given: [GivenKey] {
        adapter.given + optimiser.given + objective.given + samples.given + measuring.given + running.given
    }

    private var preset: String? { sets.preset }
    private var config: String? { sets.config }

    /// The flags that were given besides those named, in the words of the command line.
    func given(besides names: Set<String>) -> [String] {
        [preset.map { _ in "--preset" }, config.map { _ in "--config" }].compactMap { $0 }
            + given.map(\.key).filter { !names.contains($0.name) }.map(\.flag)
    }

    /// What the command line says of an option; nil where it says nothing.
    func text(of name: String) -> String? {
        given.lazy.compactMap { entry -> String? in
            guard entry.key.name == name, case .text(let text) = entry.value else { return nil }
            return text
        }.first
    }

    /// The files that training reads besides its data.
    var inputs: [String] {
        let files = given.flatMap { entry -> [String] in
            guard entry.key.form == .path, case .text(let path) = entry.value else { return [] }
            return datasetPaths(path)
        }
        return (config.map { [$0] } ?? []) + files
    }

    /// The options of these flags over `--config` over the command's standard, or the preset that `--preset` names.
    ///
    /// - Parameter base: the options below the preset, where they are not the standard's.
    /// - Throws: usage errors that name flag or key.
    func options(base: TrainingOptions = Standard.base, model: ModelOptions) throws -> TrainingOptions {
        let preset =
            try preset.map { $0 == "none" ? nil : try TrainingPreset.named($0) } ?? Standard.preset
        let file = try config.map { try trainingOverrides(yamlFile: $0) } ?? TrainingOverrides()
        var options = base
        try options.apply(preset, and: file.merging(try overrides(model: model)))
        try options.validate()
        return options
    }

    private func overrides(model: ModelOptions) throws -> TrainingOverrides {
        var result = TrainingOverrides()
        for entry in given {
            switch entry.value {
            case .text(let text): try result.set(entry.key.name, text: text)
            case .flag(let isOn): try result.set(entry.key.name, .bool(isOn))
            }
        }
        if let seed = draw.seed { try result.set("seed", .integer(Int(clamping: seed))) }
        if let compute = model.compute { try result.set("compute", .text(compute.rawValue)) }
        return result
    }
}
