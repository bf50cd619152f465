extension TemplateRun {
    /// Python's `==`. Strings cost what is compared of them.
    mutating func equal(_ a: TemplateValue, _ b: TemplateValue) throws -> Bool {
        try step()
        switch (a, b) {
        case (.undefined, .undefined), (.none, .none): return true
        case (.string(let a), .string(let b)):
            guard a.utf8.count == b.utf8.count else { return false }
            try charge(a.utf8.count)
            return TemplateValue.same(a, b)
        case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)):
            guard a.count == b.count else { return false }
            for (x, y) in zip(a, b) { guard try equal(x, y) else { return false } }
            return true
        case (.dictionary(let x), .dictionary(let y)):
            guard x.count == y.count else { return false }
            for entry in x {
                guard let other = try member(b, entry.key), try equal(entry.value, other) else { return false }
            }
            return true
        case (.namespace(let a), .namespace(let b)): return a == b
        case (.function(let a), .function(let b)): return a == b
        default:
            if let a = a.int, let b = b.int { return a == b }
            if let a = a.double, let b = b.double { return a == b }
            return false
        }
    }

    /// Python's comparisons.
    mutating func compare(_ operation: String, _ left: TemplateValue, _ right: TemplateValue) throws -> Bool {
        switch operation {
        case "==": return try equal(left, right)
        case "!=": return !(try equal(left, right))
        case "in": return try contains(right, left)
        case "not in": return !(try contains(right, left))
        default: break
        }
        let order: Int
        if let a = left.double, let b = right.double {
            order = a < b ? -1 : a > b ? 1 : 0
        } else if case .string(let a) = left, case .string(let b) = right {
            try charge(min(a.utf8.count, b.utf8.count))
            order = TemplateValue.order(a, b)
        } else {
            throw error("cannot compare \(left.kind) with \(right.kind)")
        }
        try step()
        switch operation {
        case "<", "lt": return order < 0
        case ">", "gt": return order > 0
        case "<=", "le": return order <= 0
        default: return order >= 0
        }
    }

    private mutating func contains(_ container: TemplateValue, _ element: TemplateValue) throws -> Bool {
        switch (container, element) {
        case (.list(let elements), _), (.tuple(let elements), _):
            for other in elements where try equal(other, element) { return true }
            return false
        case (.dictionary, .string(let key)): return try member(container, key) != nil
        case (.string(let text), .string(let part)):
            try charge(2 * text.utf8.count + 8 * part.utf8.count)
            return TemplateStrings.find(Array(part.utf8), in: Array(text.utf8)) != nil
        case (.undefined, _): return false
        default: throw error("'in' does not look into \(container.kind) for \(element.kind)")
        }
    }

    /// `+ - * / // % ** ~`.
    mutating func arithmetic(_ operation: String, _ left: TemplateValue, _ right: TemplateValue) throws -> TemplateValue
    {
        switch (operation, left, right) {
        case ("~", _, _):
            let (a, b) = (try text(left), try text(right))
            try charge(a.utf8.count + b.utf8.count)
            return .string(a + b)
        case ("+", .string(let a), .string(let b)):
            try charge(left.size + right.size)
            return .string(a + b)
        case ("+", .list(let a), .list(let b)):
            try charge(left.size + right.size)
            return .list(a + b)
        case ("*", .string(let text), .integer(let count)), ("*", .integer(let count), .string(let text)):
            let (bytes, overflows) = text.utf8.count.multipliedReportingOverflow(by: max(0, count))
            try charge(overflows ? .max : bytes)
            return .string(String(repeating: text, count: max(0, count)))
        default: break
        }
        guard let x = left.double, let y = right.double else {
            throw error("'\(operation)' does not work on \(left.kind) and \(right.kind)")
        }
        if let a = left.int, let b = right.int, let result = try integer(operation, a, b) { return .integer(result) }
        switch operation {
        case "+": return .number(x + y)
        case "-": return .number(x - y)
        case "*": return .number(x * y)
        case "/" where y != 0: return .number(x / y)
        case "//" where y != 0: return .number((x / y).rounded(.down))
        case "%" where y != 0: return .number(x - y * (x / y).rounded(.down))
        case "/", "//", "%": throw error("division by zero")
        default: throw error("'\(operation)' on these numbers is not supported yet")
        }
    }

    /// Integer arithmetic; nil where the result is no integer.
    private func integer(_ operation: String, _ a: Int, _ b: Int) throws -> Int? {
        let result: (partialValue: Int, overflow: Bool)
        switch operation {
        case "+": result = a.addingReportingOverflow(b)
        case "-": result = a.subtractingReportingOverflow(b)
        case "*": result = a.multipliedReportingOverflow(by: b)
        case "//", "%":
            guard b != 0 else { throw error("division by zero") }
            let (quotient, overflows) = a.dividedReportingOverflow(by: b)
            let remainder = overflows ? 0 : a % b
            // Python rounds down: the remainder has the divisor's sign.
            let isAdjusted = remainder != 0 && (remainder < 0) != (b < 0)
            result =
                operation == "//"
                ? (quotient - (isAdjusted ? 1 : 0), overflows) : (remainder + (isAdjusted ? b : 0), false)
        default: return nil
        }
        guard !result.overflow else { throw error("integer overflow in '\(operation)'") }
        return result.partialValue
    }
}

// MARK: - Tests

extension TemplateRun {
    /// `value is name arguments`.
    mutating func test(_ name: String, _ value: TemplateValue, _ call: TemplateCallValues) throws -> Bool {
        guard let signature = TemplateLibrary.tests[name] else {
            throw error("the test '\(name)' is not supported yet")
        }
        let argument = try call.bound(to: signature, "the test '\(name)'", error).first ?? nil
        switch name {
        case "defined", "undefined":
            if case .undefined = value { return name == "undefined" }
            return name == "defined"
        case "none": if case .none = value { return true }
        case "string": if case .string = value { return true }
        case "mapping": if case .dictionary = value { return true }
        case "boolean": if case .bool = value { return true }
        case "true": if case .bool(true) = value { return true }
        case "false": if case .bool(false) = value { return true }
        case "integer": if case .integer = value { return true }
        case "float": if case .number = value { return true }
        case "number": return value.double != nil
        case "iterable", "sequence":
            switch value {
            case .string, .list, .tuple, .dictionary: return true
            case .undefined: return true
            default: return false
            }
        case "odd", "even", "divisibleby":
            guard let number = value.int else { throw error("'is \(name)' asks about \(value.kind)") }
            let divisor = name == "divisibleby" ? argument?.int ?? 0 : 2
            guard divisor != 0 else { throw error("'is divisibleby' needs an integer other than 0") }
            return (divisor == -1 || number % divisor == 0) != (name == "odd")
        default:
            guard let other = argument else { throw error("'is \(name)' needs a value") }
            let operation = ["eq": "==", "equalto": "==", "ne": "!="][name] ?? name
            return try compare(operation, value, other)
        }
        return false
    }
}
