import HeapModule

/// Which two neighbours merge, in which order, and into which token: a small table of places, which finds a pair in one or two
/// probes, and the pairs in their order.
struct MergeTable: Sendable {
    /// A pair that does not merge; every other value is below it.
    static let none = UInt64.max

    /// By rank, the two tokens of a pair.
    private var pairs: [UInt64] = []
    /// By rank, what it becomes.
    private var ids: [Int32] = []
    /// A power of two, at most three quarters full: the rank, and in the bits above it those of the hash; `free`: none.
    private var slots: [UInt32]
    private let hash = ByteHash()
    /// So many pairs are in `slots`.
    private var indexed = 0

    private static let free = UInt32.max

    /// An empty table for so many pairs.
    init(capacity pairs: Int) {
        precondition(pairs < 1 << 30, "\(pairs) merges")
        var capacity = 16
        while capacity < pairs + pairs / 3 + 1 { capacity *= 2 }
        slots = [UInt32](repeating: Self.free, count: capacity)
        self.pairs.reserveCapacity(pairs)
        ids.reserveCapacity(pairs)
    }

    @inline(__always)
    fileprivate static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    /// The bits of a hash that stand above the rank.
    @inline(__always)
    private func tag(_ hash: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hash >> 32) & ~UInt32(slots.count - 1) }

    /// Where a pair of that hash is, or where it would be.
    @inline(__always)
    private func slot(_ key: UInt64, _ hash: UInt64) -> Int {
        let mask = slots.count - 1
        let tag = tag(hash)
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot] != Self.free {
            if slots[slot] & ~UInt32(mask) == tag, pairs[Int(slots[slot]) & mask] == key { break }
            slot = (slot + 1) & mask
        }
        return slot
    }

    /// Adds a pair behind those that are there; of a pair that is there already, what is new counts. It is found from the next
    /// `index` on. There must not be more pairs than the capacity.
    mutating func append(_ left: Int32, _ right: Int32, becoming id: Int32) {
        pairs.append(Self.key(left, right))
        ids.append(id)
    }

    /// Lets the pairs be found that were appended since the last time. Many at once are faster: they are looked at first, so
    /// that none waits for the memory that another one needs.
    mutating func index() {
        let added = indexed..<pairs.count
        indexed = pairs.count
        withUnsafeTemporaryAllocation(of: (hash: UInt64, isFree: Bool).self, capacity: added.count) { homes in
            slots.withUnsafeBufferPointer { slots in
                for i in 0..<homes.count {
                    let hash = hash(pairs[added.lowerBound + i])
                    homes[i] = (hash, slots[Int(truncatingIfNeeded: hash) & (slots.count - 1)] == Self.free)
                }
            }
            for i in 0..<homes.count {
                let (home, rank) = (Int(truncatingIfNeeded: homes[i].hash) & (slots.count - 1), added.lowerBound + i)
                let isFree = homes[i].isFree && slots[home] == Self.free
                let slot = isFree ? home : slot(pairs[rank], homes[i].hash)
                slots[slot] = tag(homes[i].hash) | UInt32(rank)
            }
        }
    }

    /// The rank of a pair in the high half and the token that it becomes in the low half, or `none`.
    @inline(__always)
    subscript(_ left: Int32, _ right: Int32) -> UInt64 {
        let key = Self.key(left, right)
        let found = slots[slot(key, hash(key))]
        guard found != Self.free else { return Self.none }
        let rank = Int(found) & (slots.count - 1)
        return UInt64(rank) << 32 | UInt64(UInt32(bitPattern: ids[rank]))
    }
}

/// What merging works in; one for a text.
struct MergeScratch {
    var symbols: [Int32] = []
    fileprivate var values: [UInt64] = []
    fileprivate var previous: [Int32] = []
    fileprivate var next: [Int32] = []
}

extension MergeTable {
    /// Up to so many symbols a scan of all pairs is faster than a queue.
    private static let scanned = 24

    /// Merges neighbours of `scratch.symbols` until no pair is left that merges, the pair of the lowest rank first, of equal
    /// ones the leftmost. Takes n log n.
    func merge(_ scratch: inout MergeScratch) {
        if scratch.symbols.count <= Self.scanned { scan(&scratch) } else { mergeByQueue(&scratch) }
    }

    private func scan(_ scratch: inout MergeScratch) {
        var count = scratch.symbols.count
        guard count > 1 else { return }
        scratch.values.removeAll(keepingCapacity: true)
        for i in 1..<count { scratch.values.append(self[scratch.symbols[i - 1], scratch.symbols[i]]) }
        scratch.symbols.withUnsafeMutableBufferPointer { symbols in
            scratch.values.withUnsafeMutableBufferPointer { values in
                while count > 1 {
                    var best = 0
                    for i in 1..<max(1, count - 1) where values[i] < values[best] { best = i }
                    guard values[best] != Self.none else { return }
                    symbols[best] = Int32(truncatingIfNeeded: values[best])
                    count -= 1
                    var i = best + 1
                    while i < count {
                        symbols[i] = symbols[i + 1]
                        values[i - 1] = values[i]
                        i += 1
                    }
                    if best > 0 { values[best - 1] = self[symbols[best - 1], symbols[best]] }
                    if best + 1 < count { values[best] = self[symbols[best], symbols[best + 1]] }
                }
            }
        }
        scratch.symbols.removeLast(scratch.symbols.count - count)
    }
}

extension MergeTable {
    /// A priority queue over a linked list.
    private func mergeByQueue(_ scratch: inout MergeScratch) {
        let count = scratch.symbols.count
        scratch.previous.removeAll(keepingCapacity: true)
        scratch.next.removeAll(keepingCapacity: true)
        var found: [MergeCandidate] = []
        for i in 0..<count {
            scratch.previous.append(Int32(i) - 1)
            scratch.next.append(i + 1 < count ? Int32(i + 1) : -1)
            guard i > 0 else { continue }
            let value = self[scratch.symbols[i - 1], scratch.symbols[i]]
            if value != Self.none { found.append(MergeCandidate(value: value, left: Int32(i - 1))) }
        }
        var queue = Heap(found)
        while let best = queue.popMin() {
            let left = Int(best.left)
            let right = Int(scratch.next[left])
            // A stale candidate: one of its two symbols has been merged meanwhile. A merged right symbol is its own
            // successor.
            guard right >= 0, right != left, self[scratch.symbols[left], scratch.symbols[right]] == best.value else {
                continue
            }
            scratch.symbols[left] = Int32(truncatingIfNeeded: best.value)
            let next = scratch.next[right]
            scratch.next[left] = next
            scratch.next[right] = Int32(right)
            for (first, second) in [(scratch.previous[left], best.left), (best.left, next)]
            where first >= 0 && second >= 0 {
                if first == best.left { scratch.previous[Int(second)] = first }
                let value = self[scratch.symbols[Int(first)], scratch.symbols[Int(second)]]
                if value != Self.none { queue.insert(MergeCandidate(value: value, left: first)) }
            }
        }
        var end = 0
        var i = 0
        while i >= 0, count > 0 {
            scratch.symbols[end] = scratch.symbols[i]
            end += 1
            i = Int(scratch.next[i])
        }
        scratch.symbols.removeLast(count - end)
    }
}

/// A pair that may merge: the value of the table, and where its left symbol is.
private struct MergeCandidate: Comparable {
    let value: UInt64
    let left: Int32

    static func < (a: MergeCandidate, b: MergeCandidate) -> Bool {
        a.value != b.value ? a.value < b.value : a.left < b.left
    }
}
