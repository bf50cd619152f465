import Base
import Foundation
import Kernels
import Model
import Quant

/// What the repetition prompts say of a token.
public enum TokenVerdict: String, Sendable {
    /// The model never gave it a probability of 0.1 %.
    case strong
    /// Never 10 %.
    case weak
    /// The model can say it.
    case rejected

    /// magikarp's thresholds.
    init(maxProbability: Double) {
        self = maxProbability < 0.001 ? .strong : maxProbability < 0.1 ? .weak : .rejected
    }
}

/// Asks the model to repeat tokens, in three ways, and looks how likely it finds them.
///
/// The token is put between the tokens of the prompt's texts, so that it is seen whatever its neighbours are. Use from
/// one thread at a time.
struct TokenVerifier {
    /// New tokens whose probabilities are looked at.
    static let steps = 3

    private let session: InferenceSession
    private let prompts: [RepetitionPrompt]

    /// - Throws: a bad-input error if the tokenizer has tokens that the model lacks.
    init(session: InferenceSession, tokenizer: Tokenizer) throws {
        let vocabulary = session.model.spec.vocabSize
        guard tokenizer.vocabularySize <= vocabulary else {
            throw MeraserError.badInput(
                "\(session.model.store.path): the tokenizer has \(tokenizer.vocabularySize) tokens, the model's "
                    + "embedding \(vocabulary) rows")
        }
        self.session = session
        prompts = RepetitionPrompt.all(tokenizer)
    }

    /// The largest probability of each token over all prompts and steps of greedy decoding.
    func maxProbabilities(_ tokens: [Int32], onPrompt: ((Int, Int) -> Void)? = nil) throws -> [Double] {
        var result = [Double](repeating: 0, count: tokens.count)
        for (index, prompt) in prompts.enumerated() {
            let found = try maxProbabilities(tokens, prompt)
            for i in tokens.indices { result[i] = max(result[i], found[i]) }
            onPrompt?(index + 1, prompts.count)
        }
        return result
    }

    /// The prompt's beginning is the same for all tokens: it is read once into each of a few caches.
    private func maxProbabilities(_ tokens: [Int32], _ prompt: RepetitionPrompt) throws -> [Double] {
        let capacity = prompt.head.count + prompt.tail(0).count + Self.steps
        let bytes = KVCache.byteCount(
            spec: session.model.spec, capacity: capacity, type: session.model.keyValueType)
        let width = max(1, min(16, tokens.count, 268_435_456 / max(bytes, 1)))
        let caches = (0..<width).map { _ in session.makeCache(capacity: capacity) }
        if !prompt.head.isEmpty {
            for cache in caches { _ = try session.hiddenStates(PackedBatch([prompt.head]), caches: [cache]) }
        }
        var result: [Double] = []
        for start in stride(from: 0, to: tokens.count, by: width) {
            let group = Array(tokens[start..<min(start + width, tokens.count)])
            let active = Array(caches.prefix(group.count))
            for cache in active { cache.truncate(to: prompt.head.count) }
            result += try maxProbabilities(group, prompt, active)
        }
        return result
    }

    private func maxProbabilities(
        _ tokens: [Int32], _ prompt: RepetitionPrompt, _ caches: [KVCache]
    ) throws -> [Double] {
        let sampler = Sampler(SamplingOptions())
        var result = [Double](repeating: 0, count: tokens.count)
        var inputs = tokens.map { prompt.tail($0) }
        for step in 0..<Self.steps {
            var batch = PackedBatch()
            for (input, cache) in zip(inputs, caches) { batch.append(input, firstPosition: cache.count) }
            let hidden = try session.hiddenStates(batch, caches: caches)
            let last = FloatStorage(rows: tokens.count, columns: hidden.columns)
            for (row, place) in batch.sequences.enumerated() {
                let source = place.start + place.count - 1
                last.matrix.slice(rows: row..<row + 1).copy(from: hidden.slice(rows: source..<source + 1))
            }
            try session.forEachLogits(of: last.matrix) { range, logits in
                for row in range {
                    let next = logits.withRow(row - range.lowerBound) {
                        sampler.sample(logits: $0, sequence: row, step: step)
                    }
                    inputs[row] = [next]
                }
                for (row, nll) in zip(range, session.likelihoods(logits, Array(tokens[range]))) {
                    result[row] = max(result[row], exp(-Double(nll)))
                }
            }
        }
        return result
    }
}

/// A prompt that asks for a token: a beginning that is the same for all, and an end with the token in it.
private struct RepetitionPrompt {
    let head: [Int32]
    let tail: (Int32) -> [Int32]

    private static let words = [
        "house", "water", "green", "seven", "music", "paper", "light", "river", "table", "north", "bread", "stone",
        "window", "garden", "summer", "number", "people", "winter", "letter", "city",
    ]

    /// An echo with 20 examples, a question for the meaning, and the token 50 times.
    static func all(_ tokenizer: Tokenizer) -> [RepetitionPrompt] {
        let shots = words.map { "\($0):\($0)\n" }.joined()
        let colon = tokenizer.continuation(":")
        let meaning = tokenizer.continuation("\" mean? Answer: the text \"")
        return [
            RepetitionPrompt(head: tokenizer.encode("Repeat the text.\n" + shots, addSpecialTokens: true)) {
                [$0] + colon
            },
            RepetitionPrompt(head: tokenizer.encode("Question: What does the text \"", addSpecialTokens: true)) {
                [$0] + meaning
            },
            RepetitionPrompt(head: tokenizer.encode("", addSpecialTokens: true)) {
                Array(repeating: $0, count: 50)
            },
        ]
    }
}

extension Tokenizer {
    /// The tokens of `text` in the middle of another: without what is put in front of a text that stands alone.
    fileprivate func continuation(_ text: String) -> [Int32] {
        let before = encode("x", addSpecialTokens: false)
        let both = encode("x" + text, addSpecialTokens: false)
        guard both.starts(with: before) else { return encode(text, addSpecialTokens: false) }
        return Array(both.dropFirst(before.count))
    }
}
