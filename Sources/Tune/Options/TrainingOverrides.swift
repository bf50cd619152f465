import Base

/// Options that somebody set explicitly, by name: from flags, a `--config` file or a preset. Later layers win.
public struct TrainingOverrides: Sendable, Equatable {
    /// Names with underscores and their values, all checked.
    public private(set) var values: [String: JSONValue] = [:]

    /// Nothing set.
    public init() {}

    /// Those values, each checked; `source` (a file's path, for example) begins errors.
    ///
    /// - Throws: a usage error for an unknown key, with the nearest known one, or for a value that does not fit.
    public init(_ values: [(key: String, value: JSONValue)], source: String) throws {
        for (key, value) in values {
            do {
                try set(key, value)
            } catch let error as MeraserError {
                throw error.within(source)
            }
        }
    }

    /// Sets one option. Throws a usage error as `init` does.
    public mutating func set(_ name: String, _ value: JSONValue) throws {
        guard let key = TrainingKey.named(name) else {
            throw MeraserError.usage("unknown key '\(name)'\(Self.suggestion(for: name))")
        }
        var scratch = TrainingOptions()
        try key.write(&scratch, value)
        values[name] = value
    }

    /// Sets one option from the text of a flag. Throws a usage error as `init` does, naming the key.
    public mutating func set(_ name: String, text: String) throws {
        // A shell hands over `--separator '\n'` as two characters.
        let text = name == "separator" ? text.replacing("\\n", with: "\n").replacing("\\t", with: "\t") : text
        // A number where a number fits, else the text itself: `separator` may be "5", and `r` may not.
        let number = (try? JSONValue.parse(Array(text.utf8), file: name)).flatMap { $0.double == nil ? nil : $0 }
        do {
            try set(name, .text(text))
        } catch let error as MeraserError {
            guard let number else { throw error }
            try set(name, number)
        }
    }

    /// These options, and those of `other` where it sets them.
    public func merging(_ other: TrainingOverrides) -> TrainingOverrides {
        var result = self
        result.values.merge(other.values) { _, new in new }
        return result
    }

    /// Puts these options over others.
    public func apply(to options: inout TrainingOptions) throws {
        for key in TrainingKey.all {
            if let value = values[key.name] { try key.write(&options, value) }
        }
    }

    /// `; did you mean 'learning_rate'?` where a known name is near.
    static func suggestion(for name: String) -> String {
        let wanted = String(name.lowercased().map { $0 == "-" ? "_" : $0 })
        return closest(to: wanted, in: TrainingKey.all.map(\.name), least: 2).map { "; did you mean '\($0)'?" } ?? ""
    }
}
