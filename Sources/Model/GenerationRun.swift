import Kernels
import Quant

/// The state of one `generate` call.
struct GenerationRun {
    private let session: InferenceSession
    private let requests: [GenerationRequest]
    private let numbers: [Int]
    private let limits: [GenerationLimit]
    private let options: GenerationOptions
    /// Beginnings are read once; not where their angles depend on what follows them.
    private let sharesPrefixes: Bool
    private let sampler: Sampler
    private let onToken: ((Int, Int32) -> Void)?
    private var waiting = 0
    private var active: [ActiveSequence] = []
    private var prefixes = PrefixStore()
    private var results: [Generation?]
    private(set) var statistics = GenerationStatistics()

    /// A sequence that has a place in the batch.
    private struct ActiveSequence {
        let request: Int
        let limit: GenerationLimit
        /// Nil as long as it waits for what another sequence reads.
        var cache: KVCache?
        /// That sequence's request, and how many tokens the two have in common.
        var awaited: (request: Int, count: Int)?
        var pending: ArraySlice<Int32>
        var output: [Int32] = []
    }

    init(
        session: InferenceSession, requests: [GenerationRequest], numbers: [Int], limits: [GenerationLimit],
        options: GenerationOptions, onToken: ((Int, Int32) -> Void)?
    ) {
        self.session = session
        self.requests = requests
        self.numbers = numbers
        self.limits = limits
        self.options = options
        sharesPrefixes = options.sharesPrefixes && !session.model.spec.hasLengthDependentRotary
        self.onToken = onToken
        sampler = Sampler(options.sampling)
        results = Array(repeating: nil, count: requests.count)
    }

    mutating func finish() throws -> [Generation] {
        while true {
            admit()
            if active.isEmpty { break }
            try step()
        }
        return results.compactMap { $0 }
    }

    /// Lets waiting prompts into free places.
    private mutating func admit() {
        while waiting < requests.count && active.count < max(options.batchSize, 1) {
            if limits[waiting].tokens == 0 {
                results[waiting] = Generation(tokens: [], ending: .length)
            } else {
                active.append(join(waiting))
            }
            waiting += 1
        }
    }

    /// A new member: on what the store or an active sequence has read of its prompt, or alone.
    private mutating func join(_ index: Int) -> ActiveSequence {
        let prompt = requests[index].prompt
        let limit = limits[index]
        let capacity = prompt.count + limit.tokens
        var member = ActiveSequence(request: index, limit: limit, pending: prompt[...])
        let stored = sharesPrefixes ? prefixes.longest(of: prompt) : nil
        if sharesPrefixes {
            // The last token is always read: its hidden state predicts the first new one.
            let shared = active.filter { $0.awaited == nil }.map {
                (
                    request: $0.request,
                    count: min(prompt.count - 1, commonPrefixCount(prompt, requests[$0.request].prompt))
                )
            }
            if let best = shared.max(by: { $0.count < $1.count }),
                best.count >= shortestSharedPrefix, best.count > stored?.count ?? 0
            {
                member.awaited = best
                return member
            }
        }
        adopt(
            stored.map { $0.cache.fork(count: $0.count, capacity: capacity) } ?? session.makeCache(capacity: capacity),
            &member)
        return member
    }

    private mutating func adopt(_ cache: KVCache, _ member: inout ActiveSequence) {
        member.cache = cache
        member.awaited = nil
        member.pending = member.pending.dropFirst(cache.count)
        statistics.sharedTokens += cache.count
    }

    /// Gives those that wait for a sequence a fork of its cache once it has read enough.
    private mutating func resolve() {
        for index in active.indices {
            guard let awaited = active[index].awaited,
                let cache = active.first(where: { $0.request == awaited.request })?.cache,
                cache.count >= awaited.count
            else { continue }
            let prompt = requests[active[index].request].prompt
            prefixes.keep(prompt[..<awaited.count], of: cache)
            var member = active[index]
            adopt(cache.fork(count: awaited.count, capacity: prompt.count + member.limit.tokens), &member)
            active[index] = member
        }
    }

    /// One forward pass: every active sequence takes part with its next tokens, long prompts in pieces that fit the
    /// session's token budget; those whose prompt is through get a new token.
    private mutating func step() throws {
        let clock = ContinuousClock()
        let start = clock.now
        var batch = PackedBatch()
        var members: [Int] = []
        var caches: [KVCache] = []
        var lastRows: [Int] = []
        var readsPrompt = false
        for index in active.indices {
            let room = session.tokenBudget - batch.tokenCount
            guard room > 0 else { break }
            guard let cache = active[index].cache else { continue }
            let piece = active[index].pending.prefix(room)
            if active[index].output.isEmpty { readsPrompt = true }
            batch.append(
                piece, firstPosition: cache.count, length: requests[active[index].request].prompt.count)
            active[index].pending = active[index].pending.dropFirst(piece.count)
            members.append(index)
            caches.append(cache)
            lastRows.append(active[index].pending.isEmpty ? 1 : 0)
        }
        let hidden = try session.hiddenStates(batch, caches: caches, lastRows: lastRows)
        let ready = zip(members, lastRows).filter { $0.1 > 0 }.map(\.0)
        if !ready.isEmpty {
            try session.forEachLogits(of: hidden) { range, logits in
                let greedy = sampler.isGreedy ? session.model.kernels.argmax(logits) : []
                for row in range {
                    let line = row - range.lowerBound
                    take(ready[row], sampler.isGreedy ? greedy[line] : logits.withRow(line) { sample(ready[row], $0) })
                }
            }
        }
        let seconds = (clock.now - start) / .seconds(1)
        if readsPrompt {
            statistics.promptTokens += batch.tokenCount
            statistics.promptSeconds += seconds
        } else {
            statistics.decodedTokens += batch.tokenCount
            statistics.decodeSeconds += seconds
        }
        resolve()
        active.removeAll { results[$0.request] != nil }
    }

    private func sample(_ index: Int, _ logits: UnsafeBufferPointer<Float>) -> Int32 {
        sampler.sample(logits: logits, sequence: numbers[active[index].request], step: active[index].output.count)
    }

    /// Gives an active sequence its next token and ends it if that is the last.
    private mutating func take(_ index: Int, _ token: Int32) {
        let request = active[index].request
        if options.stopTokens.contains(token) {
            results[request] = Generation(tokens: active[index].output, ending: .stop)
            return
        }
        active[index].output.append(token)
        active[index].pending = [token]
        onToken?(request, token)
        if active[index].output.count == active[index].limit.tokens {
            results[request] = Generation(tokens: active[index].output, ending: active[index].limit.ending)
        }
    }
}

/// The beginnings that sequences had in common last, with caches that have read them.
private struct PrefixStore {
    private static let capacity = 8
    /// The last used at the end.
    private var entries: [(tokens: ArraySlice<Int32>, cache: KVCache)] = []

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
}
