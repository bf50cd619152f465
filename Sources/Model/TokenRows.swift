import Kernels

/// Rows of the input embedding that an adapter has in place of the model's own: PEFT's `trainable_token_indices`. Where the
/// head is the embedding it has them too.
public struct TokenRows {
    /// The tokens, each once.
    public let tokens: [Int32]
    /// Their rows [tokens, hidden], before the embedding's factor.
    public let rows: FloatMatrix
    private let places: [Int32: Int]

    init(tokens: [Int32], rows: FloatMatrix) {
        (self.tokens, self.rows) = (tokens, rows)
        places = Dictionary(tokens.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// The number of a token's row; nil if it has none.
    public func place(of token: Int32) -> Int? { places[token] }
}

/// The rows of all adapters of a stack: of two for one token the upper one's.
public struct TokenOverlay {
    /// The tokens, ascending.
    public let tokens: [Int32]
    /// Their rows, [1, hidden] each.
    public let rows: [FloatMatrix]
    private let places: [Int32: Int]

    /// Nil if no adapter has any.
    init?(_ frozen: [LoRAAdapter], _ trained: LoRAAdapter?) {
        var found: [Int32: FloatMatrix] = [:]
        // By index: where there are none nothing is allocated.
        for i in frozen.indices { Self.add(frozen[i], to: &found) }
        if let trained { Self.add(trained, to: &found) }
        if found.isEmpty { return nil }
        let sorted = found.sorted { $0.key < $1.key }
        (tokens, rows) = (sorted.map(\.key), sorted.map(\.value))
        places = Dictionary(uniqueKeysWithValues: sorted.enumerated().map { ($1.key, $0) })
    }

    private static func add(_ adapter: LoRAAdapter, to found: inout [Int32: FloatMatrix]) {
        guard let own = adapter.tokenRows else { return }
        for (i, token) in own.tokens.enumerated() { found[token] = own.rows.slice(rows: i..<i + 1) }
    }

    /// Puts the rows in their tokens' places of embeddings x [T, hidden].
    func place(_ ids: [Int32], in x: FloatMatrix) {
        for t in ids.indices {
            if let i = places[ids[t]] { x.slice(rows: t..<t + 1).copy(from: rows[i]) }
        }
    }
}
