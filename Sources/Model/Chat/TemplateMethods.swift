// Methods of strings, mappings and lists.
extension TemplateRun {
    /// `value.name(arguments)`.
    mutating func method(
        _ name: String, of value: TemplateValue, _ call: TemplateCallValues
    ) throws -> TemplateValue {
        try charge(value.size)
        let methods: [String: TemplateSignature]
        switch value {
        case .undefined(let what): throw error("'\(what)' is undefined, so it has no '\(name)'")
        case .string: methods = TemplateLibrary.stringMethods
        case .dictionary: methods = TemplateLibrary.mappingMethods
        case .list, .tuple: methods = TemplateLibrary.listMethods
        default: methods = [:]
        }
        guard let signature = methods[name] else {
            throw error("the method '\(name)' of \(value.kind) is not supported yet")
        }
        let given = try call.bound(to: signature, "\(name)()", error)
        switch value {
        case .string(let text): return try stringMethod(name, text, given)
        case .dictionary(let members): return try mappingMethod(name, members, given)
        default: return try listMethod(name, try elements(value), given)
        }
    }

    private mutating func mappingMethod(
        _ name: String, _ members: [(key: String, value: TemplateValue)], _ given: [TemplateValue?]
    ) throws -> TemplateValue {
        switch name {
        case "items": return .list(members.map { .tuple([.string($0.key), $0.value]) })
        case "keys": return .list(members.map { .string($0.key) })
        case "values": return .list(members.map(\.value))
        default:
            guard case .string(let key)? = given[0] else { return given[1] ?? .none }
            return try member(.dictionary(members), key) ?? given[1] ?? .none
        }
    }

    private mutating func listMethod(
        _ name: String, _ elements: [TemplateValue], _ given: [TemplateValue?]
    ) throws -> TemplateValue {
        var count = 0
        for (index, element) in elements.enumerated() {
            guard let wanted = given[0], try equal(element, wanted) else { continue }
            if name == "index" { return .integer(index) }
            count += 1
        }
        if name == "index" { throw error("index() found no such element in the list") }
        return .integer(count)
    }

    // MARK: Strings

    private mutating func stringMethod(
        _ name: String, _ text: String, _ given: [TemplateValue?]
    ) throws -> TemplateValue {
        let bytes = Array(text.utf8)
        switch name {
        case "lower": return .string(text.lowercased())
        case "upper": return .string(text.uppercased())
        case "capitalize": return .string(TemplateStrings.capitalized(text))
        case "strip", "lstrip", "rstrip":
            let set = try optionalBytes(given[0], name)
            return string(TemplateStrings.strip(bytes, set, left: name != "rstrip", right: name != "lstrip"))
        case "startswith": return .bool(try ends(given[0], name) { bytes.starts(with: $0) })
        case "endswith": return .bool(try ends(given[0], name) { bytes.reversed().starts(with: $0.reversed()) })
        case "removeprefix":
            let part = try requiredBytes(given[0], name)
            return bytes.starts(with: part) ? string(bytes[part.count...]) : .string(text)
        case "removesuffix":
            let part = try requiredBytes(given[0], name)
            return bytes.suffix(part.count) == part[...] ? string(bytes.dropLast(part.count)) : .string(text)
        case "find":
            let place = TemplateStrings.find(try requiredBytes(given[0], name), in: bytes)
            return .integer(place.map { String(decoding: bytes[..<$0], as: UTF8.self).unicodeScalars.count } ?? -1)
        case "count":
            let part = try requiredBytes(given[0], name)
            guard !part.isEmpty else { return .integer(text.unicodeScalars.count + 1) }
            var count = 0
            TemplateStrings.forEachOccurrence(of: part, in: bytes) { _ in
                count += 1
                return true
            }
            return .integer(count)
        case "join":
            let parts = try elements(given[0] ?? .none).map { part in
                guard case .string(let part) = part else { throw error("join() got \(part.kind), expected a string") }
                return part
            }
            return .string(try joined(parts, text))
        case "replace":
            return try replace(
                bytes, try requiredBytes(given[0], name), try requiredBytes(given[1], name),
                limit: try limit(given[2], name))
        default:
            return try split(
                bytes, try optionalBytes(given[0], name), limit: try limit(given[1], name), fromEnd: name == "rsplit")
        }
    }

    /// The texts with a separator between them.
    mutating func joined(_ parts: [String], _ separator: String) throws -> String {
        try charge(parts.reduce(0) { $0 + $1.utf8.count + separator.utf8.count })
        return parts.joined(separator: separator)
    }

    /// Every `old`, at most `limit` of them, replaced; an empty `old` stands around every character.
    mutating func replace(_ text: [UInt8], _ old: [UInt8], _ new: [UInt8], limit: Int) throws -> TemplateValue {
        try charge(text.count + old.count)
        var result: [UInt8] = []
        var (done, count) = (0, 0)
        func put(_ place: Int, _ length: Int) throws -> Bool {
            guard count < limit else { return false }
            count += 1
            try charge(new.count + 8)
            result += text[done..<place]
            result += new
            done = place + length
            return true
        }
        if old.isEmpty {
            var place = 0
            while try put(place, 0), place < text.count { place += UTF8Text.length(first: text[place]) }
        } else {
            try TemplateStrings.forEachOccurrence(of: old, in: text) { try put($0, old.count) }
        }
        return string(result + text[done...])
    }

    private mutating func split(
        _ text: [UInt8], _ separator: [UInt8]?, limit: Int, fromEnd: Bool
    ) throws -> TemplateValue {
        guard let separator else {
            let words = TemplateStrings.words(text)
            try charge(words.count * MemoryLayout<TemplateValue>.stride)
            guard limit < words.count else { return .list(words.map { string(text[$0]) }) }
            // The rest keeps its inner blanks.
            if fromEnd {
                let rest = string(
                    TemplateStrings.strip(
                        Array(text[..<words[words.count - limit].lowerBound]), nil, left: false, right: true))
                let isEmpty = words.count == limit
                return .list((isEmpty ? [] : [rest]) + words.suffix(limit).map { string(text[$0]) })
            }
            return .list(words.prefix(limit).map { string(text[$0]) } + [string(text[words[limit].lowerBound...])])
        }
        guard !separator.isEmpty else { throw error("split() by an empty separator") }
        // From the end, everything is turned round.
        let (turned, pattern) = fromEnd ? (text.reversed(), separator.reversed()) : (text, separator)
        try charge(separator.count)
        var parts: [TemplateValue] = []
        var done = 0
        func part(_ range: Range<Int>) -> TemplateValue {
            string(fromEnd ? turned[range].reversed()[...] : turned[range])
        }
        try TemplateStrings.forEachOccurrence(of: pattern, in: turned) { place in
            guard parts.count < limit else { return false }
            try charge(2 * MemoryLayout<TemplateValue>.stride)
            parts.append(part(done..<place))
            done = place + pattern.count
            return true
        }
        parts.append(part(done..<turned.count))
        return .list(fromEnd ? parts.reversed() : parts)
    }

    private mutating func ends(
        _ value: TemplateValue?, _ name: String, _ holds: ([UInt8]) -> Bool
    ) throws -> Bool {
        guard case .tuple(let choices)? = value else { return holds(try requiredBytes(value, name)) }
        for choice in choices where holds(try requiredBytes(choice, name)) { return true }
        return false
    }

    private func string(_ bytes: some Sequence<UInt8>) -> TemplateValue {
        .string(String(decoding: Array(bytes), as: UTF8.self))
    }

    private mutating func optionalBytes(_ value: TemplateValue?, _ name: String) throws -> [UInt8]? {
        switch value {
        case nil, .some(.none): return nil
        case .string(let text)?:
            try charge(text.utf8.count)
            return Array(text.utf8)
        case let other?: throw error("\(name)() got \(other.kind), expected a string")
        }
    }

    private mutating func requiredBytes(_ value: TemplateValue?, _ name: String) throws -> [UInt8] {
        guard let bytes = try optionalBytes(value, name) else { throw error("\(name)() got none, expected a string") }
        return bytes
    }

    /// How often at most: Python's -1 and what is not given mean without end.
    private func limit(_ value: TemplateValue?, _ name: String) throws -> Int {
        guard let value else { return .max }
        guard let number = value.int else { throw error("\(name)() got \(value.kind), expected an integer") }
        return number < 0 ? .max : number
    }
}
