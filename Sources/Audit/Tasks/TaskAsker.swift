import Base
import Model
import Quant

/// Asks a model the questions of a task.
struct TaskAsker {
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

    /// How likely the model finds every continuation; and how many contexts were cut to fit.
    func scores(
        _ questions: [TaskQuestion], _ places: [String], _ onRequest: (Int, Int) -> Void
    ) throws -> (samples: [TaskSample], truncated: Int) {
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
        let samples = questions.map { question in
            defer { start += question.requests.count }
            return TaskSample(question: question, scores: Array(scores[start..<start + question.requests.count]))
        }
        return (samples, truncated)
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

    /// How likely the model finds every text, read in windows of its context that follow each other.
    func texts(
        _ questions: [TaskQuestion], _ onRequest: (Int, Int) -> Void
    ) throws -> (samples: [TaskSample], truncated: Int) {
        let items = try questions.map { try windows(encoder.encodeText($0.requests[0].continuation)) }
        let scores = try score(Array(items.joined()), onRequest)
        var samples: [TaskSample] = []
        var start = 0
        for (question, windows) in zip(questions, items) {
            let own = scores[start..<start + windows.count]
            start += windows.count
            let whole = ContinuationScore(
                logLikelihood: own.reduce(0.0) { $0 + $1.logLikelihood }, tokens: own.reduce(0) { $0 + $1.tokens },
                isGreedy: own.allSatisfy(\.isGreedy))
            samples.append(TaskSample(question: question, scores: [whole]))
        }
        return (samples, 0)
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

    /// What the model writes behind every context, up to the first text that ends it.
    func answers(
        _ questions: [TaskQuestion], _ places: [String], _ rule: GenerationRule, _ onRequest: (Int, Int) -> Void
    ) throws -> (samples: [TaskSample], truncated: Int) {
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
        let samples = try zip(zip(questions, texts), places).map { pair, place -> TaskSample in
            do {
                let filtered = try rule.filters.map { try $0.applied(to: pair.1) }
                return TaskSample(question: pair.0, written: .init(text: pair.1, filtered: filtered))
            } catch let error as MeraserError {
                throw MeraserError(error.kind, "\(place): \(error.message)")
            }
        }
        return (samples, truncated)
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
                let isDone = generation.ending != .length || ends.contains { Self.contains(text, $0) }
                return isDone ? nil : index
            }
            guard budget < rule.maxTokens else { break }
            budget = min(2 * budget, rule.maxTokens)
        }
        return tokens.map { tokens in
            ends.reduce(tokenizer.decode(tokens, skipSpecialTokens: true)) { Self.head(of: $0, before: $1) }
        }
    }

    /// Scalar by scalar: a text may end in the middle of what Swift takes for a character.
    private static func range(of part: String, in text: String) -> Int? {
        let (all, part) = (Array(text.utf8), Array(part.utf8))
        guard !part.isEmpty, part.count <= all.count else { return nil }
        return (0...all.count - part.count).first { all[$0...].starts(with: part) }
    }

    private static func contains(_ text: String, _ part: String) -> Bool { range(of: part, in: text) != nil }

    private static func head(of text: String, before part: String) -> String {
        range(of: part, in: text).map { String(decoding: text.utf8.prefix($0), as: UTF8.self) } ?? text
    }
}
