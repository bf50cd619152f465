import ArgumentParser
import Base
import Kernels
import Pipeline
import Tune

/// The flags of training, in the words of Trainer and PEFT: one for each `TrainingKey`, beside `--preset` and `--config`.
///
/// A key is declared once, in `TrainingKey.all`. The parser finds a group's flags in its mirror and sets them by decoding:
/// both are made from that list here, instead of from properties that would have to repeat it.
struct TrainingFlags: ParsableArguments, CustomReflectable {
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
    private static let keys = TrainingKey.all.filter { !["seed", "compute"].contains($0.name) }

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
        let flags = Self.keys.map { key -> (label: String, value: Any) in
            let name = NameSpecification.customLong(String(key.flag.dropFirst(2)))
            let help = ArgumentHelp(stringLiteral: FlagNames.spell(key.help))
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

    /// The options of these flags over `--config` over the preset, `standard` unless `--preset` names another.
    ///
    /// - Throws: usage errors that name flag or key.
    func options(
        standard: TrainingPreset?, base: TrainingOptions = TrainingOptions(), common: CommonOptions,
        model: ModelOptions
    ) throws -> TrainingOptions {
        let preset = try preset.map { $0 == "none" ? nil : try TrainingPreset.named($0) } ?? standard
        let file = try config.map { try trainingOverrides(yamlFile: $0) } ?? TrainingOverrides()
        var options = base
        try preset?.overrides.apply(to: &options)
        try file.merging(try overrides(common: common, model: model)).apply(to: &options)
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
