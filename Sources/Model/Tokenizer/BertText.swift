import Base

/// BERT's normalizer: cleans a text, sets CJK characters apart, strips accents, lowers case, in this order.
struct BertNormalizer: Sendable, Equatable {
    /// Controls go, white space becomes a blank.
    var cleansText = true
    /// A blank on both sides of every CJK ideograph.
    var spacesIdeographs = true
    /// Nonspacing marks of the decomposed text go; nil: as `lowersCase` says.
    var stripsAccents: Bool?
    var lowersCase = true

    /// What bert-base-uncased has.
    init() {}

    /// The object of tokenizer.json.
    init(_ json: JSONValue, file: String) throws {
        cleansText = try json.boolIfPresent("clean_text", in: file) ?? true
        spacesIdeographs = try json.boolIfPresent("handle_chinese_chars", in: file) ?? true
        stripsAccents = try json.boolIfPresent("strip_accents", in: file)
        lowersCase = try json.boolIfPresent("lowercase", in: file) ?? true
    }

    /// The normalized text.
    func callAsFunction(_ text: [UInt8]) -> [UInt8] {
        var text = text
        if cleansText || spacesIdeographs { text = Self.mapping(text, spaced) }
        if stripsAccents ?? lowersCase { text = Self.strippingMarks(UnicodeForm.decomposed(text)) }
        return lowersCase ? Self.lowercasing(text) : text
    }

    private func spaced(_ scalar: Unicode.Scalar, into result: inout [UInt8]) -> Bool {
        if cleansText {
            if Self.isRemoved(scalar) { return true }
            if scalar.properties.isWhitespace {
                result.append(0x20)
                return true
            }
        }
        guard spacesIdeographs, Self.isIdeograph(scalar) else { return false }
        result.append(0x20)
        result.append(contentsOf: String(scalar).utf8)
        result.append(0x20)
        return true
    }

    /// The text without nonspacing marks; characters that hold one keep it unless the text is decomposed before.
    static func strippingMarks(_ text: [UInt8]) -> [UInt8] {
        mapping(text) { scalar, _ in
            scalar.properties.generalCategory == .nonspacingMark && scalar.isInUnicode8
        }
    }

    /// Every character for itself: no final sigma.
    static func lowercasing(_ text: [UInt8]) -> [UInt8] {
        mapping(text) { scalar, result in
            if scalar.isASCII {
                guard (0x41...0x5A).contains(scalar.value) else { return false }
                result.append(UInt8(scalar.value | 0x20))
            } else {
                result.append(contentsOf: scalar.properties.lowercaseMapping.utf8)
            }
            return true
        }
    }

    /// The text with the scalars replaced for which `replace` returns true after it has appended what stands for them.
    private static func mapping(
        _ text: [UInt8], _ replace: (Unicode.Scalar, inout [UInt8]) -> Bool
    ) -> [UInt8] {
        var result: [UInt8] = []
        result.reserveCapacity(text.count + text.count / 4)
        var i = 0
        while i < text.count {
            let (scalar, length) = UTF8Text.scalar(text, at: i)
            if !replace(scalar, &result) { result.append(contentsOf: text[i..<i + length]) }
            i += length
        }
        return result
    }

    private static func isRemoved(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09, 0x0A, 0x0D: return false
        case 0x00, 0xFFFD: return true
        case 0x20..<0x7F: return false
        default: break
        }
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse: return scalar.isInUnicode8
        default: return false
        }
    }

    /// CJK Unified Ideographs and their extensions, as BERT's own list has them.
    private static func isIdeograph(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x2_0000...0x2_A6DF, 0x2_A700...0x2_B73F, 0x2_B740...0x2_B81F,
            0x2_B920...0x2_CEAF, 0xF900...0xFAFF, 0x2_F800...0x2_FA1F:
            true
        default: false
        }
    }
}

/// BERT's words: runs without white space, every punctuation mark a word of its own.
enum BertWords {
    /// The words of a text.
    static func split(_ text: [UInt8]) -> [[UInt8]] {
        var words: [[UInt8]] = []
        var start = 0
        var i = 0
        func end(_ range: Range<Int>) {
            if !range.isEmpty { words.append(Array(text[range])) }
        }
        while i < text.count {
            let (scalar, length) = UTF8Text.scalar(text, at: i)
            let isSpace = scalar.properties.isWhitespace
            if isSpace || isPunctuation(scalar) {
                end(start..<i)
                if !isSpace { end(i..<i + length) }
                start = i + length
            }
            i += length
        }
        end(start..<text.count)
        return words
    }

    /// Unicode's punctuation, and of ASCII everything that is neither letter, digit, blank nor control.
    private static func isPunctuation(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: return true
        case 0..<0x80: return false
        case 0x166D, 0x1_11C9: return true  // were punctuation in Unicode 8
        default: break
        }
        switch scalar.properties.generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
            .finalPunctuation, .otherPunctuation:
            return scalar.isInUnicode8
        default: return false
        }
    }
}

extension Unicode.Scalar {
    /// `tokenizers` takes categories from tables of Unicode 8: to BERT, later characters have none.
    fileprivate var isInUnicode8: Bool { (properties.age?.major ?? 0) <= 8 }
}
