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
    /// Every character of a set is a match.
    case characters(ScalarSet, SplitBehavior)
    /// Spells bytes by characters, after splitting into GPT-2's words if there is a pattern.
    case byteLevel(TextPattern?, addsSpace: Bool)
    /// Pieces of that many characters.
    case fixedLength(Int)
    case sequence([PreTokenizer])

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
                try TokenizerPattern.pattern(json, component: "pre_tokenizer", file: file),
                try SplitBehavior(json, file: file), isInverted: try json.boolIfPresent("invert", in: file) ?? false)
        case "Digits":
            try growth.pay()
            let isIndividual = try json.boolIfPresent("individual_digits", in: file) ?? false
            self = .characters(.number, isIndividual ? .isolated : .contiguous)
        case "Punctuation":
            try growth.pay()
            let behavior = try json.value("behavior", in: file).map { _ in try SplitBehavior(json, file: file) }
            self = .characters(.punctuation, behavior ?? .isolated)
        case "Whitespace":
            try growth.pay()
            self = .split(try TextPattern(#"\w+|[^\w\s]+"#, word: .rustWord, file: file), .removed, isInverted: true)
        case "WhitespaceSplit":
            try growth.pay()
            self = .characters(.whitespace, .removed)
        case "CharDelimiterSplit":
            try growth.pay()
            let delimiter = try TokenizerPattern.scalar(json, "delimiter", file: file)
            self = .split(TextPattern(literal: String(decoding: delimiter, as: UTF8.self)), .removed, isInverted: false)
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
        case "FixedLength":
            try growth.pay()
            let length = try json.intIfPresent("length", in: file) ?? 5
            guard length > 0 else {
                throw MeraserError.badInput(
                    "\(file): pre_tokenizer FixedLength has length \(length), expected 1 or more")
            }
            self = .fixedLength(length)
        case let type:
            throw TokenizerPattern.unsupported("pre_tokenizer", type, file: file)
        }
    }

    /// BERT's words: runs without white space, every punctuation mark a word of its own.
    static let bert = PreTokenizer.sequence([.characters(.whitespace, .removed), .characters(.punctuation, .isolated)])

    /// Cuts the words of a text.
    func callAsFunction(_ text: inout CutText) {
        switch self {
        case .sequence(let steps):
            for step in steps { step(&text) }
        case .split(let pattern, let behavior, let isInverted):
            pattern.cut(&text, behavior, isInverted: isInverted)
        case .characters(let set, let behavior):
            text.cut { word, bytes, sink in
                var cutter = MatchCutter(word, behavior, isInverted: false)
                var i = word.start
                while i < word.end {
                    let (isMember, length) = set.contains(bytes, at: i)
                    if isMember { cutter.match(i, i + length, to: &sink) }
                    i += length
                }
                cutter.finish(to: &sink)
            }
        case .metaspace(let mark, let scheme, let split):
            text.rewrite { word, bytes, result in
                let hasMark = UTF8Text.has(bytes, mark, at: word.start) || bytes[word.start] == 0x20
                if !hasMark, scheme == .always || scheme == .first && word.isFirst { result.append(contentsOf: mark) }
                for i in word.range {
                    if bytes[i] == 0x20 { result.append(contentsOf: mark) } else { result.append(bytes[i]) }
                }
            }
            guard split else { return }
            // Every mark begins a new word.
            text.cut { word, bytes, sink in
                var start = word.start
                for i in word.range where i > start && bytes[i] == mark[0] && UTF8Text.has(bytes, mark, at: i) {
                    sink.add(start, i, of: word)
                    start = i
                }
                sink.add(start, word.end, of: word)
            }
        case .byteLevel(let pattern, let addsSpace):
            if addsSpace {
                text.rewrite { word, bytes, result in
                    if bytes[word.start] != 0x20 { result.append(0x20) }
                    result.append(contentsOf: bytes[word.range])
                }
            }
            pattern?.cut(&text, .isolated, isInverted: false)
            text.rewrite { word, bytes, result in
                for i in word.range { ByteLevel.spell(bytes[i], into: &result) }
            }
        case .fixedLength(let length):
            text.cut { word, bytes, sink in
                var start = word.start
                var count = 0
                for i in word.range where bytes[i] & 0xC0 != 0x80 {
                    if count == length {
                        sink.add(start, i, of: word)
                        (start, count) = (i, 0)
                    }
                    count += 1
                }
                sink.add(start, word.end, of: word)
            }
        }
    }
}
