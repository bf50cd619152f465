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

    /// Normalizes a text.
    func apply(to text: inout NormalizedText) {
        if cleansText || spacesIdeographs { text.map(spaced) }
        if stripsAccents ?? lowersCase {
            text.bytes = UnicodeForm.decomposed(text.bytes)
            text.map { scalar, _ in
                scalar.generalCategory(unicode: UnicodeTables.categories) == .nonspacingMark
            }
        }
        if lowersCase { Self.lowercase(&text) }
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

    /// Every character for itself: no final sigma.
    static func lowercase(_ text: inout NormalizedText) {
        text.map { scalar, result in
            if scalar.isASCII {
                guard (0x41...0x5A).contains(scalar.value) else { return false }
                result.append(UInt8(scalar.value | 0x20))
            } else {
                result.append(contentsOf: scalar.properties.lowercaseMapping.utf8)
            }
            return true
        }
    }

    private static func isRemoved(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09, 0x0A, 0x0D: return false
        case 0x00, 0xFFFD: return true
        case 0x20..<0x7F: return false
        default: break
        }
        switch scalar.generalCategory(unicode: UnicodeTables.categories) {
        case .control, .format, .surrogate, .privateUse: return true
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
