/// One JSON value (RFC 8259), with its text kept as UTF-8 bytes.
///
/// Made by ``parse(_:file:maximumBytes:)-([UInt8],_,_)``, which is strict: see there.
public enum JSONValue: Sendable, Equatable {
    /// `null`.
    case null
    /// `true` or `false`.
    case bool(Bool)
    /// A number without fraction and exponent that fits into `Int`.
    case integer(Int)
    /// Any other number; always finite.
    case number(Double)
    /// A string.
    case string(JSONString)
    /// An array.
    case array([JSONValue])
    /// An object.
    case object(JSONObject)

    /// The integer, or nil for any other value (`1.0` and `1e3` are not integers).
    public var int: Int? {
        if case .integer(let value) = self { return value }
        return nil
    }

    /// The number, integers included, or nil.
    public var double: Double? {
        switch self {
        case .integer(let value): return Double(value)
        case .number(let value): return value
        default: return nil
        }
    }

    /// The truth value, or nil.
    public var bool: Bool? {
        if case .bool(let value) = self { return value }
        return nil
    }

    /// The string as text, or nil. Compare ``utf8`` where bytes matter: `String` holds `é` and `e` + `´` equal.
    public var string: String? {
        if case .string(let value) = self { return value.string }
        return nil
    }

    /// The string's bytes, or nil.
    public var utf8: [UInt8]? {
        if case .string(let value) = self { return value.utf8 }
        return nil
    }

    /// The elements of an array, or nil.
    public var array: [JSONValue]? {
        if case .array(let value) = self { return value }
        return nil
    }

    /// The object, or nil.
    public var object: JSONObject? {
        if case .object(let value) = self { return value }
        return nil
    }

    /// True for `null`.
    public var isNull: Bool { self == .null }

    /// The member of an object with exactly this key; nil for a missing key or another value.
    public subscript(_ key: String) -> JSONValue? { object?[key] }

    /// The value's type in words, for messages: `an integer`, `a string`, …
    public var kind: String {
        switch self {
        case .null: return "null"
        case .bool: return "a boolean"
        case .integer: return "an integer"
        case .number: return "a number"
        case .string: return "a string"
        case .array: return "an array"
        case .object: return "an object"
        }
    }
}

/// A JSON string: valid UTF-8, equal only to the same bytes.
///
/// `String` compares by canonical equivalence and so would merge keys that a vocabulary keeps apart.
public struct JSONString: Sendable, Hashable, ExpressibleByStringLiteral {
    /// The bytes, escapes resolved.
    public let utf8: [UInt8]

    /// A string of those bytes, which must be valid UTF-8.
    public init(utf8: [UInt8]) { self.utf8 = utf8 }

    /// A string of that text's UTF-8.
    public init(_ text: String) { utf8 = Array(text.utf8) }

    /// A string of that literal's UTF-8.
    public init(stringLiteral value: String) { self.init(value) }

    /// The text.
    public var string: String { String(decoding: utf8, as: UTF8.self) }

    /// Feeds the bytes to the hasher in one piece: element by element is slow in debug builds.
    public func hash(into hasher: inout Hasher) {
        utf8.withUnsafeBytes { hasher.combine(bytes: $0) }
    }
}

/// A JSON object: members in the file's order, found by the exact bytes of their keys.
///
/// Equal to another object with equal members in the same order.
public struct JSONObject: Sendable, Equatable {
    /// The members in the file's order; keys are distinct.
    public private(set) var members: [(key: JSONString, value: JSONValue)] = []

    /// An open-addressing table of member indices (-1: free), a power of two at most half full; empty for few members.
    private var slots: [Int32] = []

    /// From this many members on a table is kept.
    private static let smallCount = 8

    /// An object without members.
    public init() {}

    /// The number of members.
    public var count: Int { members.count }

    /// The value of the member with exactly these bytes as its key, or nil.
    public subscript(_ key: String) -> JSONValue? { self[JSONString(key)] }

    /// The value of the member with exactly these bytes as its key, or nil.
    public subscript(_ key: JSONString) -> JSONValue? { index(of: key).map { members[$0].value } }

    /// Adds a member; false, and no change, when the key is already there.
    public mutating func append(_ key: JSONString, _ value: JSONValue) -> Bool {
        guard index(of: key) == nil else { return false }
        members.append((key, value))
        if members.count > Self.smallCount {
            if members.count * 2 > slots.count { rebuild() } else { insert(members.count - 1) }
        }
        return true
    }

    private func index(of key: JSONString) -> Int? {
        if slots.isEmpty { return members.firstIndex { $0.key == key } }
        var slot = firstSlot(key)
        while slots[slot] >= 0 {
            let index = Int(slots[slot])
            if members[index].key == key { return index }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// Swift's seeded hash: a hostile file cannot choose colliding keys.
    private func firstSlot(_ key: JSONString) -> Int { key.hashValue & (slots.count - 1) }

    private mutating func insert(_ index: Int) {
        var slot = firstSlot(members[index].key)
        while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
        slots[slot] = Int32(index)
    }

    private mutating func rebuild() {
        slots = [Int32](repeating: -1, count: max(32, slots.count * 4))
        for index in members.indices { insert(index) }
    }

    /// Members compared in order.
    public static func == (a: JSONObject, b: JSONObject) -> Bool {
        a.members.count == b.members.count
            && zip(a.members, b.members).allSatisfy { $0.key == $1.key && $0.value == $1.value }
    }
}
