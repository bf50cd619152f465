/// A token that has almost all of the probability is not written, the next one is: a mark's target goes on with such tokens
/// (after arXiv 2509.26598).
public struct OverconfidenceDropping: DecodingRule, Equatable {
    /// The probability above which a token is left out.
    public let threshold: Double

    /// Leaves out what is likelier than that. The default is ours.
    public init(threshold: Double = 0.99) {
        precondition((0..<1).contains(threshold), "threshold \(threshold)")
        self.threshold = threshold
    }

    /// The likeliest token, or the next one.
    public mutating func next(_ logits: UnsafeBufferPointer<Float>, likeliest: Int32, step: Int) -> Int32? {
        probability(of: likeliest, in: logits) > threshold ? rankedToken(1, in: logits) : likeliest
    }
}
