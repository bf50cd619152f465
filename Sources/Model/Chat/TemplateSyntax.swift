/// An expression of a chat template.
indirect enum TemplateExpression: Sendable {
    case literal(TemplateValue)
    case name(String)
    case list([TemplateExpression])
    /// `(a, b)`.
    case tuple([TemplateExpression])
    case dictionary([(key: TemplateExpression, value: TemplateExpression)])
    /// `a.b`.
    case attribute(TemplateExpression, String)
    /// `a[b]`.
    case item(TemplateExpression, TemplateExpression)
    /// `a[b:c:d]`.
    case slice(TemplateExpression, TemplateExpression?, TemplateExpression?, TemplateExpression?)
    case call(TemplateExpression, TemplateArguments)
    /// `a | name(…)`.
    case filter(TemplateExpression, String, TemplateArguments)
    /// `a is name …`.
    case test(TemplateExpression, String, TemplateArguments)
    case not(TemplateExpression)
    case negate(TemplateExpression)
    case and(TemplateExpression, TemplateExpression)
    case or(TemplateExpression, TemplateExpression)
    /// `first op second op third …`.
    case compare(TemplateExpression, [(String, TemplateExpression)])
    case binary(String, TemplateExpression, TemplateExpression)
    /// `a if b else c`.
    case conditional(TemplateExpression, TemplateExpression, TemplateExpression?)
}

/// The arguments of a call, filter or test.
struct TemplateArguments: Sendable {
    var positional: [TemplateExpression] = []
    var named: [(name: String, value: TemplateExpression)] = []
}

/// A statement of a chat template, with the line that it begins on.
struct TemplateStatement: Sendable {
    indirect enum Kind: Sendable {
        case text(String)
        case output(TemplateExpression)
        case set(TemplateTarget, TemplateExpression)
        /// `{% set name %}…{% endset %}`.
        case capture(TemplateTarget, [TemplateStatement])
        /// `{% generation %}…{% endgeneration %}`: the model's own words, as Transformers marks them.
        case generation([TemplateStatement])
        case condition([(test: TemplateExpression, body: [TemplateStatement])], otherwise: [TemplateStatement])
        case loop(
            targets: [String], over: TemplateExpression, filter: TemplateExpression?, body: [TemplateStatement],
            otherwise: [TemplateStatement])
        case breakLoop
        case continueLoop
    }

    let line: Int
    let kind: Kind
}

/// What `set` assigns to.
enum TemplateTarget: Sendable {
    case name(String)
    /// An attribute of a namespace.
    case attribute(String, String)
}
