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
