// `tokenizers` takes what Unicode says about characters from tables of several ages; later characters have no properties
// there. Swift's tables are younger than all of them.
extension Unicode.Scalar {
    /// True for a character that Unicode had in that version, and for what is no character yet.
    func isIn(unicode version: Int) -> Bool { (properties.age?.major ?? 0) <= version }

    /// The general category in a version of Unicode: `unassigned` for later characters.
    func generalCategory(unicode version: Int) -> Unicode.GeneralCategory {
        let category = properties.generalCategory
        switch value {
        // Characters that are as old as any table, and many.
        case 0..<0x200, 0x4E00..<0x9FA6, 0xAC00..<0xD7A4: return category
        // Characters that have moved since the older of the versions that are asked for: 8 and 9.
        case 0x1885...0x1886: return version < 9 ? .otherLetter : category
        case 0x1734, 0x1171E: return version < 10 ? .nonspacingMark : category
        case 0x1CF2...0x1CF3, 0xA9BD: return version < 10 ? .spacingMark : category
        case 0x111C9: return version < 10 ? .otherPunctuation : category
        default: return isIn(unicode: version) ? category : .unassigned
        }
    }
}

/// Which version of Unicode the parts of `tokenizers` 0.22 know.
enum UnicodeTables {
    /// Oniguruma and Rust's `regex`: patterns, `\w` of added tokens.
    static let patterns = 16
    /// `unicode_categories`: BERT's classes and punctuation.
    static let categories = 8
    /// `unicode_normalization_alignments`: normalization forms, combining marks.
    static let forms = 9
    /// Rust's own: numbers, white space, lower case.
    static let rust = 17
}
