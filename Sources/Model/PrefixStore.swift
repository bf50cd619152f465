import Kernels
import Quant

/// The beginnings that sequences had in common last, with caches that have read them.
struct PrefixStore {
    private static let capacity = 8
    /// Bytes of keys and values at most of what finished sequences leave.
    private static let maximumBytes = 256 << 20
    private let keepsFinished: Bool
    /// The last used at the end.
    private var entries: [(tokens: ArraySlice<Int32>, cache: KVCache)] = []

    /// An empty store; `keepsFinished`: what sequences have read stays when they end.
    init(keepsFinished: Bool) { self.keepsFinished = keepsFinished }

    /// The entry that has most in common with the prompt without its last token, if that is worth it.
    mutating func longest(of prompt: [Int32]) -> (cache: KVCache, count: Int)? {
        let counts = entries.map { min(prompt.count - 1, commonPrefixCount(prompt, $0.tokens)) }
        guard let best = counts.indices.max(by: { counts[$0] < counts[$1] }), counts[best] >= shortestSharedPrefix
        else {
            return nil
        }
        entries.append(entries.remove(at: best))
        return (entries[entries.count - 1].cache, counts[best])
    }

    /// Keeps what `cache` has read of those tokens.
    mutating func keep(_ tokens: ArraySlice<Int32>, of cache: KVCache) {
        guard !entries.contains(where: { $0.tokens == tokens }) else { return }
        if entries.count == Self.capacity { entries.removeFirst() }
        entries.append((tokens, cache.fork(count: tokens.count, capacity: tokens.count)))
    }

    /// Keeps a finished sequence's prompt where that was asked for and no entry has it, within the store's bytes.
    mutating func keepFinished(_ prompt: ArraySlice<Int32>, of cache: KVCache?) {
        guard keepsFinished, let cache, prompt.count >= shortestSharedPrefix, cache.byteCount <= Self.maximumBytes
        else {
            return
        }
        guard !entries.contains(where: { commonPrefixCount($0.tokens, prompt) == prompt.count }) else { return }
        entries.removeAll { commonPrefixCount($0.tokens, prompt) == $0.tokens.count }
        keep(prompt, of: cache)
        while entries.reduce(0, { $0 + $1.cache.byteCount }) > Self.maximumBytes { entries.removeFirst() }
    }
}
