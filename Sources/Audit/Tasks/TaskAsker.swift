import Base
import Model
import Quant

/// A model at hand, which is asked in tokens.
struct TaskAsker: TaskModel {
    /// Contexts between two reports of progress.
    private static let itemsAtOnce = 32

    private let session: InferenceSession
    private let tokenizer: Tokenizer
    private let encoder: ContinuationEncoder
    private let maxLength: Int

    init(session: InferenceSession, tokenizer: Tokenizer, maxLength: Int) {
        (self.session, self.tokenizer, self.maxLength) = (session, tokenizer, maxLength)
        encoder = ContinuationEncoder(tokenizer)
    }

    private typealias Item = (context: [Int32], continuations: [[Int32]])

    func scores(
        _ questions: [TaskQuestion], places: [String], onRequest: (Int, Int) -> Void
    ) throws -> (scores: [[ContinuationScore]], truncated: Int) {
        var items: [Item] = []
        var truncated = 0
        for (question, place) in zip(questions, places) {
            let begin = items.count
            for request in question.requests {
                let (context, continuation) = try tokens(request, place, truncated: &truncated)
                // Choices behind one context are scored together, so that it is computed once.
                if items.count > begin, items[items.count - 1].context == context {
                    items[items.count - 1].continuations.append(continuation)
                } else {
                    items.append((context, [continuation]))
                }
            }
        }
        let scores = try score(items, onRequest)
        var start = 0
        let byQuestion = questions.map { question in
            defer { start += question.requests.count }
            return Array(scores[start..<start + question.requests.count])
        }
        return (byQuestion, truncated)
    }

    private func score(_ items: [Item], _ onRequest: (Int, Int) -> Void) throws -> [ContinuationScore] {
        let total = items.reduce(0) { $0 + $1.continuations.count }
        var result: [ContinuationScore] = []
        var start = 0
        while start < items.count {
            let end = min(start + Self.itemsAtOnce, items.count)
            for scores in try session.scoreContinuations(Array(items[start..<end])) { result += scores }
            start = end
            onRequest(result.count, total)
        }
        return result
    }

    /// The tokens of a request, its context cut at the beginning so that the model can see all but the last token.
    private func tokens(
        _ request: TaskQuestion.Request, _ place: String, truncated: inout Int
    ) throws -> (context: [Int32], continuation: [Int32]) {
        let (context, continuation) = try encoder.encode(request, place: place)
        guard continuation.count <= maxLength else {
            throw MeraserError.badInput(
                "\(place): a choice of \(continuation.count) tokens does not fit into the model's \(maxLength)")
        }
        let room = maxLength + 1 - continuation.count
        if context.count > room { truncated += 1 }
        return (Array(context.suffix(room)), continuation)
    }

    // MARK: Texts

    /// Texts are read in windows of the model's context that follow each other.
    func textScores(
        _ questions: [TaskQuestion], places: [String], onRequest: (Int, Int) -> Void
    ) throws -> [ContinuationScore] {
        let items = try questions.map { try windows(encoder.encodeText($0.requests[0].continuation)) }
        let scores = try score(Array(items.joined()), onRequest)
        var start = 0
        return items.map { windows in
            let own = scores[start..<start + windows.count]
            start += windows.count
            return ContinuationScore(
                logLikelihood: own.reduce(0.0) { $0 + $1.logLikelihood }, tokens: own.reduce(0) { $0 + $1.tokens },
                isGreedy: own.allSatisfy(\.isGreedy))
        }
    }

    /// Windows in which every token is predicted once: the first behind the prefix token, the others behind as many
    /// tokens as the model can still see.
    private func windows(_ tokens: [Int32]) throws -> [Item] {
        guard !tokens.isEmpty else { return [] }
        guard let prefix = encoder.prefix else {
            throw MeraserError.badInput(
                "the tokenizer has neither BOS nor EOS, which the first token would stand behind")
        }
        var result: [Item] = [([prefix], [Array(tokens.prefix(maxLength))])]
        var done = min(maxLength, tokens.count)
        while done < tokens.count {
            let end = min(done + maxLength, tokens.count)
            result.append((Array(tokens[max(0, end - maxLength - 1)..<done]), [Array(tokens[done..<end])]))
            done = end
        }
        return result
    }

    // MARK: Answers

    func answers(
        _ questions: [TaskQuestion], places: [String], rule: GenerationRule, onRequest: (Int, Int) -> Void
    ) throws -> (texts: [String], truncated: Int) {
        let room = maxLength - rule.maxTokens
        guard room > 0 else {
            throw MeraserError.usage(
                "`max_gen_toks` \(rule.maxTokens): expected fewer tokens than the model may see, \(maxLength)")
        }
        var truncated = 0
        let prompts = try zip(questions, places).map { question, place in
            let tokens = encoder.encodeText(question.requests[0].context)
            guard !tokens.isEmpty else { throw MeraserError.badInput("\(place): the context has no tokens") }
            if tokens.count > room { truncated += 1 }
            return Array(tokens.suffix(room))
        }
        var texts: [String] = []
        while texts.count < prompts.count {
            let end = min(texts.count + Self.itemsAtOnce, prompts.count)
            texts += try written(Array(prompts[texts.count..<end]), rule)
            onRequest(texts.count, prompts.count)
        }
        return (texts, truncated)
    }

    /// Greedy answers, in rounds of twice as many tokens: those that have their end leave.
    private func written(_ prompts: [[Int32]], _ rule: GenerationRule) throws -> [String] {
        let ends = rule.until + [encoder.endText].filter { !$0.isEmpty }
        var tokens = [[Int32]](repeating: [], count: prompts.count)
        var open = Array(prompts.indices)
        var budget = min(64, rule.maxTokens)
        while !open.isEmpty {
            let generations = try session.generate(
                open.map {
                    GenerationRequest(prompt: prompts[$0] + tokens[$0], maxNewTokens: budget - tokens[$0].count)
                },
                options: GenerationOptions(stopTokens: session.model.stopTokens))
            for (index, generation) in zip(open, generations) { tokens[index] += generation.tokens }
            open = zip(open, generations).compactMap { index, generation in
                let text = tokenizer.decode(tokens[index], skipSpecialTokens: true)
                let hasEnd = ends.contains { GenerationRule.range(of: $0, in: text) != nil }
                return hasEnd || generation.ending != .length ? nil : index
            }
            guard budget < rule.maxTokens else { break }
            budget = min(2 * budget, rule.maxTokens)
        }
        return tokens.map { rule.head(of: tokenizer.decode($0, skipSpecialTokens: true), alsoBefore: encoder.endText) }
    }
}
