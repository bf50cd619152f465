/// A set of Unicode scalars, as a character class of a pattern names it.
struct ScalarSet: Sendable, Equatable {
    /// Its part of U+0000 to U+007F.
    struct ASCII: Sendable, Equatable {
        fileprivate var low: UInt64 = 0
        fileprivate var high: UInt64 = 0

        /// All of them.
        static let all = ASCII(low: .max, high: .max)

        /// True if the set has that byte, which is below 0x80.
        @inline(__always)
        func contains(_ byte: UInt8) -> Bool {
            (byte < 64 ? low : high) &>> UInt64(byte & 63) & 1 == 1
        }

        /// Adds another set's.
        mutating func formUnion(_ other: ASCII) {
            low |= other.low
            high |= other.high
        }
    }

    /// Membership of U+0000 to U+007F.
    private(set) var ascii = ASCII()
    /// Rising, with gaps between them.
    private var ranges: [ClosedRange<UInt32>]
    /// A bit for each general category.
    private var categories: UInt32 = 0
    /// Negated sets that belong to it, each once; there are few.
    private var parts: [ScalarSet] = []
    private var isNegated = false
    /// The version of Unicode that the categories are of.
    private var version = UnicodeTables.patterns

    /// The scalars of those ranges and general categories, and of other sets.
    init(
        ranges: [ClosedRange<UInt32>] = [], categories: [Unicode.GeneralCategory] = [], parts: [ScalarSet] = [],
        isNegated: Bool = false, unicode version: Int = UnicodeTables.patterns
    ) {
        self.version = version
        var all = ranges
        for category in categories { self.categories |= 1 << category.bit }
        for part in parts {
            if part.isNegated || part.version != version {
                if !self.parts.contains(part) { self.parts.append(part) }
            } else {
                all += part.ranges
                self.categories |= part.categories
                for inner in part.parts where !self.parts.contains(inner) { self.parts.append(inner) }
            }
        }
        self.ranges = Self.merged(all)
        self.isNegated = isNegated
        for code in UInt8(0)..<128 {
            guard isMember(Unicode.Scalar(code)) else { continue }
            if code < 64 { ascii.low |= 1 << UInt64(code) } else { ascii.high |= 1 << UInt64(code - 64) }
        }
    }

    private static func merged(_ ranges: [ClosedRange<UInt32>]) -> [ClosedRange<UInt32>] {
        var result: [ClosedRange<UInt32>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = result.last, range.lowerBound <= last.upperBound {
                result[result.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        return result
    }

    /// All other scalars.
    var inverted: ScalarSet { ScalarSet(parts: [self], isNegated: true, unicode: version) }

    /// The scalars that both sets have.
    func intersection(_ other: ScalarSet) -> ScalarSet { ScalarSet(parts: [inverted, other.inverted]).inverted }

    /// True if the set has the scalar that begins at `i`, with its length.
    @inline(__always)
    func contains(_ text: UnsafeBufferPointer<UInt8>, at i: Int) -> (isMember: Bool, length: Int) {
        let byte = text[i]
        if byte < 0x80 { return (ascii.contains(byte), 1) }
        let (scalar, length) = UTF8Text.scalar(text, at: i)
        return (isMember(scalar), length)
    }

    func contains(_ scalar: Unicode.Scalar) -> Bool {
        scalar.isASCII ? ascii.contains(UInt8(truncatingIfNeeded: scalar.value)) : isMember(scalar)
    }

    private func isMember(_ scalar: Unicode.Scalar) -> Bool {
        let isListed =
            isInRanges(scalar.value)
            || categories != 0 && categories >> scalar.generalCategory(unicode: version).bit & 1 == 1
            || parts.contains { $0.contains(scalar) }
        return isListed != isNegated
    }

    /// By bisection: a class may list thousands of ranges.
    private func isInRanges(_ code: UInt32) -> Bool {
        var low = 0
        var high = ranges.count
        while low < high {
            let middle = (low + high) / 2
            if ranges[middle].upperBound < code { low = middle + 1 } else { high = middle }
        }
        return low < ranges.count && ranges[low].lowerBound <= code
    }
}

extension ScalarSet {
    /// `\s`: the White_Space property, which is U+0009 to U+000D, U+0085 and the separators of all kinds.
    static let whitespace = ScalarSet(
        ranges: [0x09...0x0D, 0x85...0x85],
        categories: [.spaceSeparator, .lineSeparator, .paragraphSeparator])
    /// `\d`.
    static let digit = ScalarSet(categories: [.decimalNumber])
    /// `\w`, as Oniguruma has it in brackets: letters, marks, decimal digits, connecting punctuation, and the numbers and symbols that
    /// are alphabetic.
    static let word = ScalarSet(
        ranges: [
            0x16EE...0x16F0, 0x2160...0x2188, 0x24B6...0x24E9, 0x3007...0x3007, 0x3021...0x3029, 0x3038...0x303A,
            0xA6E6...0xA6EF, 0x1_0140...0x1_0174, 0x1_0341...0x1_0341, 0x1_034A...0x1_034A, 0x1_03D1...0x1_03D5,
            0x1_2400...0x1_246E, 0x1_F130...0x1_F149, 0x1_F150...0x1_F169, 0x1_F170...0x1_F189,
        ], categories: ["L", "M", "Nd", "Pc"].flatMap { Unicode.GeneralCategory.named($0) ?? [] })
    /// `\w` outside of brackets and what `\b` looks at: there Oniguruma takes Latin-1's small numbers for letters.
    static let looseWord = ScalarSet(ranges: [0xB2...0xB3, 0xB9...0xB9, 0xBC...0xBE], parts: [word])
    /// `\w`, as Rust's `regex` has it (UTS 18 annex C): Oniguruma's, and joiners.
    static let rustWord = ScalarSet(ranges: [0x200C...0x200D], parts: [word])
    /// `\h`: hexadecimal digits.
    static let hexadecimal = ScalarSet(ranges: [0x30...0x39, 0x41...0x46, 0x61...0x66])
    /// Digits and all other numbers: Rust's `char::is_numeric`.
    static let number = ScalarSet(
        categories: Unicode.GeneralCategory.named("N") ?? [], unicode: UnicodeTables.rust)
    /// Rust's `is_ascii_punctuation` and `unicode_categories`' punctuation: everything in ASCII that is neither letter,
    /// digit, blank nor control, and Unicode 8's punctuation beyond.
    static let punctuation = ScalarSet(
        ranges: [0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E, 0x166D...0x166D, 0x1_11C9...0x1_11C9],
        categories: Unicode.GeneralCategory.named("P") ?? [], unicode: UnicodeTables.categories)

    /// `\p{…}` of a general category such as `L`, `Lu` or `Letter`; nil for a name that is none.
    init?(property name: String) {
        guard let categories = Unicode.GeneralCategory.named(name) else { return nil }
        self.init(categories: categories)
    }

    /// One scalar, or all that equal it without regard to case: of ASCII letters also U+017F (s) and U+212A (k).
    init(scalar: UInt32, ignoringCase: Bool) {
        var ranges = [scalar...scalar]
        if ignoringCase, let letter = Unicode.Scalar(scalar), letter.properties.isCased {
            for text in [letter.properties.lowercaseMapping, letter.properties.uppercaseMapping] {
                let scalars = Array(text.unicodeScalars)
                if scalars.count == 1 { ranges.append(scalars[0].value...scalars[0].value) }
            }
            switch scalar | 0x20 {
            case 0x73: ranges.append(0x17F...0x17F)
            case 0x6B: ranges.append(0x212A...0x212A)
            default: break
            }
        }
        self.init(ranges: ranges)
    }
}

extension Unicode.GeneralCategory {
    /// The categories by the two letters that Unicode gives them, with the long names of the one-letter groups.
    private static let codes: [(code: String, category: Unicode.GeneralCategory)] = [
        ("Lu", .uppercaseLetter), ("Ll", .lowercaseLetter), ("Lt", .titlecaseLetter), ("Lm", .modifierLetter),
        ("Lo", .otherLetter), ("Mn", .nonspacingMark), ("Mc", .spacingMark), ("Me", .enclosingMark),
        ("Nd", .decimalNumber), ("Nl", .letterNumber), ("No", .otherNumber), ("Pc", .connectorPunctuation),
        ("Pd", .dashPunctuation), ("Ps", .openPunctuation), ("Pe", .closePunctuation), ("Pi", .initialPunctuation),
        ("Pf", .finalPunctuation), ("Po", .otherPunctuation), ("Sm", .mathSymbol), ("Sc", .currencySymbol),
        ("Sk", .modifierSymbol), ("So", .otherSymbol), ("Zs", .spaceSeparator), ("Zl", .lineSeparator),
        ("Zp", .paragraphSeparator), ("Cc", .control), ("Cf", .format), ("Cs", .surrogate), ("Co", .privateUse),
        ("Cn", .unassigned),
    ]
    private static let longNames = [
        "Letter": "L", "Mark": "M", "Number": "N", "Punctuation": "P", "Symbol": "S", "Separator": "Z", "Other": "C",
    ]

    /// The categories of a name such as `L`, `Lu` or `Letter`, or nil.
    static func named(_ name: String) -> [Unicode.GeneralCategory]? {
        let prefix = longNames[name] ?? name
        let found = codes.filter { $0.code == prefix || prefix.count == 1 && $0.code.hasPrefix(prefix) }
        return found.isEmpty ? nil : found.map(\.category)
    }

    /// The bit that stands for it in a set.
    fileprivate var bit: UInt32 {
        switch self {
        case .uppercaseLetter: 0
        case .lowercaseLetter: 1
        case .titlecaseLetter: 2
        case .modifierLetter: 3
        case .otherLetter: 4
        case .nonspacingMark: 5
        case .spacingMark: 6
        case .enclosingMark: 7
        case .decimalNumber: 8
        case .letterNumber: 9
        case .otherNumber: 10
        case .connectorPunctuation: 11
        case .dashPunctuation: 12
        case .openPunctuation: 13
        case .closePunctuation: 14
        case .initialPunctuation: 15
        case .finalPunctuation: 16
        case .otherPunctuation: 17
        case .mathSymbol: 18
        case .currencySymbol: 19
        case .modifierSymbol: 20
        case .otherSymbol: 21
        case .spaceSeparator: 22
        case .lineSeparator: 23
        case .paragraphSeparator: 24
        case .control: 25
        case .format: 26
        case .surrogate: 27
        case .privateUse: 28
        case .unassigned: 29
        @unknown default: 30
        }
    }
}
