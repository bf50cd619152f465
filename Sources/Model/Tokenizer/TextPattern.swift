/// A compiled pattern of tokenizer.json: the part of regular expressions that published tokenizers use, matched over
/// the scalars of UTF-8 text as Oniguruma does (leftmost, first alternative that succeeds).
///
/// The work of all matches of a text is at most proportional to its length times that of the pattern (`TextMatcher`).
struct TextPattern: Sendable {
    /// How a repetition gives back what it took.
    enum Greed: Sendable {
        case greedy
        case lazy
        case possessive
    }

    /// One step of a program. Sets are named by their place in the program's list: instructions own nothing.
    enum Instruction: Sendable {
        /// One scalar of a set.
        case scalar(Int)
        /// Scalars of a set, as many as there are; gives them back one by one.
        case star(Int)
        /// One scalar of a set, which is kept; where there is none, goes on at `orElse`.
        case takeIf(Int, orElse: Int)
        /// Goes on at the first address; if that fails, at the second.
        case split(Int, Int)
        case jump(Int)
        /// Goes on at `next` if the instructions from the next one to their `accept` match here, or do not.
        case look(next: Int, isNegated: Bool)
        case accept
    }

    /// Instructions with the sets that they name.
    struct Program: Sendable {
        var instructions: [Instruction] = []
        var sets: [ScalarSet] = []

        /// The place of a set, which is added if it is new.
        mutating func place(of set: ScalarSet) -> Int {
            if let place = sets.firstIndex(of: set) { return place }
            sets.append(set)
            return sets.count - 1
        }
    }

    private let program: Program

    /// The pattern of a regular expression. Throws `badInput` naming `file` for what is malformed or not supported.
    init(_ source: String, file: String) throws {
        program = try TextPatternCompiler(source, file: file).compile()
    }

    /// The pattern of exactly that text.
    init(literal: String) {
        var program = Program()
        for scalar in literal.unicodeScalars {
            let set = program.place(of: ScalarSet(ranges: [scalar.value...scalar.value]))
            program.instructions.append(.scalar(set))
        }
        program.instructions.append(.accept)
        self.program = program
    }

    /// The end of the match that begins at `start`, or nil.
    func match(_ text: [UInt8], at start: Int) -> Int? {
        text.withUnsafeBufferPointer { text in
            var matcher = TextMatcher(program, text)
            return matcher.match(at: start)
        }
    }

    /// The matches from left to right, none of them empty.
    func matches(in text: [UInt8], budget: TextMatcher.Budget = TextMatcher.Budget()) -> [Range<Int>] {
        text.withUnsafeBufferPointer { text in
            var matcher = TextMatcher(program, text, budget)
            var found: [Range<Int>] = []
            var i = 0
            while i < text.count {
                if let end = matcher.match(at: i), end > i {
                    found.append(i..<end)
                    i = end
                } else {
                    i += UTF8Text.length(first: text[i])
                }
            }
            return found
        }
    }
}
