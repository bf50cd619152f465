/// A compiled pattern of tokenizer.json: the part of regular expressions that published tokenizers use, matched over
/// the scalars of UTF-8 text as Oniguruma does (leftmost, first alternative that succeeds).
///
/// A match explores each (instruction, position) at most once after a bounded number of steps, so that no pattern and
/// no text take exponential time.
struct TextPattern: Sendable {
    /// How a repetition gives back what it took.
    enum Greed: Sendable {
        case greedy
        case lazy
        case possessive
    }

    enum Instruction: Sendable {
        /// One scalar of a set.
        case scalar(ScalarSet)
        /// Scalars of a set, as many as there are up to `max`, at least `min`; never lazy.
        case span(ScalarSet, min: Int, max: Int, greed: Greed)
        /// Goes on at the first address; if that fails, at the second.
        case split(Int, Int)
        case jump(Int)
        /// Goes on at `next` if the instructions from the next one to their `accept` match here, or do not.
        case look(next: Int, isNegated: Bool)
        case accept
    }

    /// Steps before visited states are remembered: ordinary matches stay below.
    private static let freeSteps = 4096

    private let program: [Instruction]

    /// The pattern of a regular expression. Throws `badInput` naming `file` for what is malformed or not supported.
    init(_ source: String, file: String) throws {
        program = try TextPatternCompiler(source, file: file).compile()
    }

    /// The pattern of exactly that text.
    init(literal: String) {
        program = literal.unicodeScalars.map { .scalar(ScalarSet(ranges: [$0.value...$0.value])) } + [.accept]
    }

    /// The end of the match that begins at `start`, or nil.
    func match(_ text: [UInt8], at start: Int) -> Int? {
        text.withUnsafeBufferPointer { run($0, from: 0, at: start) }
    }

    /// The matches from left to right, none of them empty.
    func matches(in text: [UInt8]) -> [Range<Int>] {
        var found: [Range<Int>] = []
        var i = 0
        while i < text.count {
            if let end = match(text, at: i), end > i {
                found.append(i..<end)
                i = end
            } else {
                i += UTF8Text.length(first: text[i])
            }
        }
        return found
    }

    /// A place to go on from when a way has failed.
    private struct Alternative {
        let instruction: Int
        var position: Int
        /// A span may give back scalars down to there.
        let lowest: Int
    }

    private func run(_ text: UnsafeBufferPointer<UInt8>, from first: Int, at start: Int) -> Int? {
        var alternatives: [Alternative] = []
        var visited: Set<Int> = []
        var steps = 0
        var pc = first
        var i = start
        while true {
            steps += 1
            var isAlive = steps < Self.freeSteps || visited.insert(i * program.count + pc).inserted
            if isAlive {
                switch program[pc] {
                case .scalar(let set):
                    if let length = length(of: set, text, i) {
                        i += length
                        pc += 1
                    } else {
                        isAlive = false
                    }
                case .span(let set, let min, let max, let greed):
                    isAlive = take(set, min, max, greed, text, &pc, &i, &alternatives)
                case .split(let preferred, let other):
                    alternatives.append(Alternative(instruction: other, position: i, lowest: i))
                    pc = preferred
                case .jump(let target):
                    pc = target
                case .look(let next, let isNegated):
                    isAlive = (run(text, from: pc + 1, at: i) == nil) == isNegated
                    pc = next
                case .accept:
                    return i
                }
            }
            if !isAlive {
                guard let alternative = alternatives.popLast() else { return nil }
                pc = alternative.instruction
                i = alternative.position
                if i > alternative.lowest {
                    var shorter = alternative
                    shorter.position = Self.previous(text, i)
                    alternatives.append(shorter)
                }
            }
        }
    }

    /// Runs a span instruction; false if it fails.
    private func take(
        _ set: ScalarSet, _ min: Int, _ max: Int, _ greed: Greed, _ text: UnsafeBufferPointer<UInt8>, _ pc: inout Int,
        _ i: inout Int, _ alternatives: inout [Alternative]
    ) -> Bool {
        var count = 0
        var lowest = i
        while count < max, let length = length(of: set, text, i) {
            i += length
            count += 1
            if count == min { lowest = i }
        }
        guard count >= min else { return false }
        pc += 1
        if greed == .greedy, i > lowest {
            alternatives.append(Alternative(instruction: pc, position: Self.previous(text, i), lowest: lowest))
        }
        return true
    }

    private func length(of set: ScalarSet, _ text: UnsafeBufferPointer<UInt8>, _ i: Int) -> Int? {
        guard i < text.count else { return nil }
        let (scalar, length) = UTF8Text.scalar(text, at: i)
        return set.contains(scalar) ? length : nil
    }

    private static func previous(_ text: UnsafeBufferPointer<UInt8>, _ i: Int) -> Int {
        var i = i - 1
        while i > 0, text[i] & 0xC0 == 0x80 { i -= 1 }
        return i
    }
}
