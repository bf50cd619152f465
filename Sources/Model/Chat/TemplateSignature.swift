import Base

/// The arguments that a function, filter, test or method of a template takes, as Jinja and Transformers have them.
///
/// Written as a list of names; those that end in `?` may be left out.
struct TemplateSignature: Sendable, ExpressibleByArrayLiteral {
    let names: [String]
    let required: Int
    /// False for Python's own methods, whose arguments have no names.
    let takesNames: Bool

    init(arrayLiteral names: String...) { self.init(names, takesNames: true) }

    /// The signature of one of Python's methods.
    static func unnamed(_ names: String...) -> TemplateSignature { TemplateSignature(names, takesNames: false) }

    private init(_ names: [String], takesNames: Bool) {
        self.names = names.map { $0.hasSuffix("?") ? String($0.dropLast()) : $0 }
        required = names.count { !$0.hasSuffix("?") }
        self.takesNames = takesNames
    }
}

/// The arguments of a call, evaluated.
struct TemplateCallValues {
    var positional: [TemplateValue] = []
    var named: [(name: String, value: TemplateValue)] = []

    /// The values in the order of the signature's names, nil for what is not given.
    ///
    /// - Throws: what `error` makes of the name of an argument that is missing, unknown, given twice or one too many.
    func bound(
        to signature: TemplateSignature, _ callee: String, _ error: (String) -> MeraserError
    ) throws -> [TemplateValue?] {
        let names = signature.names
        guard positional.count <= names.count else {
            throw error(
                "\(callee) takes \(names.isEmpty ? "no" : "at most \(names.count)") arguments, got \(positional.count)")
        }
        var values: [TemplateValue?] = positional + Array(repeating: nil, count: names.count - positional.count)
        for (name, value) in named {
            guard signature.takesNames, let index = names.firstIndex(of: name) else {
                throw error("\(callee) takes no argument named '\(name)'")
            }
            guard values[index] == nil else { throw error("\(callee) got its argument '\(name)' twice") }
            values[index] = value
        }
        if let missing = values.prefix(signature.required).firstIndex(where: { $0 == nil }) {
            throw error("\(callee) needs the argument '\(names[missing])'")
        }
        return values
    }
}
