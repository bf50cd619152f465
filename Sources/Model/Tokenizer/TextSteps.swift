import Base
import Foundation

/// A normalizer of tokenizer.json: what happens to a text before it is split into words.
enum Normalizer: Sendable {
    case prepend([UInt8])
    case replace([UInt8], [UInt8])
    case sequence([Normalizer])
    case unicode(UnicodeForm)
    case bert(BertNormalizer)
    case lowercase
    case stripAccents

    /// The `normalizer` of tokenizer.json.
    init(_ json: JSONValue, file: String) throws {
        var growth = TextGrowth(of: "normalizer", file: file)
        try self.init(json, &growth, file: file)
    }

    private init(_ json: JSONValue, _ growth: inout TextGrowth, file: String) throws {
        switch try json.string("type", in: file) {
        case "Sequence":
            var steps: [Normalizer] = []
            for step in try json.array("normalizers", in: file) {
                steps.append(try Normalizer(step, &growth, file: file))
            }
            self = .sequence(steps)
        case "Prepend":
            let prefix = try json.utf8("prepend", in: file)
            try growth.pay(added: prefix.count)
            self = .prepend(prefix)
        case "Replace":
            let pattern = try TokenizerPattern.literal(json, component: "normalizer", file: file)
            let content = try json.utf8("content", in: file)
            try growth.pay(replacing: pattern, with: content)
            self = .replace(pattern, content)
        case "BertNormalizer":
            // Decomposing makes up to 3 bytes of one, spaces go around ideographs of 3.
            try growth.pay(factor: 5)
            self = .bert(try BertNormalizer(json, file: file))
        case "Lowercase":
            try growth.pay(factor: 2)
            self = .lowercase
        case "StripAccents":
            try growth.pay()
            self = .stripAccents
        case let type:
            guard let form = UnicodeForm(rawValue: type) else {
                throw TokenizerPattern.unsupported("normalizer", type, file: file)
            }
            try growth.pay(factor: form.mostBytes)
            self = .unicode(form)
        }
    }

    /// The normalized text.
    func callAsFunction(_ text: [UInt8]) -> [UInt8] {
        switch self {
        case .prepend(let prefix): text.isEmpty ? text : prefix + text
        case .replace(let pattern, let content): UTF8Text.replacing(text, pattern, with: content)
        case .sequence(let steps): steps.reduce(text) { $1($0) }
        case .unicode(let form): form(text)
        case .bert(let normalizer): normalizer(text)
        case .lowercase: BertNormalizer.lowercasing(text)
        case .stripAccents: BertNormalizer.strippingMarks(text)
        }
    }
}

/// Unicode's normalization forms (UAX 15), by the names that tokenizer.json gives them.
enum UnicodeForm: String, Sendable {
    case composed = "NFC"
    case decomposed = "NFD"
    case compatiblyComposed = "NFKC"
    case compatiblyDecomposed = "NFKD"

    /// The most bytes of UTF-8 that it makes out of one (UAX 15, table 5).
    var mostBytes: Int {
        switch self {
        case .composed, .decomposed: 3
        case .compatiblyComposed, .compatiblyDecomposed: 11
        }
    }

    /// The text in that form.
    func callAsFunction(_ text: [UInt8]) -> [UInt8] {
        // All forms leave ASCII as it is.
        guard text.contains(where: { $0 >= 0x80 }) else { return text }
        let string = String(decoding: text, as: UTF8.self)
        return switch self {
        case .composed: Array(string.precomposedStringWithCanonicalMapping.utf8)
        case .decomposed: Array(string.decomposedStringWithCanonicalMapping.utf8)
        case .compatiblyComposed: Array(string.precomposedStringWithCompatibilityMapping.utf8)
        case .compatiblyDecomposed: Array(string.decomposedStringWithCompatibilityMapping.utf8)
        }
    }
}

/// What several components of tokenizer.json share.
enum TokenizerPattern {
    /// A `pattern` that is a literal string, not empty.
    static func literal(_ json: JSONValue, component: String, file: String) throws -> [UInt8] {
        if try json.value("pattern", "Regex", in: file) != nil {
            throw MeraserError.badInput(
                "\(file): \(component) of type \(quoted(json["type"]?.string ?? "?")) with a Regex pattern is not supported yet"
            )
        }
        let pattern = try json.utf8("pattern", "String", in: file)
        guard !pattern.isEmpty else {
            throw MeraserError.badInput("\(file): \(component): 'pattern.String' is empty, expected some text")
        }
        return pattern
    }

    /// A `pattern` that is a regular expression or a literal string.
    static func pattern(_ json: JSONValue, file: String) throws -> TextPattern {
        if let source = try json.value("pattern", "Regex", in: file)?.string {
            return try TextPattern(source, file: file)
        }
        let literal = try literal(json, component: "pre_tokenizer", file: file)
        return TextPattern(literal: String(decoding: literal, as: UTF8.self))
    }

    /// A member that is exactly one character, as its bytes.
    static func scalar(_ json: JSONValue, _ key: String, file: String) throws -> [UInt8] {
        let bytes = try json.utf8(key, in: file)
        guard let first = bytes.first, UTF8Text.length(first: first) == bytes.count else {
            throw MeraserError.badInput(
                "\(file): '\(key)' is \(quoted(bytes)), expected one character")
        }
        return bytes
    }

    /// The error for a component that meraser does not know.
    static func unsupported(_ component: String, _ type: String, file: String) -> MeraserError {
        .badInput("\(file): \(component) type \(quoted(type)) is not supported yet")
    }
}
