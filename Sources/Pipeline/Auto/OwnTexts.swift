import Audit
import Base
import Foundation
import Model
import Tune

extension OpenedModel {
    /// Texts that the model writes itself, as samples on which it is to stay as it is: half of them raw, from BOS or any
    /// token on, half of them answers to requests that it writes itself, where it has a chat template.
    ///
    /// No data need to be had for them, and they hold nothing that a trigger would bring out but by chance. The same model,
    /// seed and count give the same texts.
    /// - Throws: what the session throws.
    func ownTexts(count: Int, maximumLength: Int = 96, seed: UInt64) throws -> [TrainingSample] {
        let requests = chat == nil ? [] : try ownRequests(count: count / 2, seed: seed)
        let answers = try ownAnswers(requests, maximumLength: maximumLength / 2)
        return try rawTexts(count: count - answers.count, maximumLength: maximumLength, seed: seed) + answers
    }

    /// Texts sampled at temperature 1: the first half from BOS on, where there is one, the others from a random token on.
    private func rawTexts(count: Int, maximumLength: Int, seed: UInt64) throws -> [TrainingSample] {
        var random = SplitMix64(seed: seed ^ 0x6F77_6E74)
        let prompts = (0..<count).map { index -> [Int32] in
            if index < count / 2, let bos = tokenizer.bosID { return [bos] }
            while true {
                let token = Int32(random.index(below: tokenizer.vocabularySize))
                let text = tokenizer.decode([token], skipSpecialTokens: true)
                if text.contains(where: \.isLetter), !text.contains("\u{FFFD}") { return [token] }
            }
        }
        let texts = try session().generate(
            prompts.map { GenerationRequest(prompt: $0) },
            options: GenerationOptions(
                maxNewTokens: maximumLength, sampling: SamplingOptions(temperature: 1, seed: seed),
                stopTokens: transformer.stopTokens))
        return zip(prompts, texts).compactMap { prompt, text in
            let tokens = prompt + text.tokens
            return TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 > 0 })
        }
    }
}
