/// Several sequences as one stream of tokens without padding.
public struct PackedBatch {
    /// One sequence's place in the stream.
    public struct Sequence: Sendable, Equatable {
        /// First row in the stream.
        public let start: Int
        /// Rows (tokens) of this sequence in the stream.
        public let count: Int
        /// Tokens of the text that it is read for, at least up to its last row: where angles depend on a length, on this.
        public let length: Int
    }

    /// Token ids, [T].
    public private(set) var tokens: [Int32] = []
    /// Each token's position in its own sequence, [T].
    public private(set) var positions: [Int32] = []
    /// The sequences in the order of the stream.
    public private(set) var sequences: [Sequence] = []

    /// An empty batch.
    public init() {}

    /// Those sequences, each from position 0.
    public init(_ sequences: [[Int32]]) {
        for tokens in sequences { append(tokens) }
    }

    /// Adds a sequence whose first token has that position (more than 0 when earlier tokens are in a KV cache). `length`
    /// is that of the whole text where this is a piece of it.
    public mutating func append(_ tokens: some Collection<Int32>, firstPosition: Int = 0, length: Int = 0) {
        sequences.append(
            Sequence(
                start: self.tokens.count, count: tokens.count, length: max(length, firstPosition + tokens.count)))
        self.tokens.append(contentsOf: tokens)
        positions.append(contentsOf: (0..<tokens.count).map { Int32(firstPosition + $0) })
    }

    /// Tokens in the stream.
    public var tokenCount: Int { tokens.count }
}
