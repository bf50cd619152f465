import Base
import Model
import Quant
import Tune

extension OpenedModel {
    /// A dataset, one file or several (`DatasetList`), as token sequences of this model.
    ///
    /// - Parameters:
    ///   - path: what `data` says.
    ///   - chat: put pairs into the model's chat template, the first part as the user's message, the second as the answer
    ///     with EOS behind it: what a chat model keeps its quality on. Other rows are taken as they are.
    ///   - seed: of the draw where files have weights.
    /// - Throws: a usage error for a list that is none; a bad-input error that names file and row, also for one longer than the model's context where the options
    ///   say so; a usage error for `chat` where the model has no template.
    public func dataset(
        path: String, options: EncodingOptions, chat: Bool = false, seed: UInt64 = 42
    ) throws -> EncodedDataset {
        let list = try DatasetList(path)
        return try EncodedDataset(
            list, list.paths.map { try dataset(file: $0, options: options, chat: chat) }, seed: seed)
    }

    private func dataset(file path: String, options: EncodingOptions, chat: Bool) throws -> EncodedDataset {
        let data = try encoded(path: path, options: options, chat: chat)
        let context = transformer.spec.maxPositionEmbeddings
        guard data.longest <= context else {
            throw MeraserError.badInput(
                "\(path): its longest row has \(data.longest) tokens, \(transformer.store.path) has a context of \(context) "
                    + "positions; cut rows with `max_length` \(context)")
        }
        return data
    }

    private func encoded(path: String, options: EncodingOptions, chat: Bool) throws -> EncodedDataset {
        let options = withinContext(options)
        let file = try DatasetFile(
            path: path, removing: options.removeColumns, comparing: options.comparesAnswers)
        let pairs = file.rows.compactMap(\.pair)
        if chat, !pairs.isEmpty {
            let others = file.rejected?.compactMap(\.pair)
            let samples = try pairs.indices.compactMap { index -> TrainingSample? in
                let chosen = try chatSample(pairs[index].prompt, pairs[index].completion, options: options)
                guard let others else { return chosen }
                let rejected = try chatSample(others[index].prompt, others[index].completion, options: options)
                guard let chosen, let rejected else { return nil }
                return TrainingSample(chosen, over: rejected)
            }
            guard !samples.isEmpty else {
                throw MeraserError.badInput("\(path): there is nothing to learn in its rows")
            }
            return EncodedDataset(
                samples: samples, skipped: pairs.count - samples.count, sha256: sha256Hex("\(file.sha256) chat".utf8))
        }
        return try EncodedDataset(file, options: options, tokenizer: tokenizer, chatTemplate: chatTemplate)
    }

    /// Those options with the model's context, which bounds samples where no length is given.
    func withinContext(_ options: EncodingOptions) -> EncodingOptions {
        var options = options
        options.context = transformer.spec.maxPositionEmbeddings
        return options
    }

    private func chatSample(_ question: String, _ answer: String, options: EncodingOptions) throws -> TrainingSample? {
        let text = try render([ChatMessage(role: "user", content: question)], addGenerationPrompt: true)
        var prompt = tokenizer.encode(text, addSpecialTokens: false)
        let end = options.eos == false ? [] : [tokenizer.eosID].compactMap { $0 }
        let completion =
            tokenizer.encodeContinuation(of: text, promptTokens: prompt, addSpecialTokens: false, answer) + end
        if options.bos == true, let id = tokenizer.bosID, prompt.first != id { prompt.insert(id, at: 0) }
        prompt = Array(prompt.prefix(options.maxPromptLength ?? Int.max))
        let tokens = Array(
            (prompt + completion.prefix(options.maxCompletionLength ?? Int.max)).prefix(options.length()))
        let firstLabel = options.loss == .completion ? prompt.count : 1
        return TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= firstLabel })
    }
}
