import Base
import Foundation

/// A text while it is normalized.
struct NormalizedText {
    /// Valid UTF-8.
    var bytes: [UInt8]
    /// False if the first character that was there is gone: then the text does not begin the input any more.
    var hasStart = true

    /// The text with the scalars replaced for which `replace` returns true after it has appended what stands for them:
    /// nothing, to remove them.
    mutating func map(_ replace: (Unicode.Scalar, inout [UInt8]) -> Bool) {
        var result: [UInt8] = []
        result.reserveCapacity(bytes.count + bytes.count / 4)
        var i = 0
        bytes.withUnsafeBufferPointer { text in
            while i < text.count {
                let (scalar, length) = UTF8Text.scalar(text, at: i)
                if !replace(scalar, &result) {
                    for j in i..<i + length { result.append(text[j]) }
                } else if i == 0, result.isEmpty {
                    hasStart = false
                }
                i += length
            }
        }
        bytes = result
    }
}

/// A normalizer of tokenizer.json: what happens to a text before it is split into words.
enum Normalizer: Sendable {
    case prepend([UInt8])
    case replace(TextReplacement)
    case sequence([Normalizer])
    case unicode(UnicodeForm)
    case bert(BertNormalizer)
    case lowercase
    case stripAccents
    case strip(left: Bool, right: Bool)
    /// SentencePiece's cleaning for translation: controls go, all kinds of white space become a space.
    case nmt
    case characterMap(CharacterMap)
    case byteLevel

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
            self = .replace(try TextReplacement(json, component: "normalizer", &growth, file: file))
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
        case "Strip":
            try growth.pay()
            self = .strip(
                left: try json.boolIfPresent("strip_left", in: file) ?? true,
                right: try json.boolIfPresent("strip_right", in: file) ?? true)
        case "Nmt":
            try growth.pay()
            self = .nmt
        case "Precompiled":
            let map = try CharacterMap(base64: json.string("precompiled_charsmap", in: file), file: file)
            try growth.pay(factor: map.growth)
            self = .characterMap(map)
        case "ByteLevel":
            try growth.pay(factor: 2)
            self = .byteLevel
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
        var text = NormalizedText(bytes: text)
        apply(to: &text)
        return text.bytes
    }

    /// Normalizes a text.
    func apply(to text: inout NormalizedText) {
        switch self {
        case .prepend(let prefix): if !text.bytes.isEmpty { text.bytes = prefix + text.bytes }
        case .replace(let replacement): replacement.apply(to: &text)
        case .sequence(let steps): for step in steps { step.apply(to: &text) }
        case .unicode(let form): text.bytes = form(text.bytes)
        case .bert(let normalizer): normalizer.apply(to: &text)
        case .lowercase: BertNormalizer.lowercase(&text)
        case .stripAccents:
            text.map { scalar, _ in
                switch scalar.generalCategory(unicode: UnicodeTables.forms) {
                case .nonspacingMark, .spacingMark, .enclosingMark: true
                default: false
                }
            }
        case .strip(let left, let right): Self.strip(&text, left, right)
        case .nmt: text.map(Self.cleaned)
        case .characterMap(let map): map.apply(to: &text)
        case .byteLevel: text.bytes = ByteLevel.spell(text.bytes)
        }
    }

    private static func strip(_ text: inout NormalizedText, _ left: Bool, _ right: Bool) {
        let bytes = text.bytes
        var start = 0
        var end = bytes.count
        while left, start < end {
            let (scalar, length) = UTF8Text.scalar(bytes, at: start)
            guard scalar.properties.isWhitespace else { break }
            start += length
        }
        while right, end > start {
            let (scalar, length) = UTF8Text.scalar(bytes, before: end)
            guard scalar.properties.isWhitespace else { break }
            end -= length
        }
        if start > 0 { text.hasStart = false }
        if end - start < bytes.count { text.bytes = Array(bytes[start..<end]) }
    }

    private static func cleaned(_ scalar: Unicode.Scalar, _ result: inout [UInt8]) -> Bool {
        switch scalar.value {
        case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: return true
        case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD:
            result.append(0x20)
            return true
        default: return false
        }
    }
}

/// Puts one text in the place of what a pattern matches.
struct TextReplacement: Sendable {
    private enum Pattern: Sendable {
        case text([UInt8])
        case pattern(TextPattern)
    }

    private let pattern: Pattern
    private let content: [UInt8]

    /// A `Replace` object of tokenizer.json.
    init(_ json: JSONValue, component: String, _ growth: inout TextGrowth, file: String) throws {
        content = try json.utf8("content", in: file)
        if let source = try json.value("pattern", "Regex", in: file) {
            guard let source = source.string else {
                throw MeraserError.badInput(
                    "\(file): \(component): 'pattern.Regex' is \(source.kind), expected a string")
            }
            // An empty match stands before every character, and at the end.
            try growth.pay(factor: content.count + 1, added: content.count)
            let found = try TextPattern(source, component: component, file: file)
            guard component != "normalizer" || !found.mayBeEmpty else {
                throw MeraserError.badInput(
                    "\(file): normalizer Replace: the pattern \(quoted(source)) may match no character; `tokenizers` ends in errors "
                        + "then")
            }
            pattern = .pattern(found)
        } else {
            let text = try TokenizerPattern.literal(json, component: component, file: file)
            try growth.pay(replacing: text, with: content)
            pattern = .text(text)
        }
    }

    /// Puts the content in the place of a text.
    init(_ text: [UInt8], with content: [UInt8]) {
        pattern = .text(text)
        self.content = content
    }

    /// A text without marks: what a token stands for.
    func callAsFunction(_ text: [UInt8]) -> [UInt8] {
        switch pattern {
        case .text(let literal): return UTF8Text.replacing(text, literal, with: content)
        case .pattern(let pattern):
            guard !text.isEmpty else { return text }
            var result: [UInt8] = []
            var end = 0
            for match in pattern.matches(in: text) {
                result.append(contentsOf: text[end..<match.lowerBound])
                result.append(contentsOf: content)
                end = match.upperBound
            }
            result.append(contentsOf: text[end...])
            return result
        }
    }

    /// True if it replaces one character: then a text may come in pieces.
    var isOfOneCharacter: Bool {
        if case .text(let text) = pattern { return UTF8Text.length(first: text[0]) == text.count }
        return false
    }

    func apply(to text: inout NormalizedText) {
        let first = text.bytes.first
        text.bytes = self(text.bytes)
        if content.isEmpty, first != text.bytes.first { text.hasStart = false }
    }
}

/// What several components of tokenizer.json share.
enum TokenizerPattern {
    /// A `pattern` that is a literal string, not empty.
    static func literal(_ json: JSONValue, component: String, file: String) throws -> [UInt8] {
        let pattern = try json.utf8("pattern", "String", in: file)
        guard !pattern.isEmpty else {
            throw MeraserError.badInput("\(file): \(component): 'pattern.String' is empty, expected some text")
        }
        return pattern
    }

    /// A `pattern` that is a regular expression or a literal string.
    static func pattern(_ json: JSONValue, component: String, file: String) throws -> TextPattern {
        if let source = try json.value("pattern", "Regex", in: file)?.string {
            return try TextPattern(source, component: component, file: file)
        }
        let literal = try literal(json, component: component, file: file)
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
