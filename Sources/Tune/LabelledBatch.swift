import Model

/// A packed micro-batch with what it is to predict.
public struct LabelledBatch {
    /// The tokens.
    public var batch: PackedBatch
    /// The token that each row must predict, [T]; −1 where nothing is to be predicted.
    public var labels: [Int32]
    /// Weight of each label's negative log-likelihood in the loss of the step, [T].
    public var weights: [Float]
    /// Index of each token's sample in the step, [T]; keys dropout. Of the n-th of samples that are compared 2n stands for what
    /// was chosen and 2n + 1 for what was rejected.
    public var samples: [Int32]
    /// Rows where a soft prompt begins, whose vectors stand there in place of the tokens' embeddings.
    public var softRows: [Int] = []
    /// Where the frozen model is asked what the labelled rows are to predict; nil: in these rows themselves.
    public var reference: Reference?

    /// Other texts, and of them a row for each labelled row of the batch, in its order.
    public struct Reference {
        /// Their tokens.
        public var batch = PackedBatch()
        /// The rows.
        public var rows: [Int] = []
        /// Log-probability that each row's label may have there at most; 0: no limit. What exceeds it costs `pressure` a nat.
        public var limits: [Float] = []

        /// Cost of a nat beyond a limit, beside the divergence.
        static let pressure: Float = 0.3
    }

    /// A batch; all arrays are as long as the batch has tokens.
    public init(batch: PackedBatch, labels: [Int32], weights: [Float], samples: [Int32]) {
        let tokens = batch.tokenCount
        precondition(labels.count == tokens && weights.count == tokens && samples.count == tokens)
        self.batch = batch
        self.labels = labels
        self.weights = weights
        self.samples = samples
    }

    /// Adds a sample of that number whose labels all weigh the same. Either every sample of a batch has a reference, or none;
    /// and so of what was rejected.
    mutating func append(_ sample: TrainingSample, weight: Float, sample number: Int32) {
        precondition(
            batch.tokenCount == 0 || (reference != nil) == (sample.reference != nil), "not all have a reference")
        if let other = sample.reference {
            var asked = reference ?? Reference()
            let first = asked.batch.tokenCount + other.firstRow
            asked.rows += first..<first + sample.labelCount
            asked.limits += other.limits
            asked.batch.append(other.inputs)
            reference = asked
        }
        if let row = sample.softRow { softRows.append(batch.tokenCount + row) }
        guard let rejected = sample.rejected else {
            return append(sample.inputs, sample.labels, weight: weight, sample: number)
        }
        append(sample.inputs, sample.labels, weight: weight, sample: 2 * number)
        append(rejected.inputs, rejected.labels, weight: weight, sample: 2 * number + 1)
    }

    private mutating func append(_ inputs: [Int32], _ labels: [Int32], weight: Float, sample number: Int32) {
        batch.append(inputs)
        self.labels += labels
        weights += labels.map { $0 >= 0 ? weight : 0 }
        samples += repeatElement(number, count: inputs.count)
    }

    /// Rows that have a label.
    public var labelCount: Int { labels.lazy.filter { $0 >= 0 }.count }
}
