import Foundation

// Jinja's filters on one value; those on the elements of a sequence are in TemplateSequences.
extension TemplateRun {
    /// `value | name(arguments)`.
    mutating func filter(
        _ name: String, _ value: TemplateValue, _ call: TemplateCallValues
    ) throws -> TemplateValue {
        try charge(value.size)
        guard let signature = TemplateLibrary.filters[name] else {
            return try selected(name, try elements(value), call)
        }
        let given = try call.bound(to: signature, "the filter '\(name)'", error)
        switch name {
        case "trim", "lower", "upper", "capitalize":
            let arguments = TemplateCallValues(positional: given.compactMap { $0 })
            return try method(name == "trim" ? "strip" : name, of: .string(try text(value)), arguments)
        case "replace":
            let limit = try count(given[2], "replace")
            return try replace(
                Array(try text(value).utf8), Array(try text(given[0] ?? .none).utf8),
                Array(try text(given[1] ?? .none).utf8), limit: limit)
        case "string", "safe": return .string(try text(value))
        case "length", "count": return .integer(try length(value))
        case "items":
            if case .undefined = value { return .list([]) }
            guard case .dictionary = value else { throw error("'items' of \(value.kind), expected a mapping") }
            return try method("items", of: value, TemplateCallValues())
        case "default", "d":
            let isMissing: Bool
            if case .undefined = value { isMissing = true } else { isMissing = false }
            let isFalse = given[1]?.isTrue == true && !value.isTrue
            return isMissing || isFalse ? given[0] ?? .string("") : value
        case "int", "float", "abs", "round": return try number(name, value, given)
        case "tojson": return .string(try json(value, given))
        default: return try sequence(name, value, given)
        }
    }

    private func length(_ value: TemplateValue) throws -> Int {
        switch value {
        case .string(let text): text.unicodeScalars.count
        case .list(let elements), .tuple(let elements): elements.count
        case .dictionary(let members): members.count
        case .undefined where !isStrict: 0
        default: throw error("\(value.kind) has no length")
        }
    }

    private func count(_ value: TemplateValue?, _ name: String) throws -> Int {
        switch value {
        case nil, .some(.none): return .max
        case let value?:
            guard let number = value.int else { throw error("'\(name)' got \(value.kind), expected an integer") }
            return number < 0 ? .max : number
        }
    }

    // MARK: Numbers

    private mutating func number(_ name: String, _ value: TemplateValue, _ given: [TemplateValue?]) throws
        -> TemplateValue
    {
        switch name {
        case "int": return try integer(value, given) ?? given[0] ?? .integer(0)
        case "float":
            if let number = value.double { return .number(number) }
            if case .string(let text) = value, let number = Self.double(text) { return .number(number) }
            return given[0] ?? .number(0)
        case "abs":
            if let number = value.int, number != .min { return .integer(abs(number)) }
            guard let number = value.double else { throw error("abs of \(value.kind)") }
            return .number(abs(number))
        default: return try rounded(value, given)
        }
    }

    /// Python's `int`, first of the text itself, then of the number in it; nil where there is none.
    private func integer(_ value: TemplateValue, _ given: [TemplateValue?]) throws -> TemplateValue? {
        guard case .string(let text) = value else {
            if let number = value.int { return .integer(number) }
            return value.double.flatMap { Int(exactly: $0.rounded(.towardZero)) }.map { .integer($0) }
        }
        let base = try given[1].map { try whole($0, "int(base)", 2...36) } ?? 10
        let trimmed = text.trimmingCharacters(in: .whitespacesAndNewlines)
        var digits = trimmed[...]
        let isNegative = digits.hasPrefix("-")
        if isNegative || digits.hasPrefix("+") { digits = digits.dropFirst() }
        let prefix = [2: "0b", 8: "0o", 16: "0x"][base]
        if let prefix, digits.lowercased().hasPrefix(prefix) { digits = digits.dropFirst(2) }
        if let first = digits.first, first != "-", first != "+", let number = Int(digits, radix: base) {
            return .integer(isNegative ? -number : number)
        }
        return Self.double(trimmed).flatMap { Int(exactly: $0.rounded(.towardZero)) }.map { .integer($0) }
    }

    private static func double(_ text: String) -> Double? {
        let trimmed = text.trimmingCharacters(in: .whitespacesAndNewlines)
        // Swift also reads hexadecimal digits, which Python does not.
        guard !trimmed.lowercased().contains("x"), let number = Double(trimmed), number.isFinite else { return nil }
        return number
    }

    private mutating func rounded(_ value: TemplateValue, _ given: [TemplateValue?]) throws -> TemplateValue {
        let precision = try given[0].map { try whole($0, "round(precision)", 0...15) } ?? 0
        let method = try given[1].map { try text($0) } ?? "common"
        guard let number = value.double else { throw error("round of \(value.kind)") }
        switch method {
        case "common":
            if let whole = value.int { return .integer(whole) }
            // Of the exact binary value, ties to even, as Python rounds.
            return .number(Double(String(format: "%.\(precision)f", number)) ?? number)
        case "ceil", "floor":
            let scale = pow(10, Double(precision))
            return .number((number * scale).rounded(method == "ceil" ? .up : .down) / scale)
        default: throw error("round's method is '\(method)', expected common, ceil or floor")
        }
    }

    private func whole(_ value: TemplateValue, _ name: String, _ range: ClosedRange<Int>) throws -> Int {
        guard let number = value.int, range.contains(number) else {
            throw error("\(name) is \(value.kind), expected an integer from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    // MARK: JSON

    /// `tojson(ensure_ascii, indent, separators, sort_keys)`.
    private mutating func json(_ value: TemplateValue, _ given: [TemplateValue?]) throws -> String {
        var style = TemplateJSON(escapesNonASCII: given[0]?.isTrue ?? false, sortsKeys: given[3]?.isTrue ?? false)
        switch given[1] {
        case nil, .some(.none): break
        case .string(let text)? where text.utf8.count <= 16: style.indent = text
        case .integer(let count)? where (0...16).contains(count): style.indent = String(repeating: " ", count: count)
        default: throw error("tojson with an indent other than 0 to 16 blanks")
        }
        switch given[2] {
        case nil, .some(.none): if style.indent != nil { style.itemSeparator = "," }
        case .list(let parts)?, .tuple(let parts)?:
            guard parts.count == 2, case .string(let item) = parts[0], case .string(let key) = parts[1] else {
                throw error("tojson with separators that are not two strings")
            }
            (style.itemSeparator, style.keySeparator) = (item, key)
        case let other?: throw error("tojson with separators that are \(other.kind), expected two strings")
        }
        return try style.text(value, fail: error) { try charge($0) }
    }
}
