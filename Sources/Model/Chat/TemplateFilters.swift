import Quant

extension TemplateRun {
    /// `value | name(arguments)`.
    mutating func filter(
        _ name: String, _ value: TemplateValue, _ arguments: TemplateCallValues
    ) throws -> TemplateValue {
        try charge(value.size)
        switch name {
        case "trim", "lower", "upper", "capitalize", "replace":
            return try method(name == "trim" ? "strip" : name, of: .string(try text(value)), arguments)
        case "string", "safe": return .string(try text(value))
        case "length", "count": return .integer(try elements(value).count)
        case "list": return .list(try elements(value))
        case "first": return try elements(value).first ?? .undefined("the first of nothing")
        case "last": return try elements(value).last ?? .undefined("the last of nothing")
        case "reverse":
            let reversed = Array(try elements(value).reversed())
            guard case .string = value else { return .list(reversed) }
            return .string(try reversed.map(text).joined())
        case "items":
            if case .undefined = value { return .list([]) }
            return try method("items", of: value, TemplateCallValues())
        case "default", "d":
            let isMissing: Bool
            if case .undefined = value { isMissing = true } else { isMissing = false }
            let isFalse = arguments.value(1, "boolean")?.isTrue == true && !value.isTrue
            return isMissing || isFalse ? arguments.value(0, "default_value") ?? .string("") : value
        case "join":
            let separator = try text(arguments.value(0, "d") ?? .string(""))
            let parts = try elements(value).map(text)
            try charge(parts.reduce(0) { $0 + $1.utf8.count + separator.utf8.count })
            return .string(parts.joined(separator: separator))
        case "int":
            if case .string(let text) = value { return Int(text).map { .integer($0) } ?? .integer(0) }
            guard let number = value.double, let result = Int(exactly: number.rounded(.towardZero)) else {
                return .integer(0)
            }
            return .integer(value.int ?? result)
        case "abs":
            if let number = value.int, number != .min { return .integer(abs(number)) }
            guard let number = value.double else { throw error("abs of \(value.kind)") }
            return .number(abs(number))
        case "tojson":
            let indent = arguments.value(0, "indent")?.int
            guard indent ?? 0 >= 0, indent ?? 0 <= 16 else { throw error("tojson with an indent other than 0 to 16") }
            return .string(try TemplateJSON.text(value, indent: indent, fail: error) { try charge($0) })
        default:
            return try sequenceFilter(name, try elements(value), arguments)
        }
    }

    /// `map`, `select`, `reject`, `selectattr`, `rejectattr`.
    private mutating func sequenceFilter(
        _ name: String, _ elements: [TemplateValue], _ arguments: TemplateCallValues
    ) throws -> TemplateValue {
        func argumentText(_ index: Int) throws -> String? {
            guard index < arguments.positional.count else { return nil }
            return try text(arguments.positional[index])
        }
        if name == "map" {
            if let attribute = arguments.named.first(where: { $0.name == "attribute" })?.value {
                let path = try text(attribute)
                return .list(elements.map { $0.member(path) ?? .undefined(path) })
            }
            guard let filterName = try argumentText(0), TemplateLibrary.filters.contains(filterName) else {
                throw error("'map' needs 'attribute=' or the name of a filter")
            }
            let rest = TemplateCallValues(positional: Array(arguments.positional.dropFirst()), named: arguments.named)
            return .list(try elements.map { try filter(filterName, $0, rest) })
        }
        let usesAttribute = name.hasSuffix("attr")
        let attribute = usesAttribute ? try argumentText(0) : nil
        guard !usesAttribute || attribute != nil else { throw error("'\(name)' needs an attribute's name") }
        let testIndex = usesAttribute ? 1 : 0
        let testName = try argumentText(testIndex)
        let isKept = name.hasPrefix("select")
        return .list(
            try elements.filter { element in
                let value = attribute.map { element.member($0) ?? .undefined($0) } ?? element
                guard let testName else { return value.isTrue == isKept }
                let operation =
                    ["==": "eq", "!=": "ne", "<": "lt", ">": "gt", "<=": "le", ">=": "ge"][testName] ?? testName
                guard TemplateLibrary.tests.contains(operation) else {
                    throw error("the test '\(testName)' is not supported yet")
                }
                return try test(operation, value, Array(arguments.positional.dropFirst(testIndex + 1))) == isKept
            })
    }
}

// MARK: - Methods

extension TemplateRun {
    /// `value.name(arguments)`.
    mutating func method(
        _ name: String, of value: TemplateValue, _ arguments: TemplateCallValues
    ) throws -> TemplateValue {
        try charge(value.size)
        switch value {
        case .string(let text):
            return try stringMethod(name, Array(text.unicodeScalars), arguments)
        case .dictionary(let members):
            switch name {
            case "items": return .list(members.map { .list([.string($0.key), $0.value]) })
            case "keys": return .list(members.map { .string($0.key) })
            case "values": return .list(members.map(\.value))
            case "get":
                guard case .string(let key)? = arguments.value(0, "key") else { throw error("get() needs a key") }
                return value.member(key) ?? arguments.value(1, "default") ?? .none
            default: break
            }
        case .list(let elements) where name == "index":
            guard let wanted = arguments.value(0, "value"),
                let place = elements.firstIndex(where: { TemplateValue.equal($0, wanted) })
            else { throw error("index() found no such element in the list") }
            return .integer(place)
        case .undefined(let what):
            throw error("'\(what)' is undefined, so it has no '\(name)'")
        default: break
        }
        throw error("the method '\(name)' of \(value.kind) is not supported yet")
    }

    private mutating func stringMethod(
        _ name: String, _ text: [Unicode.Scalar], _ arguments: TemplateCallValues
    ) throws -> TemplateValue {
        func argument(_ index: Int) throws -> [Unicode.Scalar]? {
            guard index < arguments.positional.count else { return nil }
            guard case .string(let text) = arguments.positional[index] else {
                if case .none = arguments.positional[index] { return nil }
                throw error("\(name)() got \(arguments.positional[index].kind), expected a string")
            }
            return Array(text.unicodeScalars)
        }
        func required(_ index: Int) throws -> [Unicode.Scalar] {
            guard let value = try argument(index), !value.isEmpty || name != "split" else {
                throw error("\(name)() needs a string that is not empty")
            }
            return value
        }
        switch name {
        case "strip", "lstrip", "rstrip":
            let set = try argument(0)
            func isCut(_ scalar: Unicode.Scalar) -> Bool { set?.contains(scalar) ?? scalar.properties.isWhitespace }
            var slice = text[...]
            if name != "rstrip" { slice = slice.drop(while: isCut) }
            if name != "lstrip" { while let last = slice.last, isCut(last) { slice.removeLast() } }
            return .string(Self.string(slice))
        case "lower": return .string(Self.string(text[...]).lowercased())
        case "upper": return .string(Self.string(text[...]).uppercased())
        case "capitalize":
            return .string(Self.string(text.prefix(1)).uppercased() + Self.string(text.dropFirst()).lowercased())
        case "startswith": return .bool(text.starts(with: try required(0)))
        case "endswith": return .bool(text.reversed().starts(with: try required(0).reversed()))
        case "replace":
            let parts = Self.split(text, try required(0))
            let content = Self.string(try required(1)[...])
            try charge(content.utf8.count * (parts.count - 1))
            return .string(parts.map { Self.string($0) }.joined(separator: content))
        case "split":
            guard arguments.positional.count < 2 else { throw error("split() with a limit is not supported yet") }
            let parts =
                try argument(0) == nil
                ? text.split(whereSeparator: \.properties.isWhitespace) : Self.split(text, try required(0))
            try charge(parts.count * MemoryLayout<TemplateValue>.stride)
            return .list(parts.map { .string(Self.string($0)) })
        default:
            throw error("the method '\(name)' of a string is not supported yet")
        }
    }

    private static func string(_ scalars: ArraySlice<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }

    private static func split(
        _ text: [Unicode.Scalar], _ separator: [Unicode.Scalar]
    ) -> [ArraySlice<Unicode.Scalar>] {
        guard let first = separator.first else { return [text[...]] }
        var parts: [ArraySlice<Unicode.Scalar>] = []
        var start = 0
        var i = 0
        while i + separator.count <= text.count {
            if text[i] == first, text[i..<i + separator.count].elementsEqual(separator) {
                parts.append(text[start..<i])
                i += separator.count
                start = i
            } else {
                i += 1
            }
        }
        return parts + [text[start...]]
    }
}
