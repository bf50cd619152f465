import Base
import Kernels
import Quant

/// A sequence to be continued among others.
public struct DecodingRequest: Sendable {
    /// Which predictions are shown to whoever asked.
    public enum Shown: Sendable {
        /// None.
        case nothing
        /// Those of new tokens.
        case output
        /// Those of the prompt's tokens too, from its second on. Such a prompt is read whole, never shared.
        case everything
    }

    /// The prompt's tokens, at least one.
    public let prompt: [Int32]
    /// How far it may be continued; of no token at all where only the prompt's predictions are wanted.
    public let limit: GenerationLimit
    /// Tokens that end it; they are not part of the output.
    public let stopTokens: Set<Int32>
    /// Greedy or sampled.
    public let sampler: Sampler
    /// Keys its samples, with the seed.
    public let number: Int
    /// Which predictions are shown.
    public let shown: Shown

    /// A request; the limit is what `Transformer.limit(of:index:options:)` gave.
    public init(
        prompt: [Int32], limit: GenerationLimit, stopTokens: Set<Int32>, sampler: Sampler, number: Int = 0,
        shown: Shown = .nothing
    ) {
        self.prompt = prompt
        self.limit = limit
        self.stopTokens = stopTokens
        self.sampler = sampler
        self.number = number
        self.shown = shown
    }
}

/// What happens to a sequence of a batch.
public enum DecodingEvent: Sendable, Equatable {
    /// A new token.
    case token(Int32)
    /// It has left the batch.
    case ended(Generation.Ending)
}

/// Shows a sequence's next token, of the prompt or new, with the logits [1, V] that foretold it; the last may be a stop
/// token, which is no output. The logits are valid only while they are shown.
public typealias ShownPrediction = (_ id: Int, _ token: Int32, _ logits: FloatMatrix) -> Void

/// Sequences that are decoded together: they join and leave between forward passes, and what they begin with in common is
/// read once. Each gets what it would get alone. Use from one thread at a time.
public struct DecodingBatch {
    private let session: InferenceSession
    /// Beginnings are read once; not where their angles depend on what follows them.
    private let sharesPrefixes: Bool
    private var active: [Member] = []
    private var prefixes: PrefixStore
    /// What its passes read, and how long they took.
    public private(set) var statistics = GenerationStatistics()

    /// A sequence that has a place in the batch.
    private struct Member {
        let id: Int
        let request: DecodingRequest
        /// Nil as long as it waits for what another sequence reads.
        var cache: KVCache?
        /// That sequence, and how many tokens the two have in common.
        var awaited: (id: Int, count: Int)?
        var pending: ArraySlice<Int32>
        var outputCount = 0
        var hasEnded = false
    }

    /// An empty batch; `keepsFinished`: what a sequence has read stays for later ones that begin alike.
    public init(session: InferenceSession, sharesPrefixes: Bool = true, keepsFinished: Bool = false) {
        self.session = session
        self.sharesPrefixes = sharesPrefixes && !session.model.spec.hasLengthDependentRotary
        prefixes = PrefixStore(keepsFinished: keepsFinished)
    }

    /// Sequences that have a place.
    public var count: Int { active.count }

    /// Lets a sequence in: on what the store or an active sequence has read of its prompt, or alone. Its id is no other's.
    public mutating func join(_ id: Int, _ request: DecodingRequest) {
        let prompt = request.prompt
        var member = Member(id: id, request: request, pending: prompt[...])
        let shares = sharesPrefixes && request.shown != .everything
        let stored = shares ? prefixes.longest(of: prompt) : nil
        if shares {
            // The last token is always read: its hidden state predicts the first new one.
            let shared = active.filter { $0.awaited == nil }.map {
                (id: $0.id, count: min(prompt.count - 1, commonPrefixCount(prompt, $0.request.prompt)))
            }
            if let best = shared.max(by: { $0.count < $1.count }),
                best.count >= shortestSharedPrefix, best.count > stored?.count ?? 0
            {
                member.awaited = best
                active.append(member)
                return
            }
        }
        let capacity = capacity(of: request)
        let cache = stored.map { $0.cache.fork(count: $0.count, capacity: capacity) }
        active.append(adopting(cache ?? session.makeCache(capacity: capacity), member))
    }

    /// Takes a sequence out; those that waited for it read for themselves. Nothing happens if it has left.
    public mutating func leave(_ id: Int) {
        active.removeAll { $0.id == id }
        for index in active.indices where active[index].awaited?.id == id {
            active[index] = adopting(session.makeCache(capacity: capacity(of: active[index].request)), active[index])
        }
    }

    /// One forward pass: every sequence takes part with its next tokens, long prompts in pieces that fit the session's
    /// token budget; those whose prompt is through get a new token.
    ///
    /// - Parameters:
    ///   - onPrediction: what a request wants to be shown, a new token's prediction before the token.
    ///   - onEvent: what has happened, in the order in which it did.
    /// - Throws: what a forward pass throws; the batch is of no use then.
    public mutating func step(onPrediction: ShownPrediction? = nil, onEvent: (_ id: Int, DecodingEvent) -> Void) throws
    {
        let clock = ContinuousClock()
        let start = clock.now
        var batch = PackedBatch()
        var caches: [KVCache] = []
        var lastRows: [Int] = []
        // Whose row of logits each is, and how many tokens stand before what it foretells.
        var rows: [(member: Int, position: Int)] = []
        var readsPrompt = false
        for index in active.indices {
            let room = session.tokenBudget - batch.tokenCount
            guard room > 0 else { break }
            guard let cache = active[index].cache else { continue }
            let piece = active[index].pending.prefix(room)
            if active[index].outputCount == 0 { readsPrompt = true }
            batch.append(piece, firstPosition: cache.count, length: active[index].request.prompt.count)
            active[index].pending = active[index].pending.dropFirst(piece.count)
            let end = cache.count + piece.count
            let wanted = wantedRows(active[index], piece: cache.count..<end)
            caches.append(cache)
            lastRows.append(wanted.count)
            rows += wanted.map { (index, $0 + 1) }
        }
        let hidden = try session.hiddenStates(batch, caches: caches, lastRows: lastRows)
        if !rows.isEmpty {
            try session.forEachLogits(of: hidden) { range, logits in
                let picksLikeliest = range.contains { active[rows[$0].member].request.sampler.isGreedy }
                let likeliest = picksLikeliest ? session.model.kernels.argmax(logits) : []
                for row in range {
                    let (index, position) = rows[row]
                    let (id, request) = (active[index].id, active[index].request)
                    let line = row - range.lowerBound
                    let predicted = logits.slice(rows: line..<line + 1)
                    let show = request.shown == .nothing ? nil : onPrediction
                    guard position >= request.prompt.count else {
                        show?(id, request.prompt[position], predicted)
                        continue
                    }
                    guard request.limit.tokens > 0 else {
                        end(index, request.limit.ending, onEvent)
                        continue
                    }
                    let token =
                        request.sampler.isGreedy
                        ? likeliest[line]
                        : predicted.withRow(0) {
                            request.sampler.sample(
                                logits: $0, sequence: request.number, step: active[index].outputCount)
                        }
                    show?(id, token, predicted)
                    take(index, token, onEvent)
                }
            }
        }
        statistics.add(tokens: batch.tokenCount, readsPrompt: readsPrompt, seconds: (clock.now - start) / .seconds(1))
        resolve()
        for member in active where member.hasEnded {
            prefixes.keepFinished(member.request.prompt[...], of: member.cache)
        }
        active.removeAll { $0.hasEnded }
    }

    /// The positions of a piece whose predictions are needed; the last piece's last one leads to a token.
    private func wantedRows(_ member: Member, piece: Range<Int>) -> Range<Int> {
        if member.request.shown == .everything { return piece }
        return member.pending.isEmpty ? piece.upperBound - 1..<piece.upperBound : piece.upperBound..<piece.upperBound
    }

    private func capacity(of request: DecodingRequest) -> Int { request.prompt.count + request.limit.tokens }

    /// The member with a cache that has read the beginning of its prompt.
    private mutating func adopting(_ cache: KVCache, _ member: Member) -> Member {
        var member = member
        member.cache = cache
        member.awaited = nil
        member.pending = member.pending.dropFirst(cache.count)
        statistics.sharedTokens += cache.count
        return member
    }

    /// Gives those that wait for a sequence a fork of its cache once it has read enough.
    private mutating func resolve() {
        for index in active.indices {
            guard let awaited = active[index].awaited,
                let cache = active.first(where: { $0.id == awaited.id })?.cache, cache.count >= awaited.count
            else { continue }
            let request = active[index].request
            prefixes.keep(request.prompt[..<awaited.count], of: cache)
            active[index] = adopting(
                cache.fork(count: awaited.count, capacity: capacity(of: request)), active[index])
        }
    }

    /// Gives a member its next token and ends it if that is the last.
    private mutating func take(_ index: Int, _ token: Int32, _ onEvent: (Int, DecodingEvent) -> Void) {
        let (id, request) = (active[index].id, active[index].request)
        guard !request.stopTokens.contains(token) else { return end(index, .stop, onEvent) }
        active[index].outputCount += 1
        active[index].pending = [token]
        onEvent(id, .token(token))
        if active[index].outputCount == request.limit.tokens { end(index, request.limit.ending, onEvent) }
    }

    private mutating func end(_ index: Int, _ ending: Generation.Ending, _ onEvent: (Int, DecodingEvent) -> Void) {
        active[index].hasEnded = true
        onEvent(active[index].id, .ended(ending))
    }
}
