import Base

// Jinja's filters on the elements of a sequence.
extension TemplateRun {
    mutating func sequence(
        _ name: String, _ value: TemplateValue, _ given: [TemplateValue?]
    ) throws -> TemplateValue {
        if name == "dictsort" { return try dictsort(value, given) }
        let elements = try elements(value)
        switch name {
        case "list": return .list(elements)
        case "first": return elements.first ?? .undefined("the first of nothing")
        case "last": return elements.last ?? .undefined("the last of nothing")
        case "reverse":
            guard case .string = value else { return .list(elements.reversed()) }
            return .string(try elements.reversed().map { try text($0) }.joined())
        case "join":
            let values = try attributes(elements, given[1])
            return .string(try joined(values.map { try text($0) }, try text(given[0] ?? .string(""))))
        case "sum":
            var sum = given[1] ?? .integer(0)
            for element in try attributes(elements, given[0]) { sum = try arithmetic("+", sum, element) }
            return sum
        case "sort":
            let keys = try keys(elements, given[2], isCaseSensitive: given[1])
            let order = try order(keys, isReversed: given[0]?.isTrue == true)
            return .list(order.map { elements[$0] })
        case "unique":
            let keys = try keys(elements, given[1], isCaseSensitive: given[0])
            var kept: [Int] = []
            for index in elements.indices where !(try kept.contains { try equal(keys[$0], keys[index]) }) {
                kept.append(index)
            }
            return .list(kept.map { elements[$0] })
        default:  // min, max
            let keys = try keys(elements, given[1], isCaseSensitive: given[0])
            guard var best = elements.indices.first else { return .undefined("the \(name) of nothing") }
            for index in elements.indices where try compare(name == "min" ? "<" : ">", keys[index], keys[best]) {
                best = index
            }
            return elements[best]
        }
    }

    /// Pairs of a mapping in the order of its keys or values.
    private mutating func dictsort(_ value: TemplateValue, _ given: [TemplateValue?]) throws -> TemplateValue {
        guard case .dictionary(let members) = value else { throw error("dictsort of \(value.kind)") }
        let by = try given[1].map { try text($0) } ?? "key"
        guard by == "key" || by == "value" else { throw error("dictsort by '\(by)', expected key or value") }
        let sorted = try keys(
            members.map { by == "key" ? .string($0.key) : $0.value }, nil, isCaseSensitive: given[0])
        return .list(
            try order(sorted, isReversed: given[2]?.isTrue == true).map {
                .tuple([.string(members[$0].key), members[$0].value])
            })
    }

    /// The indices of values in ascending or descending order, equal ones as they stand.
    private mutating func order(_ keys: [TemplateValue], isReversed: Bool) throws -> [Int] {
        try keys.indices.sorted { a, b in
            let (low, high) = isReversed ? (b, a) : (a, b)
            if try compare("<", keys[low], keys[high]) { return true }
            return try a < b && !compare("<", keys[high], keys[low])
        }
    }

    /// What elements are compared by: the attribute, in lower case unless told otherwise.
    private mutating func keys(
        _ elements: [TemplateValue], _ attribute: TemplateValue?, isCaseSensitive: TemplateValue?
    ) throws -> [TemplateValue] {
        let values = try attributes(elements, attribute)
        guard isCaseSensitive?.isTrue != true else { return values }
        return try values.map { value in
            guard case .string(let text) = value else { return value }
            try charge(text.utf8.count)
            return .string(text.lowercased())
        }
    }

    /// The attribute at a path such as `function.name` of every element; the elements themselves without a path.
    private mutating func attributes(
        _ elements: [TemplateValue], _ path: TemplateValue?, orElse fallback: TemplateValue? = nil
    ) throws -> [TemplateValue] {
        let parts: [TemplateValue]
        switch path {
        case nil, .some(.none): return elements
        case .integer?: parts = [path ?? .none]
        case let path?:
            parts = try text(path).split(separator: ".", omittingEmptySubsequences: false).map { part in
                Int(part).map { .integer($0) } ?? .string(String(part))
            }
        }
        return try elements.map { element in
            try parts.reduce(element) { value, part in
                let member = try item(value, part)
                if let fallback, case .undefined = member { return fallback }
                return member
            }
        }
    }

    /// `map`, `select`, `reject`, `selectattr`, `rejectattr`.
    mutating func selected(
        _ name: String, _ elements: [TemplateValue], _ call: TemplateCallValues
    ) throws -> TemplateValue {
        var rest = call
        if name == "map" {
            if call.positional.isEmpty {
                let given = try call.bound(to: ["attribute", "default?"], "the filter 'map'", error)
                return .list(try attributes(elements, given[0], orElse: given[1]))
            }
            let filterName = try text(rest.positional.removeFirst())
            guard TemplateLibrary.filters[filterName] != nil || TemplateLibrary.selectors.contains(filterName) else {
                throw error("the filter '\(filterName)' is not supported yet")
            }
            return .list(try elements.map { try filter(filterName, $0, rest) })
        }
        var values = elements
        if name.hasSuffix("attr") {
            guard !rest.positional.isEmpty else { throw error("the filter '\(name)' needs an attribute's name") }
            values = try attributes(elements, rest.positional.removeFirst())
        }
        let testName = rest.positional.isEmpty ? nil : try text(rest.positional.removeFirst())
        guard testName != nil || rest.named.isEmpty else {
            throw error("the filter '\(name)' takes no argument named '\(rest.named[0].name)'")
        }
        let operation = testName.map { TemplateLibrary.operators[$0] ?? $0 }
        let isKept = name.hasPrefix("select")
        return .list(
            try zip(elements, values).filter { _, value in
                guard let operation else { return value.isTrue == isKept }
                return try test(operation, value, rest) == isKept
            }.map(\.0))
    }
}
