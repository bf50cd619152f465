/// Finds a pattern's matches in the words of one text, from left to right. The buffers must outlive it.
///
/// Ordinary patterns are matched by backtracking, which is paid from a credit that grows with the text. A match that
/// needs more is done again thoroughly: whatever once failed at a place of the word, or made a look-around succeed, is
/// remembered for all matches of the word, so that each (instruction, position) is explored once.
struct TextMatcher {
    /// What matching may cost.
    struct Budget {
        /// Steps of backtracking before any text is done.
        var freeSteps = 4096
        /// Steps of backtracking that each byte adds.
        var stepsPerByte = 64
        /// The most states that are remembered, two bits each.
        var states = 1 << 26
    }

    /// A place to go on from when a way has failed.
    private struct Alternative {
        let instruction: Int
        var position: Int
        /// A repetition may give back scalars down to there.
        let lowest: Int
        /// What was on the way to it.
        var trailCount = 0
    }

    private enum Outcome {
        case matched(end: Int)
        case failed
        case tooLong
    }

    private let instructions: UnsafeBufferPointer<TextPattern.Instruction>
    private let sets: UnsafeBufferPointer<ScalarSet>
    private let first: UnsafeBufferPointer<ScalarSet.ASCII>
    private let word: ScalarSet?
    private let budget: Budget
    /// The text, and where the word in it is that matches must lie in.
    private var text = UnsafeBufferPointer<UInt8>(start: nil, count: 0)
    private var low = 0
    private var high = 0
    /// Where the text ends for a match.
    private var end = 0
    private var alternatives: [Alternative] = []
    private var steps = 0
    private var stepLimit = 0
    private var memo: TextMatcherMemo?
    /// The states on the way to where a look-around is.
    private var trail: [Int] = []

    init(
        _ instructions: UnsafeBufferPointer<TextPattern.Instruction>, _ sets: UnsafeBufferPointer<ScalarSet>,
        first: UnsafeBufferPointer<ScalarSet.ASCII>, word: ScalarSet?, _ budget: Budget
    ) {
        (self.instructions, self.sets, self.first, self.word, self.budget) = (instructions, sets, first, word, budget)
    }

    /// Turns to a word of a text: nothing of the text around it is seen. Words of one text must not go back.
    mutating func begin(_ text: UnsafeBufferPointer<UInt8>, _ word: Range<Int>) {
        self.text = text
        (low, high, end) = (word.lowerBound, word.upperBound, word.upperBound)
        memo = nil
    }

    /// Calls `body` with start and end of every match in the word. An empty match where a match ended is none.
    mutating func forEachMatch(_ body: (Int, Int) -> Void) {
        var i = low
        var last = -1
        while i <= high {
            if i < high, text[i] < 0x80, !first[0].contains(text[i]) {
                i += 1
                continue
            }
            if let end = match(at: i), end > i || end != last {
                body(i, end)
                last = end
                if end > i {
                    i = end
                    continue
                }
            }
            guard i < high else { return }
            i += UTF8Text.length(first: text[i])
        }
    }

    /// The end of the match that begins at `start`, or nil. Starts must not fall.
    mutating func match(at start: Int) -> Int? {
        stepLimit = budget.freeSteps + budget.stepsPerByte * start
        switch backtrack(from: 0, at: start) {
        case .matched(let end): return end
        case .failed: return nil
        case .tooLong: return matchThoroughly(at: start)
        }
    }

    @inline(__always)
    private func length(of set: Int, at i: Int) -> Int? {
        guard i < end else { return nil }
        let (isMember, length) = sets[set].contains(text, at: i)
        return isMember ? length : nil
    }

    private func previous(_ i: Int) -> Int {
        var i = i - 1
        while i > low, text[i] & 0xC0 == 0x80 { i -= 1 }
        return i
    }

    /// So many scalars before `i`; nil if the word does not have them.
    private func back(_ count: Int, from i: Int) -> Int? {
        var i = i
        for _ in 0..<count {
            guard i > low else { return nil }
            i = previous(i)
        }
        return i
    }

    private func isAt(_ place: TextPattern.Place, _ i: Int) -> Bool {
        switch place {
        case .textStart: return i == low
        case .textEnd: return i == high
        case .textEndOrLine: return i == high || i == high - 1 && text[i] == 0x0A
        case .lineStart: return i == low || text[i - 1] == 0x0A && i < high
        case .lineEnd: return i == high || text[i] == 0x0A
        case .wordBorder, .noWordBorder:
            guard let word else { return false }
            let before = i > low && word.contains(text, at: previous(i)).isMember
            let behind = i < high && word.contains(text, at: i).isMember
            return (before != behind) == (place == .wordBorder)
        }
    }

    /// Goes back to the last alternative above `base`; false if there is none.
    private mutating func giveUp(_ pc: inout Int, _ i: inout Int, above base: Int) -> Bool {
        guard alternatives.count > base else { return false }
        let alternative = alternatives[alternatives.count - 1]
        pc = alternative.instruction
        i = alternative.position
        if i > alternative.lowest {
            alternatives[alternatives.count - 1].position = previous(i)
        } else {
            alternatives.removeLast()
        }
        return true
    }
}

// MARK: - Backtracking

extension TextMatcher {
    private mutating func backtrack(from start: Int, at position: Int) -> Outcome {
        let base = alternatives.count
        defer { if alternatives.count > base { alternatives.removeLast(alternatives.count - base) } }
        var pc = start
        var i = position
        while true {
            steps += 1
            guard steps <= stepLimit else { return .tooLong }
            var isAlive = true
            switch instructions[pc] {
            case .scalar(let set):
                if let length = length(of: set, at: i) { i += length } else { isAlive = false }
                pc += 1
            case .star(let set):
                let lowest = i
                while let length = length(of: set, at: i) { i += length }
                steps += i - lowest
                pc += 1
                // What is behind a match seldom needs to give back: only if it can fail.
                if i > lowest, !isAccepting(pc) {
                    alternatives.append(Alternative(instruction: pc, position: previous(i), lowest: lowest))
                }
            case .takeIf(let set, let orElse):
                if let length = length(of: set, at: i) {
                    i += length
                    pc += 1
                } else {
                    pc = orElse
                }
            case .split(let preferred, let other):
                // Most alternatives fail at their first scalar: no need to come back from there.
                if i < end, text[i] < 0x80 {
                    if !first[preferred].contains(text[i]) {
                        pc = other
                        continue
                    } else if !first[other].contains(text[i]) {
                        pc = preferred
                        continue
                    }
                }
                alternatives.append(Alternative(instruction: other, position: i, lowest: i))
                pc = preferred
            case .jump(let target):
                pc = target
            case .look(let next, let count, let isNegated):
                if let from = back(count, from: i) {
                    switch backtrack(from: pc + 1, at: from) {
                    case .matched: isAlive = !isNegated
                    case .failed: isAlive = isNegated
                    case .tooLong: return .tooLong
                    }
                } else {
                    isAlive = isNegated
                }
                pc = next
            case .place(let place):
                isAlive = isAt(place, i)
                pc += 1
            case .accept:
                return .matched(end: i)
            }
            if !isAlive, !giveUp(&pc, &i, above: base) { return .failed }
        }
    }

    /// True if the match succeeds from there, whatever follows.
    private func isAccepting(_ pc: Int) -> Bool {
        var pc = pc
        while true {
            switch instructions[pc] {
            case .accept: return true
            case .jump(let target) where target > pc: pc = target
            default: return false
            }
        }
    }
}

// MARK: - Each state once

extension TextMatcher {
    private mutating func matchThoroughly(at start: Int) -> Int? {
        var memo =
            self.memo.take()
            ?? TextMatcherMemo(width: instructions.count, low..<high, maximum: budget.states)
        memo.begin(at: start, textEnd: high)
        end = memo.end
        defer {
            end = high
            self.memo = memo
        }
        guard let found = explore(from: 0, at: start, isLook: false, &memo) else { return nil }
        // States there may have failed only because the match was on its way through them.
        memo.forget(position: found)
        return found
    }

    /// The end of the match of the instructions from `first` on. Of a look-around the end has no meaning.
    private mutating func explore(from first: Int, at start: Int, isLook: Bool, _ memo: inout TextMatcherMemo) -> Int? {
        let base = alternatives.count
        let trailBase = trail.count
        defer {
            alternatives.removeLast(alternatives.count - base)
            trail.removeLast(trail.count - trailBase)
        }
        var pc = first
        var i = start
        while true {
            let state = memo.state(pc, i)
            if isLook, memo.isSuccess(state) {
                memo.succeed(trail[trailBase...])
                return i
            }
            // A state that was entered before has failed, or is on the way to here without a scalar in between.
            var isAlive = memo.enter(state)
            if isAlive {
                if isLook { trail.append(state) }
                switch instructions[pc] {
                case .scalar(let set):
                    if let length = length(of: set, at: i) { i += length } else { isAlive = false }
                    pc += 1
                case .star(let set):
                    if let length = length(of: set, at: i) {
                        push(pc + 1, i)
                        i += length
                    } else {
                        pc += 1
                    }
                case .takeIf(let set, let orElse):
                    if let length = length(of: set, at: i) {
                        i += length
                        pc += 1
                    } else {
                        pc = orElse
                    }
                case .split(let preferred, let other):
                    push(other, i)
                    pc = preferred
                case .jump(let target):
                    pc = target
                case .look(let next, let count, let isNegated):
                    if let from = back(count, from: i) {
                        isAlive = (explore(from: pc + 1, at: from, isLook: true, &memo) == nil) == isNegated
                    } else {
                        isAlive = isNegated
                    }
                    pc = next
                case .place(let place):
                    isAlive = isAt(place, i)
                    pc += 1
                case .accept:
                    if isLook { memo.succeed(trail[trailBase...]) }
                    return i
                }
            }
            if !isAlive {
                let count = alternatives.last?.trailCount ?? 0
                guard giveUp(&pc, &i, above: base) else { return nil }
                trail.removeLast(trail.count - count)
            }
        }
    }

    private mutating func push(_ instruction: Int, _ position: Int) {
        alternatives.append(
            Alternative(instruction: instruction, position: position, lowest: position, trailCount: trail.count))
    }
}

/// What thorough matching knows of the states of a stretch of a word, which is so long that they fit into the budget. A
/// match always sees at least a third of a stretch behind it.
private struct TextMatcherMemo {
    /// What a look-behind sees of the text before a match: the bytes of the most scalars that it may have.
    private static let margin = 4 * TextPatternCompiler.maximumLookBehind

    /// Instructions.
    private let width: Int
    /// Positions of a stretch, its end included.
    private let length: Int
    private let low: Int
    private var start: Int
    /// Where the stretch ends.
    private(set) var end: Int
    private var entered: [UInt64]
    private var successes: [UInt64]

    init(width: Int, _ word: Range<Int>, maximum: Int) {
        self.width = width
        low = word.lowerBound
        length = min(word.count + 1, max(3 * Self.margin, maximum / width))
        entered = [UInt64](repeating: 0, count: (length * width + 63) / 64)
        successes = entered
        start = low
        end = min(word.upperBound, low + length - 1)
    }

    /// Moves the stretch if a match at `position` would see too little of the text.
    mutating func begin(at position: Int, textEnd: Int) {
        guard end < textEnd, end - position < length / 3 else { return }
        start = max(low, position - Self.margin)
        end = min(textEnd, start + length - 1)
        for word in entered.indices {
            entered[word] = 0
            successes[word] = 0
        }
    }

    func state(_ instruction: Int, _ position: Int) -> Int { (position - start) * width + instruction }

    /// Marks a state; false if it was marked before.
    mutating func enter(_ state: Int) -> Bool {
        let bit: UInt64 = 1 << UInt64(state & 63)
        guard entered[state >> 6] & bit == 0 else { return false }
        entered[state >> 6] |= bit
        return true
    }

    func isSuccess(_ state: Int) -> Bool { successes[state >> 6] >> UInt64(state & 63) & 1 == 1 }

    mutating func succeed(_ states: ArraySlice<Int>) {
        for state in states { successes[state >> 6] |= 1 << UInt64(state & 63) }
    }

    mutating func forget(position: Int) {
        for state in state(0, position)..<state(width, position) {
            entered[state >> 6] &= ~(1 << UInt64(state & 63))
            successes[state >> 6] &= ~(1 << UInt64(state & 63))
        }
    }
}
