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
    fileprivate static var options: TrainingOptions {
        var options = base
        try? preset?.overrides.apply(to: &options)
        return options
    }
}

/// The flags of training, in the words of Trainer and PEFT: one for each `TrainingKey`, beside `--preset` and `--config`.
///
/// A key is declared once, in `TrainingKey.all`. The parser finds a group's flags in its mirror and sets them by decoding:
/// both are made from that list here, instead of from properties that would have to repeat it.
struct TrainingFlags<Standard: TrainingStandard>: ParsableArguments, CustomReflectable {
    @Option(
        help:
            "A named set of options: meraser-erase, meraser-recover, osft, sande, npo, crow, or none for Trainer's defaults."
    )
    var preset: String?
    @Option(help: "A YAML file with options under these names, underscores for dashes; flags win.", completion: .file())
    var config: String?

    /// What the command line says.
    private var given: [(key: TrainingKey, value: Given)] = []

    private enum Given {
        case text(String)
        case flag(Bool)
    }

    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// The keys with a flag of this group: `--seed` and `--compute` are flags of every command.
    private static var keys: [TrainingKey] {
        TrainingKey.all.filter { !["seed", "compute"].contains($0.name) }
    }

    init() {}

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Name.self)
        _preset = try values.decode(Option<String?>.self, forKey: Name(stringValue: "preset"))
        _config = try values.decode(Option<String?>.self, forKey: Name(stringValue: "config"))
        for key in Self.keys {
            let name = Name(stringValue: key.name)
            switch key.form {
            case .value, .path:
                let text = try values.decode(Option<String?>.self, forKey: name).wrappedValue
                if let text { given.append((key, .text(text))) }
            case .on:
                if try values.decode(Flag<Bool>.self, forKey: name).wrappedValue { given.append((key, .flag(true))) }
            case .onOrOff:
                let flag = try values.decode(Flag<Bool?>.self, forKey: name).wrappedValue
                if let flag { given.append((key, .flag(flag))) }
            }
        }
    }

    var customMirror: Mirror {
        let standard = Standard.options
        let flags = Self.keys.map { key -> (label: String, value: Any) in
            let name = NameSpecification.customLong(String(key.flag.dropFirst(2)))
            let help = ArgumentHelp(
                stringLiteral: FlagNames.spell(key.help) + key.defaultText(in: standard))
            let definition: Any =
                switch key.form {
                case .value: Option<String?>(name: name, help: help)
                case .path: Option<String?>(name: name, help: help, completion: .file())
                case .on: Flag<Bool>(wrappedValue: false, name: name, help: help)
                case .onOrOff: Flag<Bool?>(name: name, inversion: .prefixedNo, help: help)
                }
            return (key.name, definition)
        }
        return Mirror(self, children: [("preset", _preset as Any), ("config", _config as Any)] + flags)
    }

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
        let files = given.compactMap { entry -> String? in
            guard entry.key.form == .path, case .text(let path) = entry.value else { return nil }
            return path
        }
        return (config.map { [$0] } ?? []) + files
    }

    /// The options of these flags over `--config` over the command's standard, or the preset that `--preset` names.
    ///
    /// - Parameter base: the options below the preset, where they are not the standard's.
    /// - Throws: usage errors that name flag or key.
    func options(
        base: TrainingOptions = Standard.base, common: CommonOptions, model: ModelOptions
    ) throws -> TrainingOptions {
        let preset =
            try preset.map { $0 == "none" ? nil : try TrainingPreset.named($0) } ?? Standard.preset
        let file = try config.map { try trainingOverrides(yamlFile: $0) } ?? TrainingOverrides()
        var options = base
        try options.apply(preset, and: file.merging(try overrides(common: common, model: model)))
        try options.validate()
        return options
    }

    private func overrides(common: CommonOptions, model: ModelOptions) throws -> TrainingOverrides {
        var result = TrainingOverrides()
        for (key, value) in given {
            switch value {
            case .text(let text): try result.set(key.name, text: text)
            case .flag(let isOn): try result.set(key.name, .bool(isOn))
            }
        }
        if let seed = common.seed { try result.set("seed", .integer(Int(clamping: seed))) }
        if let compute = model.compute { try result.set("compute", .text(compute.rawValue)) }
        return result
    }
}

extension TrainingKey {
    /// ` (default: 8)`: the value in those options, as a command line gives it; nothing where there is none, or of a switch
    /// that is off.
    fileprivate func defaultText(in options: TrainingOptions) -> String {
        let words = form == .path ? [] : arguments(value(in: options))
        switch form {
        case .value:
            guard let text = words.last else { return "" }
            return " (default: \(text.isEmpty ? "''" : text.hasPrefix("\\") ? "'\(text)'" : text))"
        case .on, .onOrOff: return words.first.map { " (default: \($0))" } ?? ""
        case .path: return ""
        }
    }
}
