import Quant

/// A normalizer of tokenizer.json: what happens to a text before it is split into words.
enum Normalizer: Sendable {
    case prepend([UInt8])
    case replace([UInt8], [UInt8])
    case sequence([Normalizer])

    /// The `normalizer` of tokenizer.json.
    init(_ json: JSONValue, file: String) throws {
        switch try json.string("type", in: file) {
        case "Sequence":
            self = .sequence(try json.array("normalizers", in: file).map { try Normalizer($0, file: file) })
        case "Prepend":
            self = .prepend(try json.utf8("prepend", in: file))
        case "Replace":
            self = .replace(
                try TokenizerPattern.literal(json, component: "normalizer", file: file),
                try json.utf8("content", in: file))
        case let type:
            throw TokenizerPattern.unsupported("normalizer", type, file: file)
        }
    }

    /// The normalized text.
    func callAsFunction(_ text: [UInt8]) -> [UInt8] {
        switch self {
        case .prepend(let prefix): text.isEmpty ? text : prefix + text
        case .replace(let pattern, let content): UTF8Text.replacing(text, pattern, with: content)
        case .sequence(let steps): steps.reduce(text) { $1($0) }
        }
    }
}

/// When Metaspace puts its mark before a text.
enum PrependScheme: String, Sendable {
    case always
    /// Only at the very beginning of the input, not after an added token.
    case first
    case never

    /// `prepend_scheme` of a Metaspace object, or what older files say with `add_prefix_space`.
    init(_ json: JSONValue, file: String) throws {
        let addsPrefix = try json.boolIfPresent("add_prefix_space", in: file)
        guard let name = try json.stringIfPresent("prepend_scheme", in: file) else {
            self = addsPrefix == false ? .never : .always
            return
        }
        guard let scheme = PrependScheme(rawValue: name) else {
            throw MeraserError.badInput("\(file): prepend_scheme '\(name)' is not one of always, first, never")
        }
        guard addsPrefix != false || scheme == .never else {
            throw MeraserError.badInput("\(file): add_prefix_space false contradicts prepend_scheme '\(name)'")
        }
        self = scheme
    }
}

/// A pre-tokenizer of tokenizer.json: splits normalized text into the words inside which tokens merge.
enum PreTokenizer: Sendable {
    case metaspace(replacement: [UInt8], scheme: PrependScheme, split: Bool)

    /// The `pre_tokenizer` of tokenizer.json.
    init(_ json: JSONValue, file: String) throws {
        switch try json.string("type", in: file) {
        case "Metaspace":
            self = .metaspace(
                replacement: try TokenizerPattern.scalar(json, "replacement", file: file),
                scheme: try PrependScheme(json, file: file),
                split: try json.boolIfPresent("split", in: file) ?? true)
        case let type:
            throw TokenizerPattern.unsupported("pre_tokenizer", type, file: file)
        }
    }

    /// The words of a text; `isFirst`: the text begins the input.
    func callAsFunction(_ text: [UInt8], isFirst: Bool) -> [[UInt8]] {
        switch self {
        case .metaspace(let replacement, let scheme, let split):
            var text = UTF8Text.replacing(text, [0x20], with: replacement)
            guard !text.isEmpty else { return [] }
            if scheme == .always || scheme == .first && isFirst, !UTF8Text.has(text, replacement, at: 0) {
                text = replacement + text
            }
            guard split else { return [text] }
            // Every mark begins a new word.
            var words: [[UInt8]] = []
            var start = 0
            for i in 1..<max(1, text.count) where text[i] == replacement[0] && UTF8Text.has(text, replacement, at: i) {
                words.append(Array(text[start..<i]))
                start = i
            }
            words.append(Array(text[start...]))
            return words
        }
    }
}

/// What several components of tokenizer.json share.
enum TokenizerPattern {
    /// A `pattern` that is a literal string, not empty.
    static func literal(_ json: JSONValue, component: String, file: String) throws -> [UInt8] {
        if try json.value("pattern", "Regex", in: file) != nil {
            throw MeraserError.badInput(
                "\(file): \(component) of type '\(json["type"]?.string ?? "?")' with a Regex pattern is not supported yet"
            )
        }
        let pattern = try json.utf8("pattern", "String", in: file)
        guard !pattern.isEmpty else {
            throw MeraserError.badInput("\(file): \(component): 'pattern.String' is empty, expected some text")
        }
        return pattern
    }

    /// A member that is exactly one character, as its bytes.
    static func scalar(_ json: JSONValue, _ key: String, file: String) throws -> [UInt8] {
        let bytes = try json.utf8(key, in: file)
        guard let first = bytes.first, UTF8Text.length(first: first) == bytes.count else {
            throw MeraserError.badInput(
                "\(file): '\(key)' is '\(String(decoding: bytes, as: UTF8.self))', expected one character")
        }
        return bytes
    }

    /// The error for a component that meraser does not know.
    static func unsupported(_ component: String, _ type: String, file: String) -> MeraserError {
        .badInput("\(file): \(component) type '\(type)' is not supported yet")
    }
}
