import Base

/// A text with places for named values, in the subset of Jinja that chat templates have (`ChatTemplate`), with Jinja's own
/// whitespace rules: nothing is trimmed. A name that has no value is an error. Immutable and thread-safe.
///
/// The templates of lm-evaluation-harness's task files are of this kind.
public struct TextTemplate: Sendable {
    private let statements: [TemplateStatement]
    private let name: String

    /// Parses a template; `name` begins errors (`name:line: …`). Throws ``MeraserError`` `badInput`, also for what is
    /// not supported yet.
    public init(source: String, name: String) throws {
        self.name = name
        statements = try TemplateParser.parse(source, file: name, trims: false)
    }

    /// The text with those values.
    ///
    /// - Throws: `badInput` with the template's line for a name without a value or an operation that fails.
    public func text(_ values: TemplateValues) throws -> String {
        try TemplateRun.render(statements, values.variables, file: name, isStrict: true).text
    }

    /// The value of a template that is one `{{ expression }}` and nothing else; nil for any other template and for values
    /// that JSON does not have.
    ///
    /// - Throws: as `text`.
    public func value(_ values: TemplateValues) throws -> JSONValue? {
        guard statements.count == 1, case .output(let expression) = statements[0].kind else { return nil }
        return try TemplateRun.value(of: expression, values.variables, file: name).json
    }
}

/// Named values for templates, made once for all the templates that use them.
public struct TemplateValues: Sendable {
    let variables: [String: TemplateValue]

    /// The members of an object.
    public init(_ object: JSONObject) {
        variables = Dictionary(object.members.map { ($0.key.string, TemplateValue($0.value)) }) { first, _ in first }
    }
}

extension TemplateValue {
    /// The value of that JSON.
    init(_ json: JSONValue) {
        switch json {
        case .null: self = .none
        case .bool(let value): self = .bool(value)
        case .integer(let value): self = .integer(value)
        case .number(let value): self = .number(value)
        case .string(let value): self = .string(value.string)
        case .array(let elements): self = .list(elements.map(TemplateValue.init))
        case .object(let object):
            self = .dictionary(object.members.map { (key: $0.key.string, value: TemplateValue($0.value)) })
        }
    }

    /// This value as JSON; nil for names without a value and for namespaces.
    var json: JSONValue? {
        switch self {
        case .undefined, .namespace, .function: return nil
        case .none: return .null
        case .bool(let value): return .bool(value)
        case .integer(let value): return .integer(value)
        case .number(let value): return .number(value)
        case .string(let text): return .text(text)
        case .list(let elements), .tuple(let elements):
            let values = elements.compactMap(\.json)
            return values.count == elements.count ? .array(values) : nil
        case .dictionary(let members):
            let values = members.compactMap { member in member.value.json.map { (key: member.key, value: $0) } }
            return values.count == members.count ? .object(JSONObject(values)) : nil
        }
    }
}
