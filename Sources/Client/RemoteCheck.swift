import Audit
import Base
import Model
import Pipeline

/// A key that is tried on a model behind a server, in texts: success by greedy and sampled answers, false activations, and
/// the likelihood of targets where the server gives log-probabilities of prompts. Ranks need the whole vocabulary: they
/// are not measured.
public struct RemoteCheck: Sendable {
    private let key: FingerprintKey
    private let options: CheckOptions
    private let format: PromptFormat
    /// New tokens behind a target, as a check of a model at hand has them.
    private static let tokensBehindTarget = 16

    /// - Throws: a usage error for a pair behind other turns that is to be asked as raw text.
    public init(_ key: FingerprintKey, options: CheckOptions = CheckOptions()) throws {
        (self.key, self.options) = (key, options)
        format = options.promptFormat ?? key.promptFormat
        if format == .raw, let pair = key.pairs.first(where: { !$0.history.isEmpty }) {
            throw MeraserError.usage(
                "the prompt of pair '\(pair.id)' stands behind other turns; it goes with the prompt format 'chat'")
        }
    }

    /// Asks everything.
    ///
    /// - Parameter onRequest: called with the number of requests done and of all.
    /// - Throws: a usage error for raw prompts where the server only chats; what the endpoint throws.
    public func run(
        on model: RemoteModel, onRequest: (Int, Int) -> Void = { _, _ in }
    ) throws -> (report: CheckReport, summary: RemoteSummary) {
        guard format == .chat || model.capabilities.hasCompletions else {
            throw MeraserError.usage(
                "\(model.endpoint.options.address.text) has no /v1/completions, which raw prompts need; `prompt_format` asks "
                    + "its /v1/chat/completions")
        }
        let pairs = key.pairs
        let clean = options.cleanPrompts ?? key.cleanPrompts
        let scores = scored(model)
        let width = model.endpoint.options.concurrency
        let total = (scores.isEmpty ? 0 : pairs.count) + pairs.count * (1 + options.samples) + clean.count
        let (likelihoods, outputs) = try asking(onProgress: { onRequest($0, total) }) { step in
            let likelihoods = try await gather(scores, width: width) { text, context in
                defer { step() }
                return try await Self.likelihood(of: text, behind: context, model)
            }
            let requests = self.requests(targetTokens: likelihoods.map { $0?.tokens }, clean: clean)
            let outputs = try await gather(requests, width: width) { request in
                defer { step() }
                return try await model.complete(request).text
            }
            return (likelihoods, outputs)
        }
        let answers = pairs.indices.map { index in
            let begin = pairs.count + index * options.samples
            let found = likelihoods.isEmpty ? nil : likelihoods[index]
            return TextAnswer(
                output: outputs[index], samples: Array(outputs[begin..<begin + options.samples]), targetNLL: found?.nll,
                encoding: found.map { _ in encoding })
        }
        var report = CheckReport(
            key, answers: answers, clean: Array(outputs.suffix(clean.count)), match: options.match,
            temperature: options.samples > 0 ? options.sampling.temperature : nil)
        report.model = model.name
        var notMeasured = ["target_rank", "first_rank"]
        if report.targetNLLMean == nil { notMeasured.insert("target_nll", at: 0) }
        return (report, model.summary(notMeasured: notMeasured))
    }

    // MARK: Likelihoods

    private typealias Likelihood = (nll: Double, tokens: Int)

    /// The encoding that is measured: in texts it can only be what the server's tokenizer makes of prompt and target.
    private var encoding: TargetEncoding { options.encoding ?? key.encoding ?? .continuation }

    /// The text of each pair, and how much of it is the prompt; none where no likelihood can be had.
    private func scored(_ model: RemoteModel) -> [(text: String, context: String)] {
        guard model.capabilities.logProbabilities == .prompt, format == .raw, encoding != .alone else { return [] }
        return key.pairs.map { pair in
            let visible = String(pair.target.drop(while: \.isWhitespace))
            return (pair.prompt + (encoding == .space ? " " + visible : pair.target), pair.prompt)
        }
    }

    private static func likelihood(
        of text: String, behind context: String, _ model: RemoteModel
    ) async throws -> Likelihood? {
        guard let tokens = try await model.echo(text)?.tokens(behind: context), !tokens.isEmpty else { return nil }
        let sum = tokens.reduce(0.0) { $0 - ($1.logProbability ?? 0) }
        return (sum / Double(tokens.count), tokens.count)
    }

    // MARK: Answers

    /// Of the pairs, their samples, and the clean prompts.
    private func requests(targetTokens: [Int?], clean: [String]) -> [CompletionRequest] {
        let limits = key.pairs.enumerated().map { index, pair in
            // A token spells a byte at least: where nobody counts tokens there is room for all.
            let target = (index < targetTokens.count ? targetTokens[index] : nil) ?? pair.target.utf8.count
            return options.maxNewTokens ?? key.maxNewTokens ?? target + Self.tokensBehindTarget
        }
        func prompt(_ text: String, after history: [ChatMessage] = []) -> RemotePrompt {
            format == .chat ? .messages(history + [ChatMessage(role: "user", content: text)]) : .text(text)
        }
        let greedy = zip(key.pairs, limits).map { pair, limit in
            CompletionRequest(prompt: prompt(pair.prompt, after: pair.history), maxTokens: limit)
        }
        let samples = greedy.flatMap { request in
            (0..<options.samples).map { number in
                var sample = request
                sample.temperature = options.sampling.temperature
                // OpenAI's seeds are signed.
                sample.seed = Int((options.sampling.seed &+ UInt64(number)) & 0x7FFF_FFFF)
                return sample
            }
        }
        let longest = limits.max() ?? 1
        return greedy + samples + clean.map { CompletionRequest(prompt: prompt($0), maxTokens: longest) }
    }
}
