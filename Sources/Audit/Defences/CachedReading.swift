import Kernels
import Model

/// A text of which a cache has read the beginning, and how many of its last positions' logits are wanted.
struct CachedText {
    let tokens: [Int32]
    let cache: KVCache
    let rows: Int
}

extension InferenceSession {
    /// Reads what the caches do not have yet, in passes within the token budget, and calls `body` with the logits of the
    /// wanted rows: once or more for each text, in order.
    func readRows(_ texts: [CachedText], _ body: (Int, FloatMatrix) throws -> Void) throws {
        var next = texts.startIndex
        while next < texts.endIndex {
            var batch = PackedBatch()
            var pieces: [(text: Int, rows: Int)] = []
            while next < texts.endIndex, batch.tokenCount < tokenBudget {
                let text = texts[next]
                let start = text.cache.count
                let end = min(text.tokens.count, start + tokenBudget - batch.tokenCount)
                precondition(start < end, "\(start) of \(text.tokens.count) tokens are read already")
                batch.append(text.tokens[start..<end], firstPosition: start)
                pieces.append((next, max(0, end - max(start, text.tokens.count - text.rows))))
                // The rest comes with the next pass: a text has one piece in a batch.
                if end < text.tokens.count { break }
                next += 1
            }
            let hidden = try hiddenStates(
                batch, caches: pieces.map { texts[$0.text].cache }, lastRows: pieces.map(\.rows))
            var row = 0
            for piece in pieces where piece.rows > 0 {
                let all = hidden.slice(rows: row..<row + piece.rows)
                try forEachLogits(of: all) { try body(piece.text, $1) }
                row += piece.rows
            }
        }
    }
}
