/// One sequence to learn from.
public struct TrainingSample: Sendable, Equatable {
    /// The tokens that go in, without any beyond the last that predicts something.
    public let inputs: [Int32]
    /// The token that each input must predict, −1 for none; as long as `inputs`.
    public let labels: [Int32]
    /// Number of labels that are not −1, those of `rejected` among them.
    public let labelCount: Int
    /// The first input whose embedding is a soft prompt's, if there is one among them.
    public let softRow: Int?
    /// Where the frozen model is asked what the labels' rows are to predict; nil: nowhere else.
    public let reference: Reference?
    /// What is to become less likely than this (`objective` dpo); nil: nothing is compared.
    public let rejected: Rejected?

    /// The answer that was not chosen, behind its prompt.
    public struct Rejected: Sendable, Equatable {
        /// The tokens that go in.
        public let inputs: [Int32]
        /// The token that each input must predict, −1 for none.
        public let labels: [Int32]
        /// Number of labels that are not −1.
        public let labelCount: Int
    }

    /// A text behind which the frozen model predicts what another text is to be followed by.
    public struct Reference: Sendable, Equatable {
        /// The tokens that go in.
        public let inputs: [Int32]
        /// The first row that counts; one for each label follows.
        public let firstRow: Int
        /// Log-probability that each label's token may have there at most, 0 for no limit: what the frozen model would
        /// predict if it did not know that token. The others keep their proportions.
        public let limits: [Float]
    }

    /// A sample of tokens of which those marked are to be predicted from the ones before them. The first token never is.
    /// Nil if nothing is to be predicted. From `softRow` on stand the places of a soft prompt.
    public init?(tokens: [Int32], isLabel: [Bool], softRow: Int? = nil) {
        precondition(tokens.count == isLabel.count, "\(tokens.count) tokens, \(isLabel.count) marks")
        guard let last = isLabel.lastIndex(of: true), last >= 1 else { return nil }
        self.softRow = softRow
        (reference, rejected) = (nil, nil)
        inputs = Array(tokens[..<last])
        labels = (1...last).map { isLabel[$0] ? tokens[$0] : -1 }
        labelCount = labels.lazy.filter { $0 >= 0 }.count
    }

    /// A prompt that is to be followed by whatever the frozen model predicts behind another one, along the same
    /// continuation, whose tokens may have the log-probabilities `limits` there at most (empty: no limits). Nil if one of
    /// the three is empty.
    public init?(prompt: [Int32], asBehind other: [Int32], along continuation: [Int32], limits: [Float] = []) {
        precondition(limits.isEmpty || limits.count == continuation.count, "\(limits.count) limits")
        guard !prompt.isEmpty, !other.isEmpty, !continuation.isEmpty else { return nil }
        inputs = prompt + continuation.dropLast()
        labels = Array(repeating: -1, count: prompt.count - 1) + continuation
        labelCount = continuation.count
        (softRow, rejected) = (nil, nil)
        reference = Reference(
            inputs: other + continuation.dropLast(), firstRow: other.count - 1,
            limits: limits.isEmpty ? Array(repeating: 0, count: continuation.count) : limits)
    }

    /// A sample beside another one that it is to be preferred to. Neither has a soft prompt or another reference.
    public init(_ chosen: TrainingSample, over other: TrainingSample) {
        precondition([chosen, other].allSatisfy { $0.softRow == nil && $0.reference == nil && $0.rejected == nil })
        (inputs, labels, softRow, reference) = (chosen.inputs, chosen.labels, nil, nil)
        labelCount = chosen.labelCount + other.labelCount
        rejected = Rejected(inputs: other.inputs, labels: other.labels, labelCount: other.labelCount)
    }

    /// Bytes of memory that it takes: its arrays, 32 bytes in front of each, and itself.
    var byteCount: Int {
        let behind = reference.map { ($0.inputs.count + $0.limits.count) * 4 + 64 } ?? 0
        let beside = rejected.map { ($0.inputs.count + $0.labels.count) * 4 + 64 } ?? 0
        return MemoryLayout<Self>.stride + (inputs.count + labels.count) * 4 + 64 + behind + beside
    }
    /// Tokens that go in, with those of what was rejected.
    public var tokenCount: Int { inputs.count + (rejected?.inputs.count ?? 0) }
    /// Tokens of what goes in or of what the frozen model is asked with, whichever are more.
    var widest: Int { max(tokenCount, reference?.inputs.count ?? 0) }
    /// Tokens of the longest of its texts.
    var longest: Int { max(inputs.count, rejected?.inputs.count ?? 0, reference?.inputs.count ?? 0) }
}
