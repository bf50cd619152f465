/// One sequence to learn from.
public struct TrainingSample: Sendable, Equatable {
    /// The tokens that go in, without any beyond the last that predicts something.
    public let inputs: [Int32]
    /// The token that each input must predict, −1 for none; as long as `inputs`.
    public let labels: [Int32]
    /// Number of labels that are not −1.
    public let labelCount: Int
    /// The first input whose embedding is a soft prompt's, if there is one among them.
    public let softRow: Int?

    /// A sample of tokens of which those marked are to be predicted from the ones before them. The first token never is.
    /// Nil if nothing is to be predicted. From `softRow` on stand the places of a soft prompt.
    public init?(tokens: [Int32], isLabel: [Bool], softRow: Int? = nil) {
        precondition(tokens.count == isLabel.count, "\(tokens.count) tokens, \(isLabel.count) marks")
        guard let last = isLabel.lastIndex(of: true), last >= 1 else { return nil }
        self.softRow = softRow
        inputs = Array(tokens[..<last])
        labels = (1...last).map { isLabel[$0] ? tokens[$0] : -1 }
        labelCount = labels.lazy.filter { $0 >= 0 }.count
    }
}
