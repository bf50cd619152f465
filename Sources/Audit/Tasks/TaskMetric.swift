/// What a task measures, by lm-evaluation-harness's names.
public enum TaskMetric: String, Sendable, CaseIterable {
    /// Share of documents whose likeliest choice is the right one; of targets, of those that greedy decoding gives.
    case acc
    /// The same with each log-likelihood divided by the choice's length in characters (code points).
    case accNorm = "acc_norm"
    /// The same with each log-likelihood divided by the choice's length in UTF-8 bytes.
    case accBytes = "acc_bytes"
    /// The mean over the choices' indices of the F1 score of that index against all others; ReCoRD's of words.
    case f1
    /// Share of ReCoRD's answers that are right word by word.
    case em
    /// e to the mean negative log-likelihood of the targets.
    case perplexity
    /// e to the negative log-likelihood of all texts by their words.
    case wordPerplexity = "word_perplexity"
    /// The same by their bytes.
    case bytePerplexity = "byte_perplexity"
    /// The same in bits.
    case bitsPerByte = "bits_per_byte"
    /// Share of answers that are the target.
    case exactMatch = "exact_match"

    /// Whether more is better.
    public var higherIsBetter: Bool {
        ![.perplexity, .wordPerplexity, .bytePerplexity, .bitsPerByte].contains(self)
    }

    /// The name of how documents become one value, where there is only one way.
    public var aggregation: String {
        switch self {
        case .acc, .accNorm, .accBytes, .em, .exactMatch: "mean"
        case .f1: "macro"
        case .perplexity: "perplexity"
        case .wordPerplexity, .bytePerplexity: "weighted_perplexity"
        case .bitsPerByte: "bits_per_byte"
        }
    }

    /// Those that a task of that output may have.
    public static func known(_ output: TaskOutput, _ step: ResultStep?) -> [TaskMetric] {
        switch (output, step) {
        case (.multipleChoice, nil): [.acc, .accNorm, .accBytes, .f1]
        case (.multipleChoice, .truthfulqaMC2): [.acc]
        case (.multipleChoice, .record): [.f1, .em]
        case (.logLikelihood, _): [.perplexity, .acc]
        case (.rolling, _): [.wordPerplexity, .bytePerplexity, .bitsPerByte]
        case (.generation, _): [.exactMatch]
        }
    }

    /// Those of a task that names none.
    public static func standard(_ output: TaskOutput) -> [TaskMetric] {
        switch output {
        case .multipleChoice: [.acc, .accNorm]
        case .logLikelihood: [.perplexity, .acc]
        case .rolling: [.wordPerplexity, .bytePerplexity, .bitsPerByte]
        case .generation: [.exactMatch]
        }
    }
}
