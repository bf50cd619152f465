import ArgumentParser
import Tune

/// Where a training's options come from all at once.
struct TrainingSets: ParsableArguments {
    @Option(
        help:
            "A named set of options: meraser-erase, meraser-recover, osft, sande, npo, crow, dpo, or none for Trainer's defaults."
    )
    var preset: String?
    @Option(help: "A YAML file with options under these names, underscores for dashes; flags win.", completion: .file())
    var config: String?
}

/// A key that a command line sets.
struct GivenKey {
    /// What it is set to.
    enum Value {
        case text(String)
        case flag(Bool)
    }

    let key: TrainingKey
    let value: Value
}

/// Which keys a group of flags has.
protocol TrainingFlagKeys {
    static var group: TrainingKey.Group { get }
}

enum AdapterFlags: TrainingFlagKeys { static var group: TrainingKey.Group { .adapter } }
enum OptimiserFlags: TrainingFlagKeys { static var group: TrainingKey.Group { .optimiser } }
enum ObjectiveFlags: TrainingFlagKeys { static var group: TrainingKey.Group { .objective } }
enum SampleFlags: TrainingFlagKeys { static var group: TrainingKey.Group { .samples } }
enum MeasuringFlags: TrainingFlagKeys { static var group: TrainingKey.Group { .measuring } }
enum RunningFlags: TrainingFlagKeys { static var group: TrainingKey.Group { .running } }

/// The flags of the keys that belong together.
///
/// A key is declared once, in `TrainingKey`. The parser finds a group's flags in its mirror and sets them by decoding: both
/// are made from that list here, instead of from properties that would have to repeat it.
struct TrainingFlagGroup<Standard: TrainingStandard, Keys: TrainingFlagKeys>: ParsableArguments, CustomReflectable {
    /// What the command line says.
    private(set) var given: [GivenKey] = []

    private struct Name: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }
        init(stringValue: String) { self.stringValue = stringValue }
        init?(intValue: Int) { nil }
    }

    /// The keys with a flag of this group: `--seed` and `--compute` are flags of every command.
    private static var keys: [TrainingKey] { Keys.group.keys.filter { !["seed", "compute"].contains($0.name) } }

    init() {}

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: Name.self)
        for key in Self.keys {
            let name = Name(stringValue: key.name)
            switch key.form {
            case .value, .path:
                let text = try values.decode(Option<String?>.self, forKey: name).wrappedValue
                if let text { given.append(GivenKey(key: key, value: .text(text))) }
            case .on:
                if try values.decode(Flag<Bool>.self, forKey: name).wrappedValue {
                    given.append(GivenKey(key: key, value: .flag(true)))
                }
            case .onOrOff:
                let flag = try values.decode(Flag<Bool?>.self, forKey: name).wrappedValue
                if let flag { given.append(GivenKey(key: key, value: .flag(flag))) }
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
        return Mirror(self, children: flags)
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
