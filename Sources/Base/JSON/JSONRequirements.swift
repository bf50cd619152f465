// Typed access to members that must be there, with errors that name the file and the path of keys:
// `let size = try config.int("hidden_size", in: "config.json")`.
extension JSONValue {
    /// The value at that path of keys, or nil when a key is missing or any value on the way is `null`.
    /// - Throws: ``MeraserError`` `badInput` when a value on the way is neither an object nor `null`.
    public func value(_ path: String..., in file: String) throws -> JSONValue? { try find(path, file) }

    /// The integer at that path. Throws `badInput` when it is missing or something else.
    public func int(_ path: String..., in file: String) throws -> Int {
        try require(path, file, "an integer", \.int)
    }

    /// The number at that path. Throws `badInput` when it is missing or something else.
    public func double(_ path: String..., in file: String) throws -> Double {
        try require(path, file, "a number", \.double)
    }

    /// The boolean at that path. Throws `badInput` when it is missing or something else.
    public func bool(_ path: String..., in file: String) throws -> Bool {
        try require(path, file, "true or false", \.bool)
    }

    /// The text at that path. Throws `badInput` when it is missing or something else.
    public func string(_ path: String..., in file: String) throws -> String {
        try require(path, file, "a string", \.string)
    }

    /// The bytes of the string at that path. Throws `badInput` when it is missing or something else.
    public func utf8(_ path: String..., in file: String) throws -> [UInt8] {
        try require(path, file, "a string", \.utf8)
    }

    /// The array at that path. Throws `badInput` when it is missing or something else.
    public func array(_ path: String..., in file: String) throws -> [JSONValue] {
        try require(path, file, "an array", \.array)
    }

    /// The object at that path. Throws `badInput` when it is missing or something else.
    public func object(_ path: String..., in file: String) throws -> JSONObject {
        try require(path, file, "an object", \.object)
    }

    /// The integer at that path, nil when missing or `null`. Throws `badInput` when it is something else.
    public func intIfPresent(_ path: String..., in file: String) throws -> Int? {
        try optional(path, file, "an integer", \.int)
    }

    /// The number at that path, nil when missing or `null`. Throws `badInput` when it is something else.
    public func doubleIfPresent(_ path: String..., in file: String) throws -> Double? {
        try optional(path, file, "a number", \.double)
    }

    /// The boolean at that path, nil when missing or `null`. Throws `badInput` when it is something else.
    public func boolIfPresent(_ path: String..., in file: String) throws -> Bool? {
        try optional(path, file, "true or false", \.bool)
    }

    /// The text at that path, nil when missing or `null`. Throws `badInput` when it is something else.
    public func stringIfPresent(_ path: String..., in file: String) throws -> String? {
        try optional(path, file, "a string", \.string)
    }

    /// The array at that path, nil when missing or `null`. Throws `badInput` when it is something else.
    public func arrayIfPresent(_ path: String..., in file: String) throws -> [JSONValue]? {
        try optional(path, file, "an array", \.array)
    }

    /// The object at that path, nil when missing or `null`. Throws `badInput` when it is something else.
    public func objectIfPresent(_ path: String..., in file: String) throws -> JSONObject? {
        try optional(path, file, "an object", \.object)
    }

    private func find(_ path: [String], _ file: String) throws -> JSONValue? {
        var value = self
        for (depth, key) in path.enumerated() {
            guard let object = value.object else {
                let place = depth == 0 ? "the top level" : "'\(path[..<depth].joined(separator: "."))'"
                throw MeraserError.badInput("\(file): \(place) is \(value.kind), expected an object with '\(key)'")
            }
            guard let member = object[key], !member.isNull else { return nil }
            value = member
        }
        return value
    }

    private func optional<T>(
        _ path: [String], _ file: String, _ expected: String, _ get: (JSONValue) -> T?
    ) throws -> T? {
        guard let value = try find(path, file) else { return nil }
        guard let result = get(value) else {
            throw MeraserError.badInput(
                "\(file): '\(path.joined(separator: "."))' is \(value.kind), expected \(expected)")
        }
        return result
    }

    private func require<T>(
        _ path: [String], _ file: String, _ expected: String, _ get: (JSONValue) -> T?
    ) throws -> T {
        guard let result = try optional(path, file, expected, get) else {
            throw MeraserError.badInput("\(file): '\(path.joined(separator: "."))' is missing, expected \(expected)")
        }
        return result
    }
}
