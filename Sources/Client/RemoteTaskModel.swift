import Audit
import Base
import Model

/// Answers the questions of tasks by asking a server in plain texts: likelihoods by log-probabilities of repeated prompts,
/// answers by greedy samples.
///
/// As in lm-evaluation-harness, blanks at a context's end belong to the continuation. A context that is too long is the
/// server's to refuse.
public struct RemoteTaskModel: TaskModel {
    private let model: RemoteModel

    /// A model that is asked.
    public init(_ model: RemoteModel) { self.model = model }

    private var server: String { model.endpoint.options.address.text }

    /// How likely every continuation is.
    ///
    /// - Throws: a usage error where the server gives no log-probabilities of prompts; a bad-input error for a row whose
    ///   continuation cannot be told from its context.
    public func scores(
        _ questions: [TaskQuestion], places: [String], onRequest: (Int, Int) -> Void
    ) throws -> (scores: [[ContinuationScore]], truncated: Int) {
        guard model.capabilities.logProbabilities == .prompt else {
            throw MeraserError.usage(
                "\(server) gives no log-probabilities of prompts (echo with logprobs), which tasks of choices and "
                    + "likelihoods need; tasks of the type generate_until can be asked")
        }
        let items = zip(questions, places).flatMap { question, place in
            question.requests.map { (request: $0, place: place) }
        }
        let scores = try asking(onProgress: { onRequest($0, items.count) }) { [model] step in
            try await gather(items, width: model.endpoint.options.concurrency) { item in
                defer { step() }
                return try await Self.score(item.request, item.place, model)
            }
        }
        var rest = scores[...]
        return (
            questions.map { question in
                defer { rest = rest.dropFirst(question.requests.count) }
                return Array(rest.prefix(question.requests.count))
            }, 0
        )
    }

    private static func score(
        _ request: TaskQuestion.Request, _ place: String, _ model: RemoteModel
    ) async throws -> ContinuationScore {
        let scalars = Array(request.context.unicodeScalars)
        let end = (scalars.lastIndex { !$0.properties.isWhitespace } ?? -1) + 1
        let context = String(String.UnicodeScalarView(scalars[..<end]))
        guard let echoed = try await model.echo(request.context + request.continuation) else {
            throw MeraserError.badInput("\(place): the server's text_offset does not fit the text that it repeats")
        }
        guard let tokens = echoed.tokens(behind: context), !tokens.isEmpty else {
            throw MeraserError.badInput(
                "\(place): a token of the server's reaches over the end of the context, or its likelihood is missing: the "
                    + "continuation's cannot be told")
        }
        let isGreedy = try tokens.allSatisfy { token in
            guard let best = token.best, let own = token.logProbability else {
                throw MeraserError.badInput("\(place): the server gives no top_logprobs")
            }
            return own >= best
        }
        return ContinuationScore(
            logLikelihood: tokens.reduce(0) { $0 + ($1.logProbability ?? 0) }, tokens: tokens.count, isGreedy: isGreedy)
    }

    /// Texts are read in windows of tokens, which are not known here.
    ///
    /// - Throws: a usage error.
    public func textScores(
        _ questions: [TaskQuestion], places: [String], onRequest: (Int, Int) -> Void
    ) throws -> [ContinuationScore] {
        throw MeraserError.usage(
            "tasks of the type loglikelihood_rolling read texts in windows of tokens, which cannot be asked of a server"
        )
    }

    /// What is written behind every context, or in answer to every conversation.
    ///
    /// - Throws: a usage error for plain texts where the server only chats.
    public func answers(
        _ questions: [TaskQuestion], places: [String], rule: GenerationRule, onRequest: (Int, Int) -> Void
    ) throws -> (texts: [String], truncated: Int) {
        let prompts = questions.map { question -> RemotePrompt in
            let request = question.requests[0]
            return request.turns.isEmpty ? .text(request.context) : .messages(request.turns)
        }
        if case .text? = prompts.first, !model.capabilities.hasCompletions {
            throw MeraserError.usage(
                "\(server) has no /v1/completions, which tasks in plain text need; `apply_chat_template` asks its "
                    + "/v1/chat/completions")
        }
        let texts = try asking(onProgress: { onRequest($0, prompts.count) }) { [model] step in
            try await gather(prompts, width: model.endpoint.options.concurrency) { prompt in
                defer { step() }
                let request = CompletionRequest(prompt: prompt, maxTokens: rule.maxTokens, stop: rule.until)
                return rule.head(of: try await model.complete(request).text)
            }
        }
        return (texts, 0)
    }
}
