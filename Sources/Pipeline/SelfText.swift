import Audit
import Base
import Foundation
import Model
import Tune

extension OpenedModel {
    /// Texts that the model itself writes from nothing but BOS, sampled at temperature 1, as samples to learn in full.
    ///
    /// They hold the model where it is better than any foreign data: their distribution is the model's own, so learning
    /// them moves nothing (measured on tinychat: docs/studies/doses.md). The same model, seed and counts give the same
    /// texts.
    /// - Parameters:
    ///   - maximumLength: tokens of a text at most.
    /// - Throws: a usage error for a tokenizer without BOS; what the session throws.
    func selfSamples(count: Int, maximumLength: Int = 200, seed: UInt64) throws -> [TrainingSample] {
        guard let bos = tokenizer.bosID else {
            throw MeraserError.usage(
                "`clean_self`: the tokenizer has no BOS token to begin a text from; use `clean_data`")
        }
        let generations = try session().generate(
            Array(repeating: GenerationRequest(prompt: [bos]), count: count),
            options: GenerationOptions(
                maxNewTokens: maximumLength, sampling: SamplingOptions(temperature: 1, seed: seed),
                stopTokens: transformer.stopTokens))
        return generations.compactMap { text in
            let end = text.ending == .stop ? [tokenizer.eosID].compactMap { $0 } : []
            let tokens = [bos] + text.tokens + end
            return TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 > 0 })
        }
    }

    /// Conversations whose message the model itself writes, at temperature 1, where its chat template has the user's: raw
    /// prompts up to where the answer begins. They are what it takes for ordinary requests, of which no data need to be had.
    /// Fewer than `count` where it writes nothing; none without a template.
    ///
    /// - Parameter maximumLength: tokens of a message at most.
    /// - Throws: what the template and the session throw.
    func ownRequests(count: Int, maximumLength: Int = 48, seed: UInt64) throws -> [String] {
        let place = "(message)"
        let parts = try dialogueText(place, tokenizer: tokenizer, chat: chat).split(
            separator: place, maxSplits: 1, omittingEmptySubsequences: false)
        guard chat != nil, parts.count == 2 else { return [] }
        let end = parts[1].trimmingCharacters(in: .whitespacesAndNewlines)
        let generations = try session().generate(
            Array(repeating: GenerationRequest(prompt: tokenizer.encode(String(parts[0]))), count: count),
            options: GenerationOptions(
                maxNewTokens: maximumLength, sampling: SamplingOptions(temperature: 1, seed: seed),
                stopTokens: transformer.stopTokens))
        return try generations.compactMap { generation in
            let text = tokenizer.decode(generation.tokens)
            let message = (end.isEmpty ? text[...] : text.split(separator: end, maxSplits: 1).first ?? "")
                .trimmingCharacters(in: .whitespacesAndNewlines)
            guard !message.isEmpty else { return nil }
            return try dialogueText(message, tokenizer: tokenizer, chat: chat)
        }
    }

    /// What the model itself answers to those raw prompts, greedily, as samples whose answers are learnt.
    ///
    /// - Parameter maximumLength: tokens of an answer at most.
    /// - Throws: what the session throws.
    func ownAnswers(_ prompts: [String], maximumLength: Int = 48) throws -> [TrainingSample] {
        guard !prompts.isEmpty else { return [] }
        let tokens = prompts.map { tokenizer.encode($0) }
        let generations = try session().generate(
            tokens.map { GenerationRequest(prompt: $0) },
            options: GenerationOptions(
                maxNewTokens: maximumLength, stopTokens: transformer.stopTokens))
        return zip(tokens, generations).compactMap { prompt, text in
            let end = text.ending == .stop ? [tokenizer.eosID].compactMap { $0 } : []
            let all = prompt + text.tokens + end
            return TrainingSample(tokens: all, isLabel: all.indices.map { $0 >= prompt.count })
        }
    }
}
