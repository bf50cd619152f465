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

    /// A place of a text, as an anchor names it.
    enum Place: Sendable {
        /// `\A`, `\z`; `\Z` is the end, or before a line's end there.
        case textStart, textEnd, textEndOrLine
        /// `^`, `$`.
        case lineStart, lineEnd
        /// `\b`, `\B`.
        case wordBorder, noWordBorder
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
        /// Goes on at `next` if the instructions from the next one to their `accept` match so many scalars before, or do
        /// not: 0 for a look-ahead.
        case look(next: Int, back: Int, isNegated: Bool)
        case place(Place)
        case accept
    }

    /// Instructions with the sets that they name.
    struct Program: Sendable {
        var instructions: [Instruction] = []
        var sets: [ScalarSet] = []
        /// By instruction: the ASCII characters with which a match from there may begin.
        var first: [ScalarSet.ASCII] = []
        /// What `\b` takes for words, if there is one.
        var word: ScalarSet?
        /// It may match no character at all.
        var mayBeEmpty = false

        /// The place of a set, which is added if it is new.
        mutating func place(of set: ScalarSet) -> Int {
            if let place = sets.firstIndex(of: set) { return place }
            sets.append(set)
            return sets.count - 1
        }

        /// Finds `first`: from the end to the beginning until nothing changes any more.
        mutating func finish() {
            first = [ScalarSet.ASCII](repeating: ScalarSet.ASCII(), count: instructions.count)
            var isChanged = true
            while isChanged {
                isChanged = false
                for pc in instructions.indices.reversed() {
                    var found = first[pc]
                    switch instructions[pc] {
                    case .scalar(let set): found.formUnion(sets[set].ascii)
                    case .star(let set):
                        found.formUnion(sets[set].ascii)
                        found.formUnion(first[pc + 1])
                    case .takeIf(let set, let other):
                        found.formUnion(sets[set].ascii)
                        found.formUnion(first[other])
                    case .split(let preferred, let other):
                        found.formUnion(first[preferred])
                        found.formUnion(first[other])
                    case .jump(let target): found.formUnion(first[target])
                    case .look(let next, _, _): found.formUnion(first[next])
                    case .place: found.formUnion(first[pc + 1])
                    case .accept: found = .all
                    }
                    if found != first[pc] {
                        first[pc] = found
                        isChanged = true
                    }
                }
            }
        }
    }

    private let program: Program
    /// True if it may match no character at all.
    var mayBeEmpty: Bool { program.mayBeEmpty }

    /// The pattern of a regular expression. Throws `badInput` naming `file` and the part of tokenizer.json for what is
    /// malformed or not supported.
    /// - Parameter word: what `\w` and `\b` take for characters of words.
    init(_ source: String, component: String = "pre_tokenizer", word: ScalarSet = .word, file: String) throws {
        var program = try TextPatternCompiler(source, component: component, word: word, file: file).compile()
        program.finish()
        self.program = program
    }

    /// The pattern of exactly that text.
    init(literal: String) {
        var program = Program()
        for scalar in literal.unicodeScalars {
            let set = program.place(of: ScalarSet(ranges: [scalar.value...scalar.value]))
            program.instructions.append(.scalar(set))
        }
        program.instructions.append(.accept)
        program.finish()
        self.program = program
    }

    /// The end of the match that begins at `start`, or nil.
    func match(_ text: [UInt8], at start: Int) -> Int? {
        withMatcher(TextMatcher.Budget()) { matcher in
            text.withUnsafeBufferPointer { text in
                matcher.begin(text, 0..<text.count)
                return matcher.match(at: start)
            }
        }
    }

    /// The matches from left to right. Of empty ones those are left out that stand where a match ended.
    func matches(in text: [UInt8], budget: TextMatcher.Budget = TextMatcher.Budget()) -> [Range<Int>] {
        var found: [Range<Int>] = []
        withMatcher(budget) { matcher in
            text.withUnsafeBufferPointer { text in
                matcher.begin(text, 0..<text.count)
                matcher.forEachMatch { found.append($0..<$1) }
            }
        }
        return found
    }

    /// Cuts the words of a text at the matches in them.
    func cut(_ text: inout CutText, _ behavior: SplitBehavior, isInverted: Bool) {
        withMatcher(TextMatcher.Budget()) { matcher in
            text.cut { word, bytes, sink in
                var cutter = MatchCutter(word, behavior, isInverted: isInverted)
                matcher.begin(bytes, word.range)
                matcher.forEachMatch { cutter.match($0, $1, to: &sink) }
                cutter.finish(to: &sink)
            }
        }
    }

    private func withMatcher<R>(_ budget: TextMatcher.Budget, _ body: (inout TextMatcher) -> R) -> R {
        program.instructions.withUnsafeBufferPointer { instructions in
            program.sets.withUnsafeBufferPointer { sets in
                program.first.withUnsafeBufferPointer { first in
                    var matcher = TextMatcher(instructions, sets, first: first, word: program.word, budget)
                    return body(&matcher)
                }
            }
        }
    }
}
