/// A text in which runs of other texts are looked for, in time linear in these: a suffix automaton (Blumer et al. 1985).
struct CommonRun {
    /// What the text's runs that end alike have in common.
    private struct State {
        var next: [UInt32: Int] = [:]
        var link = -1
        var length = 0
    }

    private var states = [State()]

    /// An index of the text's code points.
    init(in text: String) {
        var last = 0
        for scalar in text.unicodeScalars {
            let unit = scalar.value
            let new = states.count
            states.append(State(length: states[last].length + 1))
            var state = last
            while state >= 0, states[state].next[unit] == nil {
                states[state].next[unit] = new
                state = states[state].link
            }
            if state < 0 {
                states[new].link = 0
            } else if let target = states[state].next[unit] {
                states[new].link =
                    states[target].length == states[state].length + 1 ? target : split(target, at: state, unit)
            }
            last = new
        }
    }

    /// A copy of the state for the shorter of its runs, which the others' end in; it is where `unit` leads from now on.
    private mutating func split(_ target: Int, at state: Int, _ unit: UInt32) -> Int {
        let copy = states.count
        states.append(states[target])
        states[copy].length = states[state].length + 1
        states[target].link = copy
        var state = state
        while state >= 0, states[state].next[unit] == target {
            states[state].next[unit] = copy
            state = states[state].link
        }
        return copy
    }

    /// The longest run of `target` that the text has, as a share of its code points; white space at its ends does not count.
    func share(of target: String) -> Double {
        let units = target.unicodeScalars.map(\.value)
        guard let first = units.firstIndex(where: { !$0.isWhitespace }),
            let last = units.lastIndex(where: { !$0.isWhitespace })
        else { return 0 }
        var (state, length, best) = (0, 0, 0)
        for unit in units[first...last] {
            while state > 0, states[state].next[unit] == nil {
                state = states[state].link
                length = states[state].length
            }
            if let next = states[state].next[unit] {
                state = next
                length += 1
            }
            best = max(best, length)
        }
        return Double(best) / Double(last - first + 1)
    }
}
