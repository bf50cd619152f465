extension TemplateRun {
    mutating func evaluate(_ expression: TemplateExpression) throws -> TemplateValue {
        try step()
        switch expression {
        case .literal(let value): return value
        case .name(let name): return try lookUp(name)
        case .list(let elements):
            let list = TemplateValue.list(try elements.map { try evaluate($0) })
            try checkNesting(list)
            return list
        case .tuple(let elements):
            let tuple = TemplateValue.tuple(try elements.map { try evaluate($0) })
            try checkNesting(tuple)
            return tuple
        case .dictionary(let members): return try dictionary(members)
        case .attribute(let base, let name): return try attribute(evaluate(base), name)
        case .item(let base, let index): return try item(evaluate(base), evaluate(index))
        case .slice(let base, let start, let stop, let step):
            let value = try evaluate(base)
            try charge(value.size)
            return try TemplateSlice.slice(
                value, try bound(start), try bound(stop), try bound(step), error: error)
        case .call(let callee, let arguments): return try call(callee, arguments)
        case .filter(let base, let name, let arguments):
            return try filter(name, evaluate(base), try values(arguments))
        case .test(let base, let name, let arguments):
            return .bool(try test(name, evaluate(base), try values(arguments)))
        case .not(let operand): return .bool(!(try evaluate(operand).isTrue))
        case .negate(let operand): return try arithmetic("-", .integer(0), evaluate(operand))
        case .and(let left, let right):
            let value = try evaluate(left)
            return value.isTrue ? try evaluate(right) : value
        case .or(let left, let right):
            let value = try evaluate(left)
            return value.isTrue ? value : try evaluate(right)
        case .compare(let first, let rest):
            var left = try evaluate(first)
            for (operation, operand) in rest {
                let right = try evaluate(operand)
                guard try compare(operation, left, right) else { return .bool(false) }
                left = right
            }
            return .bool(true)
        case .binary(let operation, let left, let right):
            return try arithmetic(operation, evaluate(left), evaluate(right))
        case .conditional(let value, let test, let otherwise):
            if try evaluate(test).isTrue { return try evaluate(value) }
            return try otherwise.map { try evaluate($0) } ?? .undefined("the missing else")
        }
    }

    private mutating func dictionary(
        _ members: [(key: TemplateExpression, value: TemplateExpression)]
    ) throws -> TemplateValue {
        var result: [(key: String, value: TemplateValue)] = []
        for (keyExpression, valueExpression) in members {
            guard case .string(let key) = try evaluate(keyExpression) else {
                throw error("a mapping's key that is no string is not supported yet")
            }
            let value = try evaluate(valueExpression)
            try set(key, value, in: &result)
        }
        try checkNesting(.dictionary(result))
        return .dictionary(result)
    }

    /// Values are freed and compared recursively, so they may not lie arbitrarily deep in each other.
    private mutating func checkNesting(_ value: TemplateValue, depth: Int = 1) throws {
        guard depth <= Self.maximumNesting else {
            throw error("lists nested deeper than \(Self.maximumNesting) levels")
        }
        try step()
        switch value {
        case .list(let elements), .tuple(let elements):
            for element in elements { try checkNesting(element, depth: depth + 1) }
        case .dictionary(let members):
            for member in members { try checkNesting(member.value, depth: depth + 1) }
        default: break
        }
    }

    /// Sets a member where Python does: in the place of an earlier one of that key, else at the end.
    private mutating func set(
        _ key: String, _ value: TemplateValue, in members: inout [(key: String, value: TemplateValue)]
    ) throws {
        try step(1 + members.count / 8)
        if let index = members.firstIndex(where: { TemplateValue.same($0.key, key) }) {
            members[index].value = value
        } else {
            members.append((key, value))
        }
    }

    private mutating func bound(_ expression: TemplateExpression?) throws -> Int? {
        guard let expression else { return nil }
        let value = try evaluate(expression)
        if case .none = value { return nil }
        guard let index = value.int else { throw error("a slice's bound is \(value.kind), expected an integer") }
        return index
    }

    private mutating func attribute(_ base: TemplateValue, _ name: String) throws -> TemplateValue {
        switch base {
        case .undefined(let what): throw error("'\(what)' is undefined, so it has no '\(name)'")
        case .namespace(let index): return namespaces[index][name] ?? .undefined(name)
        default: return try member(base, name) ?? .undefined(name)
        }
    }

    /// The member of a mapping.
    mutating func member(_ mapping: TemplateValue, _ name: String) throws -> TemplateValue? {
        guard case .dictionary(let members) = mapping else { return nil }
        try step(1 + members.count / 8)
        return members.first { TemplateValue.same($0.key, name) }?.value
    }

    mutating func item(_ base: TemplateValue, _ index: TemplateValue) throws -> TemplateValue {
        switch (base, index) {
        case (.undefined(let what), _): throw error("'\(what)' is undefined, so it has no items")
        case (_, .string(let key)): return try attribute(base, key)
        case (.list(let elements), _), (.tuple(let elements), _):
            guard let number = index.int else { return .undefined("item") }
            let place = number < 0 ? number + elements.count : number
            return elements.indices.contains(place) ? elements[place] : .undefined("item \(number)")
        case (.string(let text), _):
            guard let number = index.int else { return .undefined("item") }
            try charge(text.utf8.count)
            let scalars = text.unicodeScalars
            let place = number < 0 ? number + scalars.count : number
            guard place >= 0, let found = scalars.dropFirst(place).first else { return .undefined("item \(number)") }
            return .string(String(found))
        default: return .undefined("item")
        }
    }

    private mutating func values(_ arguments: TemplateArguments) throws -> TemplateCallValues {
        TemplateCallValues(
            positional: try arguments.positional.map { try evaluate($0) },
            named: try arguments.named.map { ($0.name, try evaluate($0.value)) })
    }

    private mutating func call(_ callee: TemplateExpression, _ arguments: TemplateArguments) throws -> TemplateValue {
        let values = try values(arguments)
        if case .attribute(let base, let name) = callee { return try method(name, of: evaluate(base), values) }
        let function = try evaluate(callee)
        if case .undefined(let name) = function { throw error("the function '\(name)' is not supported yet") }
        guard case .function(let name) = function, let signature = TemplateLibrary.functions[name] else {
            throw error("calling \(function.kind) is not supported yet")
        }
        if name == "namespace" || name == "dict" {
            let result = try mapping(name, values)
            try checkNesting(result)
            guard name == "namespace", case .dictionary(let members) = result else { return result }
            try charge(result.size)
            namespaces.append(Dictionary(members.map { ($0.key, $0.value) }) { $1 })
            return .namespace(namespaces.count - 1)
        }
        let given = try values.bound(to: signature, "\(name)()", error)
        switch name {
        case "raise_exception":
            throw error("the template refuses: \(try text(given[0] ?? .none))")
        case "strftime_now":
            guard let date = TemplateClock.text(format: try text(given[0] ?? .none)) else {
                throw error("strftime_now() got a format that is too long")
            }
            try charge(date.utf8.count + 4096)
            return .string(date)
        default:
            let range = try TemplateSlice.range(given.compactMap { $0 }.map(\.int), error: error)
            try charge(range.size)
            return range
        }
    }

    /// What `dict` and `namespace` make: the members of a mapping, if one is given, then those with names.
    private mutating func mapping(_ name: String, _ values: TemplateCallValues) throws -> TemplateValue {
        guard values.positional.count <= 1 else { throw error("\(name)() takes one mapping and named values") }
        var members: [(key: String, value: TemplateValue)] = []
        if let first = values.positional.first {
            guard case .dictionary(let given) = first else {
                throw error("\(name)() got \(first.kind), expected a mapping or named values")
            }
            try charge(first.size)
            members = given
        }
        guard Set(values.named.map(\.name)).count == values.named.count else {
            throw error("\(name)() got a name twice")
        }
        for (key, value) in values.named { try set(key, value, in: &members) }
        return .dictionary(members)
    }
}
