import Base

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
            throw MeraserError.badInput("\(file): prepend_scheme \(quoted(name)) is not one of always, first, never")
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
    case split(TextPattern, SplitBehavior, isInverted: Bool)
    case digits(isIndividual: Bool)
    /// Spells bytes by characters, after splitting into GPT-2's words if there is a pattern.
    case byteLevel(TextPattern?, addsSpace: Bool)
    case sequence([PreTokenizer])
    case bert

    /// The `pre_tokenizer` of tokenizer.json.
    init(_ json: JSONValue, file: String) throws {
        var growth = TextGrowth(of: "pre_tokenizer", file: file)
        try self.init(json, &growth, file: file)
    }

    private init(_ json: JSONValue, _ growth: inout TextGrowth, file: String) throws {
        switch try json.string("type", in: file) {
        case "Metaspace":
            let replacement = try TokenizerPattern.scalar(json, "replacement", file: file)
            try growth.pay(factor: replacement.count, added: replacement.count)
            self = .metaspace(
                replacement: replacement,
                scheme: try PrependScheme(json, file: file),
                split: try json.boolIfPresent("split", in: file) ?? true)
        case "Sequence":
            var steps: [PreTokenizer] = []
            for step in try json.array("pretokenizers", in: file) {
                steps.append(try PreTokenizer(step, &growth, file: file))
            }
            self = .sequence(steps)
        case "Split":
            try growth.pay()
            self = .split(
                try TokenizerPattern.pattern(json, file: file), try SplitBehavior(json, file: file),
                isInverted: try json.boolIfPresent("invert", in: file) ?? false)
        case "Digits":
            try growth.pay()
            self = .digits(isIndividual: try json.boolIfPresent("individual_digits", in: file) ?? false)
        case "ByteLevel":
            // A byte becomes a character of one or two; a space before the text becomes two.
            try growth.pay(factor: 2, added: 2)
            let usesPattern = try json.boolIfPresent("use_regex", in: file) ?? true
            self = .byteLevel(
                usesPattern ? try TextPattern(ByteLevel.pattern, file: file) : nil,
                addsSpace: try json.boolIfPresent("add_prefix_space", in: file) ?? true)
        case "BertPreTokenizer":
            try growth.pay()
            self = .bert
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
        case .split(let pattern, let behavior, let isInverted):
            return behavior.pieces(of: text, matches: pattern.matches(in: text), isInverted: isInverted)
        case .digits(let isIndividual):
            let behavior: SplitBehavior = isIndividual ? .isolated : .contiguous
            return behavior.pieces(of: text, matches: Self.numbers(in: text), isInverted: false)
        case .byteLevel(let pattern, let addsSpace):
            let text = addsSpace && text.first != 0x20 ? [0x20] + text : text
            guard let pattern else { return [ByteLevel.spell(text)] }
            return SplitBehavior.isolated.pieces(of: text, matches: pattern.matches(in: text), isInverted: false)
                .map(ByteLevel.spell)
        case .bert:
            return BertWords.split(text)
        case .sequence(let steps):
            var words = [text]
            for step in steps {
                var isFirst = isFirst
                words = words.flatMap { word in
                    defer { isFirst = false }
                    return step(word, isFirst: isFirst)
                }
            }
            return words
        }
    }

    /// The numeric characters of a text, one by one.
    private static func numbers(in text: [UInt8]) -> [Range<Int>] {
        var found: [Range<Int>] = []
        var i = 0
        while i < text.count {
            let (scalar, length) = UTF8Text.scalar(text, at: i)
            if ScalarSet.number.contains(scalar) { found.append(i..<i + length) }
            i += length
        }
        return found
    }
}

/// What a split does with the matches of its pattern and the text between them.
enum SplitBehavior: String, Sendable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"

    /// `behavior` of a Split object.
    init(_ json: JSONValue, file: String) throws {
        let name = try json.string("behavior", in: file)
        guard let behavior = SplitBehavior(rawValue: name) else {
            throw MeraserError.badInput(
                "\(file): pre_tokenizer Split has behavior \(quoted(name)), expected Removed, Isolated, MergedWithPrevious, "
                    + "MergedWithNext or Contiguous")
        }
        self = behavior
    }

    /// The pieces of a text that is cut at matches, in order and not empty. Inverted: the text between the matches
    /// counts as matched instead.
    func pieces(of text: [UInt8], matches: [Range<Int>], isInverted: Bool) -> [[UInt8]] {
        var spans: [(range: Range<Int>, isMatch: Bool)] = []
        var end = 0
        for match in matches {
            if end < match.lowerBound { spans.append((end..<match.lowerBound, isInverted)) }
            spans.append((match, !isInverted))
            end = match.upperBound
        }
        if end < text.count { spans.append((end..<text.count, isInverted)) }
        var pieces: [Range<Int>] = []
        var wasMatch: Bool?
        for span in spans {
            let joins =
                switch self {
                case .removed, .isolated: false
                case .mergedWithPrevious: span.isMatch && wasMatch == false
                case .mergedWithNext: !span.isMatch && wasMatch == true
                case .contiguous: span.isMatch == wasMatch
                }
            wasMatch = span.isMatch
            if self == .removed, span.isMatch { continue }
            if joins, let last = pieces.popLast() {
                pieces.append(last.lowerBound..<span.range.upperBound)
            } else {
                pieces.append(span.range)
            }
        }
        return pieces.map { Array(text[$0]) }
    }
}
