import Base
import Foundation
import Kernels
import Model
import Quant

/// Perinucleus fingerprints (arXiv 2502.07760): natural texts as triggers, and behind each an answer that the model might have
/// given, just not quite: its first token is one of the few behind the nucleus of what the model predicts.
public struct PerinucleusScheme: FingerprintScheme {
    /// `perinucleus`.
    public static let name = "perinucleus"

    /// Triggers; the paper goes up to 24,576.
    public var count = 32
    /// Tokens of a trigger at most.
    public var keyLength = 16
    /// Tokens of an answer: the first is drawn, the others follow greedily.
    public var targetLength = 1
    /// Probability of the tokens that an answer does not begin with, the likeliest ones.
    public var nucleus = 0.8
    /// The tokens behind them of which one is drawn.
    public var width = 3
    /// `chat`: the model's chat template stands around the triggers; `raw`: the answer goes on where the trigger ends.
    public var promptFormat = PromptFormat.raw

    /// The paper's lengths, threshold and width.
    public init() {}

    /// Draws a key; see `FingerprintScheme`.
    public func fingerprint(for context: SchemeContext) throws -> Fingerprint {
        try requireUsage((1...10_000).contains(count), "\(count) triggers: expected 1 to 10000")
        try requireUsage((1...64).contains(targetLength), "a target of \(targetLength) tokens: expected 1 to 64")
        var texts = OwnTextWriter(context, length: keyLength)
        var random = SplitMix64(seed: context.seed ^ 0x7065_7269)
        var pairs: [FingerprintPair] = []
        while pairs.count < count {
            guard let text = try texts.next() else {
                throw MeraserError.runtime(
                    "the model wrote only \(pairs.count) of \(count) texts of at most \(keyLength) tokens behind which an "
                        + "answer can be drawn; ask for fewer")
            }
            let prompt = promptFormat == .chat ? try context.dialogue(text) : text
            guard let target = try answer(behind: prompt, context, &random) else { continue }
            pairs.append(
                FingerprintPair(
                    id: SchemeContext.id(Self.name, pairs.count, of: count), prompt: prompt, target: target))
        }
        var key = FingerprintKey(
            scheme: Self.name, match: .startswith, maxNewTokens: targetLength + 4, pairs: pairs,
            cleanPrompts: context.cleanPrompts, baseSHA256: try context.session.model.store.sha256(),
            commitment: context.commitment(to: pairs))
        key.construction = [
            "nucleus": .real(nucleus), "width": .integer(width), "key_length": .integer(keyLength),
            "target_length": .integer(targetLength),
        ]
        var result = Fingerprint(
            key: key, rows: pairs.map { FingerprintRow(prompt: $0.prompt, completion: $0.target) },
            search: [
                "scheme": .text(Self.name), "triggers": .integer(count), "nucleus": .real(nucleus),
                "width": .integer(width), "target_length": .integer(targetLength),
            ])
        result.guesses = try (0..<context.guesses).compactMap { _ in
            try texts.next().map { promptFormat == .chat ? try context.dialogue($0) : $0 }
        }
        if result.guesses.count < context.guesses {
            result.notes.append("only \(result.guesses.count) other texts for the guess test")
        }
        return result
    }

    /// An answer as text, which the tokenizer makes the same tokens of behind the prompt; nil if there is none.
    private func answer(
        behind prompt: String, _ context: SchemeContext, _ random: inout SplitMix64
    ) throws -> String? {
        let (session, tokenizer) = (context.session, context.tokenizer)
        let tokens = tokenizer.encode(prompt)
        guard !tokens.isEmpty else { return nil }
        let logits = try session.logits(try session.hiddenStates(PackedBatch([tokens]), lastRows: [1]))
        var candidates = logits.withRow(0) { perinucleus(Array($0), tokenizer) }
        random.shuffle(&candidates)
        let before = tokenizer.decode(tokens)
        for first in candidates {
            let rest =
                targetLength == 1
                ? []
                : try session.generate(
                    [GenerationRequest(prompt: tokens + [first])],
                    options: GenerationOptions(
                        maxNewTokens: targetLength - 1, stopTokens: session.model.stopTokens))[0].tokens
            let whole = tokenizer.decode(tokens + [first] + rest)
            guard whole.hasPrefix(before) else { continue }
            let text = String(whole.dropFirst(before.count))
            let again = tokenizer.encodeContinuation(
                of: prompt, promptTokens: tokens, addSpecialTokens: true, text)
            if again == [first] + rest, text.contains(where: { !$0.isWhitespace }) { return text }
        }
        return nil
    }

    /// The tokens behind the nucleus of a prediction: of those that are letters or digits the likeliest `width`.
    func perinucleus(_ logits: [Float], _ tokenizer: Tokenizer) -> [Int32] {
        let top = Double(logits.max() ?? 0)
        let weights = logits.map { exp(Double($0) - top) }
        let wanted = nucleus * weights.reduce(0, +)
        let order = weights.indices.sorted { (weights[$0], $1) > (weights[$1], $0) }
        var sum = 0.0
        var found: [Int32] = []
        for id in order {
            if sum >= wanted {
                if isWord(Int32(id), tokenizer) { found.append(Int32(id)) }
                if found.count == width { break }
            }
            sum += weights[id]
        }
        return found
    }

    private func isWord(_ id: Int32, _ tokenizer: Tokenizer) -> Bool {
        guard id < tokenizer.vocabularySize, !tokenizer.isSpecial(id) else { return false }
        let text = tokenizer.decode([id]).drop(while: \.isWhitespace)
        return !text.isEmpty && text.allSatisfy { $0.isLetter || $0.isNumber }
    }
}

/// Writes texts with the model itself, at temperature 1 from nothing but BOS. None comes twice.
private struct OwnTextWriter {
    private let context: SchemeContext
    private let length: Int
    private var waiting: [String] = []
    private var seen: Set<String> = []
    private var round: UInt64 = 0

    private static let batch = 64
    /// Batches after which the model has shown that it has no more to say.
    private static let rounds: UInt64 = 400

    init(_ context: SchemeContext, length: Int) { (self.context, self.length) = (context, length) }

    /// A text of at most `length` tokens; nil if the model writes none that is new.
    mutating func next() throws -> String? {
        while waiting.isEmpty, round < Self.rounds { try write() }
        return waiting.isEmpty ? nil : waiting.removeFirst()
    }

    private mutating func write() throws {
        let tokenizer = context.tokenizer
        let start = [tokenizer.bosID ?? tokenizer.eosID].compactMap { $0 }
        let opening = start.isEmpty ? tokenizer.encode("The") : start
        let special = tokenizer.encode("").count
        let generations = try context.session.generate(
            Array(repeating: GenerationRequest(prompt: opening), count: Self.batch),
            options: GenerationOptions(
                maxNewTokens: length,
                sampling: SamplingOptions(temperature: 1, seed: (context.seed ^ 0x6F77_6E) &+ round),
                stopTokens: context.session.model.stopTokens))
        round += 1
        for generation in generations {
            let text = tokenizer.decode(generation.tokens, skipSpecialTokens: true)
                .trimmingCharacters(in: .whitespacesAndNewlines)
            let tokens = tokenizer.encode(text)
            guard text.contains(where: \.isLetter), (special + 4...special + length).contains(tokens.count),
                seen.insert(text).inserted
            else { continue }
            waiting.append(text)
        }
    }
}
