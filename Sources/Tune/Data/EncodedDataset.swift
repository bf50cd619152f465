import Base
import Model

/// A dataset as token sequences.
public struct EncodedDataset: Sendable {
    /// The samples in file order, without those that had nothing to learn.
    public let samples: [TrainingSample]
    /// Rows that were left out because no label token was in them.
    public let skipped: Int
    /// SHA-256 of the file that they came from.
    public let sha256: String
    /// The soft prompt at the samples' `softRow`; nil where no sample has one.
    public var softPrompt: SoftPrompt?

    /// Samples made elsewhere; `sha256` must change when they do.
    public init(samples: [TrainingSample], skipped: Int = 0, sha256: String) {
        self.samples = samples
        self.skipped = skipped
        self.sha256 = sha256
    }

    /// Encodes a file's rows.
    ///
    /// - Parameters:
    ///   - file: the rows.
    ///   - options: what to learn and how to cut.
    ///   - tokenizer: the model's.
    ///   - chatTemplate: the model's, if it has one.
    /// - Throws: `badInput` if no row has anything to learn, for a row of which the template leaves out something or that it
    ///   refuses, `usage` for options that do not fit.
    public init(
        _ file: DatasetFile, options: EncodingOptions, tokenizer: some SampleTokenizer,
        chatTemplate: ChatTemplate? = nil
    ) throws {
        let encoder = try SampleEncoder(file, options: options, tokenizer: tokenizer, chatTemplate: chatTemplate)
        let samples = try file.rows.indices.compactMap { index in
            try file.naming(row: index) { try encoder.sample(of: index, in: file) }
        }
        guard !samples.isEmpty else {
            throw MeraserError.badInput(
                "\(file.path): none of the \(file.rows.count) rows has a token to learn; are the answers empty, or cut "
                    + "off by `max_length`?")
        }
        self.init(
            samples: samples, skipped: file.rows.count - samples.count, sha256: file.sha256)
    }

    /// Tokens that go in, over all samples.
    public var tokenCount: Int { samples.reduce(0) { $0 + $1.tokenCount } }
    /// Tokens to be predicted, over all samples.
    public var labelCount: Int { samples.reduce(0) { $0 + $1.labelCount } }
    /// True if the samples are learnt from what the frozen model predicts elsewhere (`TrainingSample.reference`): all are.
    public var hasReference: Bool { samples.contains { $0.reference != nil } }
    /// Bytes of memory that the samples take.
    var byteCount: Int { samples.reduce(0) { $0 + $1.byteCount } }
    /// True if the samples are answers beside ones that were not chosen: all are.
    public var hasRejected: Bool { samples.contains { $0.rejected != nil } }
    /// Tokens of the longest text of a sample.
    public var longest: Int { samples.lazy.map(\.longest).max() ?? 0 }
}
