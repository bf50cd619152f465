import Quant
import Tune

extension Settings {
    /// A name that may be a folder's: letters, digits, `_ - . +`, not beginning with a dot.
    mutating func label(_ key: String) throws -> String? {
        try text(key).map { try checkedLabel($0, key) }
    }

    /// That name, if it may be a folder's.
    func checkedLabel(_ name: String, _ key: String) throws -> String {
        let isFine = name.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "_-.+".utf8.contains(byte)
        }
        guard isFine, !name.isEmpty, name.utf8.count <= 64, !name.hasPrefix(".") else {
            throw MeraserError.badInput(
                "\(place): '\(key)' is '\(name)', expected 1 to 64 letters, digits or _ - . + (it names a folder)")
        }
        return name
    }

    /// The flag of a key: `--learning-rate`.
    func flagName(_ key: String) -> String { "--" + String(key.map { $0 == "_" ? "-" : $0 }) }

    /// The flags of the training options among the members that were not asked for yet; each is checked.
    ///
    /// - Throws: a usage error for an unknown option, with a suggestion, or a value that does not fit.
    mutating func trainingArguments(_ planner: inout ComparisonPlanner) throws -> [String] {
        var arguments = try text("preset").map { ["--preset", $0] } ?? []
        let options = rest()
        if let own = options.first(where: { ["seed", "key"].contains($0.key) }) {
            throw MeraserError.badInput(
                "\(place): '\(own.key)' is not set here: the seed is the whole file's, the key the victim's")
        }
        _ = try TrainingOverrides(options, source: place)
        for (key, value) in options {
            switch value {
            case .null: continue
            case .bool(let isOn):
                if ["bos", "eos"].contains(key) {
                    arguments.append(isOn ? flagName(key) : "--no-\(key)")
                } else if isOn {
                    arguments.append(flagName(key))
                }
            case .array(let values):
                arguments += [flagName(key), values.map { $0.string ?? $0.serialized() }.joined(separator: ",")]
            default:
                var text = (value.string ?? value.serialized()).replacing("\n", with: "\\n")
                if key == "kl_data" { text = try planner.input(text, place: place) }
                // A value that begins with a dash would be taken for a flag.
                arguments += text.hasPrefix("-") ? ["\(flagName(key))=\(text)"] : [flagName(key), text]
            }
        }
        return arguments
    }

    /// Throws that a key is missing.
    func missing<T>(_ key: String) throws -> T {
        throw MeraserError.badInput("\(place): '\(key)' is missing")
    }
}
