import Base

/// What a template printed.
struct TemplateOutput {
    var text = ""
    /// UTF-8 offsets of the parts in `{% generation %}`, in the order in which they ended.
    var generated: [Range<Int>] = []
}

/// Runs a parsed chat template once.
///
/// Every operation pays before it works: steps for what is evaluated, bytes for what is made, copied or compared. So a
/// hostile template ends in an error after about a second.
struct TemplateRun {
    /// Bounds for hostile templates: bytes that are made or looked at (and 32 for each byte of the values given), steps,
    /// bytes of output (and those given), and how deep lists and mappings may lie in each other.
    static let maximumBytes = 64 << 20
    static let maximumSteps = 1_000_000
    static let maximumOutput = 8 << 20
    static let maximumNesting = 64

    private enum Flow { case next, breakLoop, continueLoop }

    private let file: String
    private let allowedBytes: Int
    private let allowedOutput: Int
    /// A name that is not there is an error where it is printed or looped over (Jinja's StrictUndefined).
    let isStrict: Bool
    var scopes: [[String: TemplateValue]]
    var namespaces: [[String: TemplateValue]] = []
    private var output = TemplateOutput()
    /// Bytes printed before the outermost block that is captured; nil outside of any.
    private var printedBeforeCapture: Int?
    private var line = 1
    private var steps = 0
    private var bytesUsed = 0

    /// What the statements print with those variables.
    static func render(
        _ statements: [TemplateStatement], _ variables: [String: TemplateValue], file: String, isStrict: Bool = false
    ) throws -> TemplateOutput {
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
        let given = scopes.reduce(0) { $1.values.reduce($0) { $0 + $1.totalSize } }
        allowedBytes = Self.maximumBytes + 32 * given
        allowedOutput = Self.maximumOutput + given
    }

    func error(_ what: String) -> MeraserError { .badInput("\(file):\(line): \(what)") }

    // MARK: Statements

    private mutating func execute(_ statements: [TemplateStatement]) throws -> Flow {
        for statement in statements {
            line = statement.line
            try step()
            switch statement.kind {
            case .text(let text):
                try write(text)
            case .output(let expression):
                try write(text(evaluate(expression)))
            case .set(let target, let expression):
                try assign(evaluate(expression), to: target)
            case .capture(let target, let body):
                let before = output.text
                let isOutermost = printedBeforeCapture == nil
                if isOutermost { printedBeforeCapture = before.utf8.count }
                output.text = ""
                let flow = try execute(body)
                let captured = output.text
                output.text = before
                if isOutermost { printedBeforeCapture = nil }
                try assign(.string(captured), to: target)
                if flow != .next { return flow }
            case .generation(let body):
                let start = output.text.utf8.count
                scopes.append([:])
                defer { scopes.removeLast() }
                let flow = try execute(body)
                // Transformers counts from what has been printed so far, also within a block that is captured.
                let offset = printedBeforeCapture.map { $0 - start } ?? 0
                output.generated.append(start + offset..<output.text.utf8.count + offset)
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
                try step()
                scopes.append([:])
                defer { scopes.removeLast() }
                try bind(targets, item)
                return try evaluate(filter).isTrue
            }
        }
        if items.isEmpty { return try execute(otherwise) }
        for (index, item) in items.enumerated() {
            try step(8)
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
        guard let parts = item.elements, parts.count == targets.count else {
            throw error("cannot unpack \(item.kind) into \(targets.count) names")
        }
        for (name, part) in zip(targets, parts) { scopes[scopes.count - 1][name] = part }
    }

    private mutating func assign(_ value: TemplateValue, to target: TemplateTarget) throws {
        switch target {
        case .name(let name):
            scopes[scopes.count - 1][name] = value
        case .attribute(let name, let attribute):
            let owner = try lookUp(name)
            guard case .namespace(let index) = owner else {
                throw error("cannot set '\(name).\(attribute)': '\(name)' is \(owner.kind), expected a namespace")
            }
            namespaces[index][attribute] = value
        }
    }

    mutating func lookUp(_ name: String) throws -> TemplateValue {
        for scope in scopes.reversed() {
            try step()
            if let value = scope[name] { return value }
        }
        return TemplateLibrary.functions[name] == nil ? .undefined(name) : .function(name)
    }

    // MARK: Budgets

    /// Accounts for work that does not depend on sizes.
    mutating func step(_ count: Int = 1) throws {
        steps += count
        guard steps <= Self.maximumSteps else { throw error("the template takes more than \(Self.maximumSteps) steps") }
    }

    /// Accounts for bytes that are about to be made, copied or compared.
    mutating func charge(_ bytes: Int) throws {
        let (sum, overflows) = bytesUsed.addingReportingOverflow(bytes)
        guard !overflows, sum <= allowedBytes else {
            throw error("the template makes or compares more than \(allowedBytes >> 20) MiB of values")
        }
        bytesUsed = sum
    }

    private mutating func write(_ text: String) throws {
        try charge(text.utf8.count)
        guard output.text.utf8.count + text.utf8.count <= allowedOutput else {
            throw error("the template prints more than \(allowedOutput >> 20) MiB")
        }
        output.text += text
    }

    // MARK: Values

    mutating func text(_ value: TemplateValue) throws -> String {
        if isStrict, case .undefined(let name) = value { throw error("'\(name)' is undefined") }
        guard let text = try TemplateText.str(value, charge: { try charge($0) }) else {
            throw error("printing \(value.kind), or something in it, is not supported yet")
        }
        return text
    }

    mutating func elements(_ value: TemplateValue) throws -> [TemplateValue] {
        switch value {
        case .list(let elements), .tuple(let elements): return elements
        case .dictionary(let members): return members.map { .string($0.key) }
        case .string(let text):
            try charge(text.utf8.count * MemoryLayout<TemplateValue>.stride)
            return text.unicodeScalars.map { .string(String($0)) }
        case .undefined where !isStrict: return []
        default: throw error("\(value.kind) cannot be looped over")
        }
    }
}
