import Base
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
        for (name, value) in options {
            guard let key = TrainingKey.named(name) else { continue }  // refused above
            let path: String? =
                switch name {
                case "kl_data", "eval_data": try value.string.map { try planner.dataset($0, place: place) }
                case "init_adapter": try value.string.map { try planner.input($0, place: place) }
                default: nil
                }
            arguments += key.arguments(path.map { .text($0) } ?? value)
        }
        return arguments
    }

    /// Throws that a key is missing.
    func missing<T>(_ key: String) throws -> T {
        throw MeraserError.badInput("\(place): '\(key)' is missing")
    }
}
