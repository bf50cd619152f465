import Quant

/// A value while a chat template runs, with Python's meaning of truth, equality and text.
enum TemplateValue: Sendable {
    /// A name or member that is not there; prints nothing, fails when it is used.
    case undefined(String)
    case none
    case bool(Bool)
    case integer(Int)
    case number(Double)
    case string(String)
    case list([TemplateValue])
    case dictionary([(key: String, value: TemplateValue)])
    /// What `namespace()` makes: an index into the run's namespaces, which assignments change.
    case namespace(Int)

    /// Python's truth.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .number(let value): value != 0
        case .string(let value): !value.isEmpty
        case .list(let value): !value.isEmpty
        case .dictionary(let value): !value.isEmpty
        case .namespace: true
        }
    }

    /// What the value is, for errors.
    var kind: String {
        switch self {
        case .undefined(let name): "undefined ('\(name)')"
        case .none: "none"
        case .bool: "a boolean"
        case .integer, .number: "a number"
        case .string: "a string"
        case .list: "a list"
        case .dictionary: "a mapping"
        case .namespace: "a namespace"
        }
    }

    /// About how many bytes the value itself takes, what its elements hold not counted.
    var size: Int {
        switch self {
        case .string(let text): text.utf8.count
        case .list(let elements): elements.count * MemoryLayout<TemplateValue>.stride
        case .dictionary(let members): members.count * 4 * MemoryLayout<TemplateValue>.stride
        default: 0
        }
    }

    /// The numeric value; booleans count as 0 and 1.
    var double: Double? {
        switch self {
        case .bool(let value): value ? 1 : 0
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    /// The integer value; booleans count as 0 and 1.
    var int: Int? {
        switch self {
        case .bool(let value): value ? 1 : 0
        case .integer(let value): value
        default: nil
        }
    }

    /// The member of a mapping.
    func member(_ name: String) -> TemplateValue? {
        guard case .dictionary(let members) = self else { return nil }
        return members.first { Self.same($0.key, name) }?.value
    }

    /// Texts are equal when their bytes are, as in Python, not when they are canonically equivalent.
    static func same(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }

    /// Python's `==`.
    static func equal(_ a: TemplateValue, _ b: TemplateValue) -> Bool {
        switch (a, b) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.string(let a), .string(let b)): return same(a, b)
        case (.list(let a), .list(let b)): return a.count == b.count && zip(a, b).allSatisfy(equal)
        case (.dictionary(let x), .dictionary(let y)):
            return x.count == y.count
                && x.allSatisfy { entry in b.member(entry.key).map { equal($0, entry.value) } ?? false }
        case (.namespace(let a), .namespace(let b)): return a == b
        default:
            if let a = a.int, let b = b.int { return a == b }
            if let a = a.double, let b = b.double { return a == b }
            return false
        }
    }

    /// Python's `str()`; nil for values whose text no template should print.
    var text: String? {
        switch self {
        case .undefined: ""
        case .none: "None"
        case .bool(let value): value ? "True" : "False"
        case .integer(let value): String(value)
        case .number(let value): String(value)
        case .string(let value): value
        case .list, .dictionary, .namespace: nil
        }
    }
}
