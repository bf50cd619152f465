import Base
import Kernels

/// What to measure and how often.
public struct BenchOptions: Sendable {
    /// Lengths of prompts (llama-bench's `-p`); nil: 512, or the model's context where that is shorter.
    public var prompts: [Int]?
    /// Tokens to generate from an empty context (llama-bench's `-n`); nil: 128, or what the context has room for.
    public var generations: [Int]?
    /// Sequences that are decoded together (llama-batched-bench's `-npl`).
    public var batches: [Int] = []
    /// Tokens of each prompt of a batch (`-npp`).
    public var batchPrompt = 64
    /// Tokens that each sequence of a batch generates (`-ntg`).
    public var batchGeneration = 128
    /// Tokens of a training step.
    public var trainings: [Int] = []
    /// Precision of a training step's backward; nil: what training chooses.
    public var backward: Compute?
    /// Measurements of each test, after one that does not count.
    public var rounds = 3
    /// Seed of the random tokens.
    public var seed: UInt64 = 42

    /// A prompt of 512 tokens and 128 new ones, three times.
    public init() {}

    /// The tests of a model with that context, in the order of the table. A usage error names a test that is longer.
    public func tests(context: Int) throws -> [BenchTest] {
        let tests: [BenchTest] =
            (prompts ?? [min(512, context)]).map { .prompt($0) }
            + (generations ?? [max(1, min(128, context - 1))]).map { .generation($0) }
            + batches.map { .batch($0, tokens: batchGeneration) } + trainings.map { .training($0) }
        for test in tests {
            let positions =
                switch test {
                case .prompt(let count), .training(let count): count
                // A generation begins with one token.
                case .generation(let count): count + 1
                case .batch(_, let tokens): batchPrompt + tokens
                }
            guard positions <= context else {
                throw MeraserError.usage(
                    "\(test.name) takes \(positions) positions, the model's context has \(context)")
            }
        }
        return tests
    }
}

/// One line of the table.
public enum BenchTest: Sendable, Equatable {
    /// A prompt of that many tokens up to the logits of its last.
    case prompt(Int)
    /// That many tokens one by one from an empty context.
    case generation(Int)
    /// That many sequences at once, `tokens` new ones each; prompts are not timed.
    case batch(Int, tokens: Int)
    /// A LoRA step over one sequence of that many tokens: forward, backward, AdamW.
    case training(Int)

    /// As llama-bench writes it: `pp512`, `tg128`; ours: `tg128x32` for 32 sequences, `train512`.
    public var name: String {
        switch self {
        case .prompt(let tokens): "pp\(tokens)"
        case .generation(let tokens): "tg\(tokens)"
        case .batch(let sequences, let tokens): "tg\(tokens)x\(sequences)"
        case .training(let tokens): "train\(tokens)"
        }
    }

    /// Tokens whose number a second is reported.
    public var tokenCount: Int {
        switch self {
        case .prompt(let tokens), .generation(let tokens), .training(let tokens): tokens
        case .batch(let sequences, let tokens): sequences * tokens
        }
    }

    /// True for a training step.
    var isTraining: Bool {
        if case .training = self { return true }
        return false
    }
}
