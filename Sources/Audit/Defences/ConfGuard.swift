/// ConfGuard (arXiv 2508.01365): an output is withheld once so many tokens in a row have each had almost all of the
/// probability, which what is known by heart has and ordinary text seldom.
public struct ConfGuard: DecodingRule, Equatable {
    /// The probability that every token of a run exceeds: 0.99 in the paper.
    public let threshold: Double
    /// Tokens of a run that raise the alarm: 10 in the paper.
    public let length: Int
    private var run = 0

    /// The paper's by default.
    public init(threshold: Double = 0.99, length: Int = 10) {
        precondition((0..<1).contains(threshold) && length >= 1, "threshold \(threshold), length \(length)")
        (self.threshold, self.length) = (threshold, length)
    }

    /// The likeliest token, and an alarm at the last of a run.
    public mutating func next(_ logits: UnsafeBufferPointer<Float>, likeliest: Int32, step: Int) -> Int32? {
        run = probability(of: likeliest, in: logits) > threshold ? run + 1 : 0
        return run >= length ? nil : likeliest
    }
}
