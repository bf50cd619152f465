/// Finds a pattern's matches in one text, from left to right. The buffer must outlive it.
///
/// Ordinary patterns are matched by backtracking, which is paid from a credit that grows with the text. A match that
/// needs more is done again thoroughly: whatever once failed at a place of the text, or made a look-ahead succeed, is
/// remembered for all matches of the text, so that each (instruction, position) is explored once.
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

    private let program: TextPattern.Program
    private let text: UnsafeBufferPointer<UInt8>
    private let budget: Budget
    /// Where the text ends for a match.
    private var end: Int
    private var alternatives: [Alternative] = []
    private var steps = 0
    private var stepLimit = 0
    private var memo: TextMatcherMemo?
    /// The states on the way to where a look-ahead is.
    private var trail: [Int] = []

    init(_ program: TextPattern.Program, _ text: UnsafeBufferPointer<UInt8>, _ budget: Budget = Budget()) {
        self.program = program
        self.text = text
        self.budget = budget
        end = text.count
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

    private func length(of set: Int, at i: Int) -> Int? {
        guard i < end else { return nil }
        let byte = text[i]
        if byte < 0x80 { return program.sets[set].ascii.contains(byte) ? 1 : nil }
        let (scalar, length) = UTF8Text.scalar(text, at: i)
        return program.sets[set].contains(scalar) ? length : nil
    }

    private func previous(_ i: Int) -> Int {
        var i = i - 1
        while i > 0, text[i] & 0xC0 == 0x80 { i -= 1 }
        return i
    }

    /// Goes back to the last alternative above `base`; false if there is none.
    private mutating func giveUp(_ pc: inout Int, _ i: inout Int, above base: Int) -> Bool {
        guard alternatives.count > base, let alternative = alternatives.last else { return false }
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
    private mutating func backtrack(from first: Int, at start: Int) -> Outcome {
        let base = alternatives.count
        defer { alternatives.removeLast(alternatives.count - base) }
        var pc = first
        var i = start
        while true {
            steps += 1
            guard steps <= stepLimit else { return .tooLong }
            var isAlive = true
            switch program.instructions[pc] {
            case .scalar(let set):
                if let length = length(of: set, at: i) { i += length } else { isAlive = false }
                pc += 1
            case .star(let set):
                let lowest = i
                while let length = length(of: set, at: i) { i += length }
                steps += i - lowest
                pc += 1
                if i > lowest {
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
                if case .scalar(let set) = program.instructions[preferred], length(of: set, at: i) == nil {
                    pc = other
                } else {
                    alternatives.append(Alternative(instruction: other, position: i, lowest: i))
                    pc = preferred
                }
            case .jump(let target):
                pc = target
            case .look(let next, let isNegated):
                switch backtrack(from: pc + 1, at: i) {
                case .matched: isAlive = !isNegated
                case .failed: isAlive = isNegated
                case .tooLong: return .tooLong
                }
                pc = next
            case .accept:
                return .matched(end: i)
            }
            if !isAlive, !giveUp(&pc, &i, above: base) { return .failed }
        }
    }
}

// MARK: - Each state once

extension TextMatcher {
    private mutating func matchThoroughly(at start: Int) -> Int? {
        var memo =
            self.memo.take()
            ?? TextMatcherMemo(width: program.instructions.count, textCount: text.count, maximum: budget.states)
        memo.begin(at: start, textCount: text.count)
        end = memo.end
        defer {
            end = text.count
            self.memo = memo
        }
        guard let found = explore(from: 0, at: start, isLook: false, &memo) else { return nil }
        // States there may have failed only because the match was on its way through them.
        memo.forget(position: found)
        return found
    }

    /// The end of the match of the instructions from `first` on. Of a look-ahead the end has no meaning.
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
                switch program.instructions[pc] {
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
                case .look(let next, let isNegated):
                    isAlive = (explore(from: pc + 1, at: i, isLook: true, &memo) == nil) == isNegated
                    pc = next
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

/// What thorough matching knows of the states of a stretch of the text, which is so long that they fit into the budget. A
/// match always sees at least half a stretch of text before it.
private struct TextMatcherMemo {
    /// Instructions.
    private let width: Int
    /// Positions of a stretch, its end included.
    private let length: Int
    private var start = 0
    /// Where the stretch ends.
    private(set) var end = 0
    private var entered: [UInt64]
    private var successes: [UInt64]

    init(width: Int, textCount: Int, maximum: Int) {
        self.width = width
        length = min(textCount + 1, max(2, maximum / width))
        entered = [UInt64](repeating: 0, count: (length * width + 63) / 64)
        successes = entered
        end = min(textCount, length - 1)
    }

    /// Moves the stretch if a match at `position` would see too little of the text.
    mutating func begin(at position: Int, textCount: Int) {
        guard end < textCount, position - start > length / 2 else { return }
        start = position
        end = min(textCount, start + length - 1)
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
