import Base

// Classes of characters: between brackets, behind a backslash, by property.
extension TextPatternCompiler {
    /// What follows `[`.
    mutating func characterClass() throws -> ScalarSet {
        depth += 1
        defer { depth -= 1 }
        guard depth <= Self.maximumDepth else { throw malformed("classes nested deeper than \(Self.maximumDepth)") }
        let isNegated = take("^")
        var ranges: [ClosedRange<UInt32>] = []
        var parts: [ScalarSet] = []
        var intersection: ScalarSet?
        func union() -> ScalarSet {
            let set = ScalarSet(ranges: ranges, parts: parts)
            return intersection.map { $0.intersection(set) } ?? set
        }
        var isFirst = true
        while isFirst || peek != "]" {
            isFirst = false
            guard let scalar = peek else { throw malformed("'[' without ']'") }
            next += 1
            if scalar == "[" {
                parts.append(try take(":") ? namedClass() : characterClass())
                continue
            } else if scalar == "&", take("&") {
                intersection = union()
                (ranges, parts) = ([], [])
                continue
            }
            var low = scalar.value
            if scalar == "\\" {
                if let code = try escapedScalar() {
                    low = code
                } else {
                    parts.append(try escapedSet())
                    continue
                }
            }
            var high = low
            if peek == "-", next + 1 < source.count, source[next + 1] != "]" {
                next += 1
                guard let end = peek else { throw malformed("'[' without ']'") }
                next += 1
                high = end.value
                if end == "\\" {
                    guard let code = try escapedScalar() else { throw malformed("a range that ends in a class") }
                    high = code
                }
                guard low <= high else { throw malformed("a range that runs backwards") }
            }
            ranges.append(low...high)
            if ignoresCase, high - low < 128 {
                for code in low...high { parts.append(ScalarSet(scalar: code, ignoringCase: true)) }
            }
        }
        next += 1
        return isNegated ? union().inverted : union()
    }

    /// What follows `[:` within a class.
    private mutating func namedClass() throws -> ScalarSet {
        let isNegated = take("^")
        func category(_ names: String...) -> ScalarSet {
            ScalarSet(parts: names.compactMap { ScalarSet(property: $0) })
        }
        let sets: [(String, ScalarSet)] = [
            ("digit", .digit), ("space", .whitespace), ("punct", category("P", "S")), ("xdigit", .hexadecimal),
            ("cntrl", category("Cc")), ("blank", ScalarSet(ranges: [0x09...0x09], parts: [category("Zs")])),
            ("ascii", ScalarSet(ranges: [0...0x7F])),
        ]
        for (name, set) in sets where take(name + ":]") { return isNegated ? set.inverted : set }
        throw unsupported("this class between '[:' and ':]'")
    }

    /// What follows a backslash outside a class.
    mutating func escape() throws -> ScalarSet {
        if let code = try escapedScalar() { return ScalarSet(scalar: code, ignoringCase: ignoresCase) }
        return try escapedSet()
    }

    /// The one scalar that an escape stands for; nil, and nothing taken, if it stands for a set.
    private mutating func escapedScalar() throws -> UInt32? {
        guard let scalar = peek else { throw malformed("a backslash at the end") }
        next += 1
        switch scalar {
        case "n": return 0x0A
        case "r": return 0x0D
        case "t": return 0x09
        case "f": return 0x0C
        case "v": return 0x0B
        case "x":
            if take("{") {
                let code = try hexadecimal(1...6)
                guard take("}") else { throw malformed("'\\x{' without '}'") }
                return code
            }
            return try hexadecimal(1...2)
        case "u": return try hexadecimal(4...4)
        case "a": return 0x07
        case "e": return 0x1B
        case "0": return 0
        case "s", "S", "d", "D", "w", "W", "p", "P", "h", "H":
            next -= 1
            return nil
        default:
            guard !scalar.properties.isAlphabetic, !("0"..."9").contains(scalar) else {
                throw unsupported("'\\\(scalar)'")
            }
            return scalar.value
        }
    }

    private mutating func hexadecimal(_ digits: ClosedRange<Int>) throws -> UInt32 {
        var code: UInt32 = 0
        var count = 0
        while count < digits.upperBound, let digit = peek.flatMap({ Character($0).hexDigitValue }) {
            code = code << 4 | UInt32(digit)
            count += 1
            next += 1
        }
        guard digits.contains(count), code <= 0x10FFFF else { throw malformed("a hexadecimal escape that is none") }
        return code
    }

    private mutating func escapedSet() throws -> ScalarSet {
        guard let scalar = peek else { throw malformed("a backslash at the end") }
        next += 1
        switch scalar {
        case "s": return .whitespace
        case "S": return ScalarSet.whitespace.inverted
        case "d": return .digit
        case "D": return ScalarSet.digit.inverted
        case "w": return word
        case "W": return word.inverted
        case "h": return .hexadecimal
        case "H": return ScalarSet.hexadecimal.inverted
        default: return try property(isNegated: scalar == "P")
        }
    }

    /// What follows `\p`.
    private mutating func property(isNegated: Bool) throws -> ScalarSet {
        var name = ""
        var isNegated = isNegated
        if take("{") {
            if take("^") { isNegated.toggle() }
            while let scalar = peek, scalar != "}" {
                name.unicodeScalars.append(scalar)
                next += 1
            }
            guard take("}") else { throw malformed("'\\p{' without '}'") }
        } else if let scalar = peek {
            name = String(scalar)
            next += 1
        }
        guard let set = ScalarSet(property: name) else { throw unsupported("the property \(quoted(name))") }
        return isNegated ? set.inverted : set
    }
}
