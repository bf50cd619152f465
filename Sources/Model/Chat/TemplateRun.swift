import Quant

/// Runs a parsed chat template once.
struct TemplateRun {
    /// Bounds for hostile templates: bytes of output and of all values ever made, evaluated expressions, and how deep
    /// lists and mappings may lie in each other.
    static let maximumBytes = 64 << 20
    static let maximumSteps = 500_000
    static let maximumNesting = 64

    private enum Flow { case next, breakLoop, continueLoop }

    private let file: String
    /// A name that is not there is an error where it is printed or looped over (Jinja's StrictUndefined).
    private let isStrict: Bool
    private var scopes: [[String: TemplateValue]]
    private var namespaces: [[String: TemplateValue]] = []
    private var output = ""
    private var line = 1
    private var steps = 0
    private var bytesMade = 0

    /// The text that the statements give with those variables.
    static func render(
        _ statements: [TemplateStatement], _ variables: [String: TemplateValue], file: String, isStrict: Bool = false
    ) throws -> String {
        var run = TemplateRun(file: file, isStrict: isStrict, scopes: [variables])
        _ = try run.execute(statements)
        return run.output
    }

    /// The value of an expression with those variables; names that are not there are errors.
    static func value(
        of expression: TemplateExpression, _ variables: [String: TemplateValue], file: String
    ) throws -> TemplateValue {
        var run = TemplateRun(file: file, isStrict: true, scopes: [variables])
        return try run.evaluate(expression)
    }

    private init(file: String, isStrict: Bool, scopes: [[String: TemplateValue]]) {
        self.file = file
        self.isStrict = isStrict
        self.scopes = scopes
    }

    func error(_ what: String) -> MeraserError { .badInput("\(file):\(line): \(what)") }

    // MARK: Statements

    private mutating func execute(_ statements: [TemplateStatement]) throws -> Flow {
        for statement in statements {
            line = statement.line
            switch statement.kind {
            case .text(let text):
                try charge(text.utf8.count)
                output += text
            case .output(let expression):
                let text = try text(evaluate(expression))
                try charge(text.utf8.count)
                output += text
            case .set(let target, let expression):
                try assign(evaluate(expression), to: target)
            case .capture(let target, let body):
                let before = output
                output = ""
                let flow = try execute(body)
                let captured = output
                output = before
                try assign(.string(captured), to: target)
                if flow != .next { return flow }
            case .condition(let branches, let otherwise):
                var body = otherwise
                for branch in branches where try evaluate(branch.test).isTrue {
                    body = branch.body
                    break
                }
                let flow = try execute(body)
                if flow != .next { return flow }
            case .loop(let targets, let over, let filter, let body, let otherwise):
                let flow = try loop(targets, over, filter, body, otherwise)
                if flow != .next { return flow }
            case .breakLoop:
                return .breakLoop
            case .continueLoop:
                return .continueLoop
            }
        }
        return .next
    }

    /// The flow behind the loop: its own `break` and `continue` end here, those of its `else` part do not.
    private mutating func loop(
        _ targets: [String], _ over: TemplateExpression, _ filter: TemplateExpression?, _ body: [TemplateStatement],
        _ otherwise: [TemplateStatement]
    ) throws -> Flow {
        var items = try elements(evaluate(over))
        if let filter {
            items = try items.filter { item in
                scopes.append([:])
                defer { scopes.removeLast() }
                try bind(targets, item)
                return try evaluate(filter).isTrue
            }
        }
        if items.isEmpty { return try execute(otherwise) }
        for (index, item) in items.enumerated() {
            try step()
            scopes.append([:])
            defer { scopes.removeLast() }
            try bind(targets, item)
            scopes[scopes.count - 1]["loop"] = .dictionary([
                ("index", .integer(index + 1)), ("index0", .integer(index)),
                ("revindex", .integer(items.count - index)), ("revindex0", .integer(items.count - index - 1)),
                ("first", .bool(index == 0)), ("last", .bool(index == items.count - 1)),
                ("length", .integer(items.count)),
                ("previtem", index > 0 ? items[index - 1] : .undefined("loop.previtem")),
                ("nextitem", index + 1 < items.count ? items[index + 1] : .undefined("loop.nextitem")),
            ])
            if try execute(body) == .breakLoop { break }
        }
        return .next
    }

    private mutating func bind(_ targets: [String], _ item: TemplateValue) throws {
        if targets.count == 1 {
            scopes[scopes.count - 1][targets[0]] = item
            return
        }
        guard case .list(let parts) = item, parts.count == targets.count else {
            throw error("cannot unpack \(item.kind) into \(targets.count) names")
        }
        for (name, part) in zip(targets, parts) { scopes[scopes.count - 1][name] = part }
    }

    private mutating func assign(_ value: TemplateValue, to target: TemplateTarget) throws {
        switch target {
        case .name(let name):
            scopes[scopes.count - 1][name] = value
        case .attribute(let name, let attribute):
            guard case .namespace(let index) = lookUp(name) else {
                throw error(
                    "cannot set '\(name).\(attribute)': '\(name)' is \(lookUp(name).kind), expected a namespace")
            }
            namespaces[index][attribute] = value
        }
    }

    private func lookUp(_ name: String) -> TemplateValue {
        for scope in scopes.reversed() {
            if let value = scope[name] { return value }
        }
        return .undefined(name)
    }

    func text(_ value: TemplateValue) throws -> String {
        if isStrict, case .undefined(let name) = value { throw error("'\(name)' is undefined") }
        guard let text = value.text else { throw error("printing \(value.kind) is not supported yet") }
        return text
    }

    mutating func elements(_ value: TemplateValue) throws -> [TemplateValue] {
        switch value {
        case .list(let elements): return elements
        case .dictionary(let members): return members.map { .string($0.key) }
        case .string(let text):
            try charge(text.utf8.count * MemoryLayout<TemplateValue>.stride)
            return text.unicodeScalars.map { .string(String($0)) }
        case .undefined where !isStrict: return []
        default: throw error("\(value.kind) cannot be looped over")
        }
    }
}

// MARK: - Expressions

extension TemplateRun {
    private mutating func evaluate(_ expression: TemplateExpression) throws -> TemplateValue {
        try step()
        switch expression {
        case .literal(let value): return value
        case .name(let name): return lookUp(name)
        case .list(let elements):
            let list = TemplateValue.list(try elements.map { try evaluate($0) })
            try checkNesting(list)
            return list
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
            return .bool(try test(name, evaluate(base), try values(arguments).positional))
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
            result.removeAll { TemplateValue.same($0.key, key) }
            result.append((key, value))
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
        case .list(let elements):
            for element in elements { try checkNesting(element, depth: depth + 1) }
        case .dictionary(let members):
            for member in members { try checkNesting(member.value, depth: depth + 1) }
        default: break
        }
    }

    private mutating func step() throws {
        steps += 1
        guard steps <= Self.maximumSteps else { throw error("the template takes more than \(Self.maximumSteps) steps") }
    }

    /// Accounts for a value that is about to be made.
    mutating func charge(_ bytes: Int) throws {
        let (sum, overflows) = bytesMade.addingReportingOverflow(bytes)
        guard !overflows, sum <= Self.maximumBytes else { throw error("the template makes more than 64 MiB of values") }
        bytesMade = sum
    }

    private mutating func bound(_ expression: TemplateExpression?) throws -> Int? {
        guard let expression else { return nil }
        let value = try evaluate(expression)
        if case .none = value { return nil }
        guard let index = value.int else { throw error("a slice's bound is \(value.kind), expected an integer") }
        return index
    }

    private func attribute(_ base: TemplateValue, _ name: String) throws -> TemplateValue {
        switch base {
        case .undefined(let what): throw error("'\(what)' is undefined, so it has no '\(name)'")
        case .namespace(let index): return namespaces[index][name] ?? .undefined(name)
        default: return base.member(name) ?? .undefined(name)
        }
    }

    private mutating func item(_ base: TemplateValue, _ index: TemplateValue) throws -> TemplateValue {
        switch (base, index) {
        case (.undefined(let what), _): throw error("'\(what)' is undefined, so it has no items")
        case (_, .string(let key)): return try attribute(base, key)
        case (.list(let elements), _):
            guard let number = index.int else { return .undefined("item") }
            let place = number < 0 ? number + elements.count : number
            return elements.indices.contains(place) ? elements[place] : .undefined("item \(number)")
        case (.string(let text), _):
            return try item(.list(elements(.string(text))), index)
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
        switch callee {
        case .attribute(let base, let name):
            return try method(name, of: evaluate(base), values)
        case .name("raise_exception"):
            throw error("the template refuses: \(try text(values.positional.first ?? .none))")
        case .name("namespace"):
            guard values.positional.isEmpty else { throw error("namespace() takes named values only") }
            namespaces.append(Dictionary(values.named.map { ($0.name, $0.value) }) { $1 })
            return .namespace(namespaces.count - 1)
        case .name("range"):
            let range = try TemplateSlice.range(values.positional.map(\.int), error: error)
            try charge(range.size)
            return range
        case .name("dict"):
            let result = TemplateValue.dictionary(values.named.map { ($0.name, $0.value) })
            try checkNesting(result)
            return result
        case .name(let name):
            throw error("the function '\(name)' is not supported yet")
        default:
            throw error("calling this kind of value is not supported yet")
        }
    }
}

/// The arguments of a call, evaluated.
struct TemplateCallValues {
    var positional: [TemplateValue] = []
    var named: [(name: String, value: TemplateValue)] = []

    /// The argument at that place or of that name.
    func value(_ index: Int, _ name: String) -> TemplateValue? {
        index < positional.count ? positional[index] : named.first { $0.name == name }?.value
    }
}
