import HeapModule

/// A piece of the text being merged: the bytes `start ..< start + length` and, where there is one, their token.
struct MergeSymbol {
    var id: Int32
    var start: Int32
    /// 0 once the symbol is merged into its left neighbour.
    var length: Int32
    fileprivate var previous: Int32 = -1
    fileprivate var next: Int32 = -1

    init(id: Int32, start: Int, length: Int) {
        self.id = id
        self.start = Int32(start)
        self.length = Int32(length)
    }
}

/// Which neighbours may merge, in which order, and into which token.
protocol MergeRule {
    /// The merge of two neighbours, or nil. Lower priorities go first; of equal ones the leftmost.
    func merge(_ left: MergeSymbol, _ right: MergeSymbol) -> (priority: Double, id: Int32)?
}

/// Merges neighbours until no rule applies: the best merge of the whole text first, found by a priority queue over a
/// linked list, O(n log n).
enum MergeList {
    private struct Candidate: Comparable {
        let priority: Double
        let left: Int32
        let id: Int32

        static func < (a: Candidate, b: Candidate) -> Bool {
            a.priority != b.priority ? a.priority < b.priority : a.left < b.left
        }
    }

    /// The symbols that remain, from left to right.
    static func merge(_ symbols: [MergeSymbol], by rule: some MergeRule) -> [MergeSymbol] {
        guard symbols.count > 1 else { return symbols }
        var symbols = symbols
        var found: [Candidate] = []
        for i in symbols.indices {
            symbols[i].previous = Int32(i) - 1
            symbols[i].next = i + 1 < symbols.count ? Int32(i + 1) : -1
            if i > 0, let merge = rule.merge(symbols[i - 1], symbols[i]) {
                found.append(Candidate(priority: merge.priority, left: Int32(i - 1), id: merge.id))
            }
        }
        var queue = Heap(found)
        while let best = queue.popMin() {
            let left = Int(best.left)
            let right = Int(symbols[left].next)
            // A stale candidate: one of its two symbols has been merged meanwhile.
            guard symbols[left].length > 0, right >= 0,
                rule.merge(symbols[left], symbols[right])?.id == best.id
            else { continue }
            symbols[left].id = best.id
            symbols[left].length += symbols[right].length
            symbols[right].length = 0
            symbols[left].next = symbols[right].next
            let next = Int(symbols[left].next)
            let previous = Int(symbols[left].previous)
            if next >= 0 {
                symbols[next].previous = best.left
                if let merge = rule.merge(symbols[left], symbols[next]) {
                    queue.insert(Candidate(priority: merge.priority, left: best.left, id: merge.id))
                }
            }
            if previous >= 0, let merge = rule.merge(symbols[previous], symbols[left]) {
                queue.insert(Candidate(priority: merge.priority, left: Int32(previous), id: merge.id))
            }
        }
        return symbols.filter { $0.length > 0 }
    }
}
