/// The tokens of words that a text has had before: most words of a text occur again and again.
struct WordCache {
    /// Longer words are not kept.
    private static let longestWord = 64
    /// The most words that are kept.
    private static let maximumCount = 1 << 16

    private struct Entry {
        let hash: UInt64
        let key: Range<Int32>
        let ids: Range<Int32>
    }

    private let hash = ByteHash()
    private var slots: [Int32]
    private var entries: [Entry] = []
    private var keys: [UInt8] = []
    private var ids: [Int32] = []

    /// A cache for a text of so many bytes.
    init(byteCount: Int) {
        var capacity = 256
        while capacity < byteCount / 4, capacity < 4 * Self.maximumCount { capacity *= 2 }
        slots = [Int32](repeating: -1, count: capacity)
    }

    /// Appends the tokens of a word; `tokenize` finds them if they are not here.
    @inline(__always)
    mutating func append(
        _ word: UnsafeBufferPointer<UInt8>, to result: inout [Int32],
        _ tokenize: (UnsafeBufferPointer<UInt8>, inout [Int32]) -> Void
    ) {
        guard word.count <= Self.longestWord else { return tokenize(word, &result) }
        let hash = hash(word)
        var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
        while slots[slot] >= 0 {
            let entry = entries[Int(slots[slot])]
            if entry.hash == hash, isKey(entry.key, word) {
                for i in Int(entry.ids.lowerBound)..<Int(entry.ids.upperBound) { result.append(ids[i]) }
                return
            }
            slot = (slot + 1) & (slots.count - 1)
        }
        let first = result.count
        tokenize(word, &result)
        guard entries.count < min(Self.maximumCount, slots.count / 2) else { return }
        slots[slot] = Int32(entries.count)
        entries.append(
            Entry(
                hash: hash, key: Int32(keys.count)..<Int32(keys.count + word.count),
                ids: Int32(ids.count)..<Int32(ids.count + result.count - first)))
        keys.append(contentsOf: word)
        for i in first..<result.count { ids.append(result[i]) }
    }

    private func isKey(_ key: Range<Int32>, _ word: UnsafeBufferPointer<UInt8>) -> Bool {
        guard key.count == word.count else { return false }
        let start = Int(key.lowerBound)
        for i in 0..<word.count where keys[start + i] != word[i] { return false }
        return true
    }
}
