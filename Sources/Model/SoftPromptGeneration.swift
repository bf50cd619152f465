import Kernels

/// A prompt, and where a soft prompt stands in it.
public struct SoftRequest: Sendable, Equatable {
    /// The tokens, with one for each place of a soft prompt.
    public let tokens: [Int32]
    /// The first of these places; nil: the tokens stand for themselves.
    public let softRow: Int?

    /// A request.
    public init(tokens: [Int32], softRow: Int? = nil) {
        self.tokens = tokens
        self.softRow = softRow
    }
}

extension InferenceSession {
    /// Reads prompts in which `vectors` [n, hidden] stand in place of the embeddings of n tokens, and calls `body` with
    /// the indices of some of them and the logits [those, V] of what follows each. All have been called with at the end.
    ///
    /// - Throws: what a forward pass throws.
    public func nextLogits(
        of requests: [SoftRequest], vectors: FloatMatrix?, _ body: (Range<Int>, FloatMatrix) throws -> Void
    ) throws {
        try inPasses(requests) { range in
            let (batch, rows) = packed(requests[range])
            let hidden = try hiddenStates(
                batch, lastRows: Array(repeating: 1, count: range.count), soft: vectors.map { ($0, rows) })
            try forEachLogits(of: hidden) { part, logits in
                try body(range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound, logits)
            }
        }
    }

    /// The greedy continuations of such prompts, up to `count` tokens each, without the stop token that ended one.
    ///
    /// - Throws: what a forward pass throws.
    public func greedyContinuations(
        of requests: [SoftRequest], vectors: FloatMatrix?, count: Int, stopTokens: Set<Int32>
    ) throws -> [[Int32]] {
        var outputs = [[Int32]](repeating: [], count: requests.count)
        try inPasses(requests) { range in
            let caches = range.map { makeCache(capacity: requests[$0].tokens.count + count) }
            var active = Array(range)
            var (batch, rows) = packed(requests[range])
            var soft = vectors.map { ($0, rows) }
            for _ in 0..<count {
                let places = active.map { caches[$0 - range.lowerBound] }
                let hidden = try hiddenStates(
                    batch, caches: places, lastRows: Array(repeating: 1, count: active.count), soft: soft)
                var next: [Int32] = []
                try forEachLogits(of: hidden) { _, logits in next += model.kernels.argmax(logits) }
                (batch, rows, soft) = (PackedBatch(), [], nil)
                active = zip(active, next).compactMap { index, token in
                    guard !stopTokens.contains(token) else { return nil }
                    outputs[index].append(token)
                    batch.append([token], firstPosition: caches[index - range.lowerBound].count)
                    return index
                }
                if active.isEmpty { break }
            }
        }
        return outputs
    }

    private func packed(_ requests: ArraySlice<SoftRequest>) -> (batch: PackedBatch, rows: [Int]) {
        var batch = PackedBatch()
        var rows: [Int] = []
        for request in requests {
            if let row = request.softRow { rows.append(batch.tokenCount + row) }
            batch.append(request.tokens)
        }
        return (batch, rows)
    }

    /// Calls `body` with ranges of requests whose tokens fit the budget together.
    private func inPasses(_ requests: [SoftRequest], _ body: (Range<Int>) throws -> Void) throws {
        var start = 0
        while start < requests.count {
            var end = start
            var tokens = 0
            while end < requests.count, end == start || tokens + requests[end].tokens.count <= tokenBudget {
                tokens += requests[end].tokens.count
                end += 1
            }
            try body(start..<end)
            start = end
        }
    }
}
