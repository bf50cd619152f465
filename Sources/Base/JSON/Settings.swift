/// The members of one mapping of a file that people write, taken out one by one: a wrong type and whatever is left over are
/// errors (`badInput`) that name file and key.
public struct Settings {
    /// What errors show: `FILE: section`.
    public let place: String
    private let object: JSONObject
    private var known: [String] = []

    /// The mapping `value`; `place` is what errors show. Error: it is no mapping.
    public init(_ value: JSONValue, place: String) throws {
        guard let object = value.object else {
            throw MeraserError.badInput("\(place) is \(value.kind), expected a mapping of names to values")
        }
        self.place = place
        self.object = object
    }

    /// The value of that key; nil where it is missing or null.
    public mutating func value(_ key: String) -> JSONValue? {
        known.append(key)
        return object[key].flatMap { $0.isNull ? nil : $0 }
    }

    /// The text of that key; nil where it is missing. Error: it is something else.
    public mutating func text(_ key: String) throws -> String? {
        try value(key).map { try require($0.string, key, $0, "a text") }
    }

    /// The whole number of that key; nil where it is missing. Error: it is something else or out of range.
    public mutating func int(_ key: String, in range: ClosedRange<Int>) throws -> Int? {
        try value(key).map {
            let number = try require($0.int, key, $0, "a whole number")
            guard range.contains(number) else {
                throw MeraserError.badInput(
                    "\(place): \(quoted(key)) is \(number), expected \(range.lowerBound) to \(range.upperBound)")
            }
            return number
        }
    }

    /// The number of that key; nil where it is missing. Error: it is something else.
    public mutating func number(_ key: String) throws -> Double? {
        try value(key).map { try require($0.double, key, $0, "a number") }
    }

    /// The truth value of that key; nil where it is missing. Error: it is something else.
    public mutating func flag(_ key: String) throws -> Bool? {
        try value(key).map { try require($0.bool, key, $0, "true or false") }
    }

    /// The list of texts of that key (one text is a list of one); nil where it is missing. Error: it is something else.
    public mutating func texts(_ key: String) throws -> [String]? {
        try value(key).map { value in
            if let text = value.string { return [text] }
            return try require(value.array, key, value, "a list of texts").map {
                try require($0.string, key, $0, "texts only")
            }
        }
    }

    /// The mapping of that key; nil where it is missing. Error: it is something else.
    public mutating func section(_ key: String) throws -> Settings? {
        try value(key).map { try Settings($0, place: "\(place): \(key)") }
    }

    /// One of those words; nil where the key is missing. Error: any other value.
    public mutating func choice<Choice: RawRepresentable & CaseIterable>(_ key: String, _ type: Choice.Type) throws
        -> Choice?
    where Choice.RawValue == String {
        try text(key).map { text in
            guard let choice = Choice(rawValue: text) else {
                let names = Choice.allCases.map(\.rawValue).joined(separator: ", ")
                throw MeraserError.badInput("\(place): \(quoted(key)) is \(quoted(text)), expected one of \(names)")
            }
            return choice
        }
    }

    /// The members whose keys were not asked for, for a reader of its own.
    public func rest() -> [(key: String, value: JSONValue)] {
        object.members.map { (key: $0.key.string, value: $0.value) }.filter { !known.contains($0.key) }
    }

    /// Throws for the first key that was not asked for, with the closest known one as a suggestion.
    public func requireNothingElse() throws {
        if let unknown = rest().first?.key { throw unknownKey(unknown, known: known, place: place) }
    }

    private func require<T>(_ value: T?, _ key: String, _ found: JSONValue, _ expected: String) throws -> T {
        guard let value else {
            throw MeraserError.badInput("\(place): \(quoted(key)) is \(found.kind), expected \(expected)")
        }
        return value
    }
}

extension JSONObject {
    /// Throws for the first member that is none of `known`; `place` begins the error (`badInput`).
    public func requireOnly(_ known: [String], place: String) throws {
        let unknown = members.lazy.map(\.key.string).first { !known.contains($0) }
        if let unknown { throw unknownKey(unknown, known: known, place: place) }
    }
}

/// The error of a key that nothing reads: with the closest known one, else with all of them.
private func unknownKey(_ key: String, known: [String], place: String) -> MeraserError {
    if let now = SettingNames.renamed[key], known.contains(now) {
        return .badInput("\(place): \(quoted(key)) is called '\(now)' now")
    }
    let hint = closest(to: key, in: known).map { "did you mean '\($0)'?" }
    return .badInput("\(place): unknown key \(quoted(key)); \(hint ?? "known are \(known.joined(separator: ", "))")")
}

/// The word of that list with the fewest edits to `word`, at most a third of its length or `least`; nil if there is none.
public func closest(to word: String, in words: [String], least: Int = 1) -> String? {
    let best = words.map { (word: $0, distance: editDistance(Array(word.utf8), Array($0.utf8))) }
        .min { $0.distance < $1.distance }
    guard let best, best.distance <= max(least, word.utf8.count / 3) else { return nil }
    return best.word
}

/// Levenshtein's distance; of a word from a file that is longer than any name only its length.
private func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    guard a.count <= 64 else { return a.count }
    var previous = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var current = [i + 1]
        for (j, y) in b.enumerated() {
            current.append(min(previous[j] + (x == y ? 0 : 1), previous[j + 1] + 1, current[j] + 1))
        }
        previous = current
    }
    return previous[b.count]
}
