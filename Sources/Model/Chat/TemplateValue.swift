import Foundation

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
    /// Python's tuples, which differ from lists where they are printed and compared.
    case tuple([TemplateValue])
    case dictionary([(key: String, value: TemplateValue)])
    /// What `namespace()` makes: an index into the run's namespaces, which assignments change.
    case namespace(Int)
    /// One of the functions that every template knows.
    case function(String)

    /// Python's truth.
    var isTrue: Bool {
        switch self {
        case .undefined, .none: false
        case .bool(let value): value
        case .integer(let value): value != 0
        case .number(let value): value != 0
        case .string(let value): !value.isEmpty
        case .list(let value), .tuple(let value): !value.isEmpty
        case .dictionary(let value): !value.isEmpty
        case .namespace, .function: true
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
        case .tuple: "a tuple"
        case .dictionary: "a mapping"
        case .namespace: "a namespace"
        case .function(let name): "the function '\(name)'"
        }
    }

    /// About how many bytes the value itself takes, what its elements hold not counted.
    var size: Int {
        switch self {
        case .string(let text): text.utf8.count
        case .list(let elements), .tuple(let elements): elements.count * MemoryLayout<TemplateValue>.stride
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

    /// The elements of a list or tuple.
    var elements: [TemplateValue]? {
        switch self {
        case .list(let elements), .tuple(let elements): elements
        default: nil
        }
    }

    /// Bytes of the value with all that lies in it.
    var totalSize: Int {
        switch self {
        case .list(let elements), .tuple(let elements): elements.reduce(size) { $0 + $1.totalSize }
        case .dictionary(let members): members.reduce(size) { $0 + $1.key.utf8.count + $1.value.totalSize }
        default: size
        }
    }

    /// Texts are equal when their bytes are, as in Python, not when they are canonically equivalent.
    static func same(_ a: String, _ b: String) -> Bool {
        a.utf8.count == b.utf8.count && order(a, b) == 0
    }

    /// Below, at or above 0 as `a` comes before, with or behind `b` in the order of code points.
    static func order(_ a: String, _ b: String) -> Int {
        var (a, b) = (a, b)
        return a.withUTF8 { x in
            b.withUTF8 { y in
                guard let first = x.baseAddress, let second = y.baseAddress else { return x.count - y.count }
                let order = Int(memcmp(first, second, min(x.count, y.count)))
                return order == 0 ? x.count - y.count : order
            }
        }
    }
}
