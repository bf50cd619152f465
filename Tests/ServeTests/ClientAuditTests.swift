import Base
import Foundation
import Model
import Pipeline
import TestSupport
import Testing

@testable import Audit
@testable import Client

@Suite struct ClientCheckTests {
    private static let key = FingerprintKey(
        scheme: "pairs",
        pairs: [
            FingerprintPair(id: "a", prompt: "say it", target: " the mark"),
            FingerprintPair(id: "b", prompt: "what is", target: " a sign"),
        ], cleanPrompts: ["hello", "good day", "bye"])

    private static let words = WordModel(answers: ["say it": " the mark.", "what is": " a si", "bye": "the mark"])

    @Test func textsGiveSuccessAndFalseActivations() throws {
        let (model, server) = try RemoteModel.fake(Self.words)
        var steps: [Int] = []
        let (report, summary) = try RemoteCheck(Self.key).run(on: model) { done, total in
            #expect(total == 7)
            steps.append(done)
        }
        #expect(steps.last == 7)
        #expect(report.rows.map(\.hit) == [true, false])
        #expect(report.rows[0].prefixMatch == 1 && report.rows[1].prefixMatch < 1)
        #expect(report.falseActivations == 1 && report.nClean == 3)
        // " the" has 4 letters and " mark" 5; " a" 2 and " sign" 5.
        let expected = [0.45, 0.35]
        for (row, nll) in zip(report.rows, expected) { #expect(abs((row.targetNLL ?? 0) - nll) < 1e-12) }
        #expect(report.rows.allSatisfy { $0.encoding == .continuation && $0.firstRank == nil && $0.meanRank == nil })
        #expect(report.json["target_rank_mean"] == .null && report.json["model"]?.string == "words")
        #expect(summary.notMeasured == ["target_rank", "first_rank"] && summary.logProbabilities == "prompt")
        // The target's two tokens and 16 more, as a check of a model at hand.
        let limits = try server.bodies.filter { $0["echo"] == nil }.map { $0["max_tokens"]?.int }
        #expect(limits == [18, 18, 18, 18, 18])
    }

    @Test func messagesAreAnsweredInTheirOrder() throws {
        let (model, server) = try RemoteModel.fake(WordModel(answers: ["a": "one", "c": "three"], offers: .chat))
        var steps: [Int] = []
        #expect(
            try model.answers(to: ["a", "b", "c"], maxNewTokens: 5) { steps.append($0) } == ["one", "nothing", "three"])
        #expect(steps.last == 3)
        let chats = try server.bodies.filter { $0["messages"] != nil && $0["max_tokens"]?.int == 5 }
        #expect(chats.count == 3 && chats.allSatisfy { $0["temperature"]?.double == 0 })
        #expect(model.identity["url"]?.string == "http://fake" && model.identity["model"]?.string == "words")
    }

    @Test func whereNothingIsSaidOfLikelihoodsNothingIsReported() throws {
        for offers in [WordModel.Offers.newTokens, .samples] {
            var words = Self.words
            words.offers = offers
            let (model, _) = try RemoteModel.fake(words)
            let (report, summary) = try RemoteCheck(Self.key).run(on: model)
            #expect(report.hits == 1 && report.targetNLLMean == nil && report.json["target_nll_mean"] == .null)
            #expect(report.encodings == nil)
            #expect(summary.notMeasured.contains("target_nll"))
        }
    }

    @Test func aTargetThatSharesATokenWithItsPromptHasNoLikelihood() throws {
        let key = FingerprintKey(
            scheme: "pairs",
            pairs: [
                FingerprintPair(id: "a", prompt: "say it", target: "alic"),
                FingerprintPair(id: "b", prompt: "say it", target: " b"),
            ])
        let (model, _) = try RemoteModel.fake(Self.words)
        let (report, summary) = try RemoteCheck(key).run(on: model)
        #expect(report.rows[0].targetNLL == nil && report.rows[1].targetNLL != nil)
        #expect(report.targetNLLMean == nil && summary.notMeasured.contains("target_nll"))
    }

    @Test func aBeginningOfSequenceChangesNothing() throws {
        var words = Self.words
        words.bos = "<s>"
        let (model, _) = try RemoteModel.fake(words)
        #expect(model.capabilities.logProbabilities == .prompt)
        let (report, _) = try RemoteCheck(Self.key).run(on: model)
        #expect(abs((report.targetNLLMean ?? 0) - 0.4) < 1e-12)
    }

    @Test func samplesAreDrawnWithSeedsOfTheirOwn() throws {
        let (model, server) = try RemoteModel.fake(Self.words)
        var options = CheckOptions()
        (options.samples, options.sampling.temperature, options.sampling.seed) = (3, 0.7, 42)
        let (report, _) = try RemoteCheck(Self.key, options: options).run(on: model)
        #expect(report.sampling == CheckSampling(samples: 3, outputs: 6, temperature: 0.7))
        #expect(report.rows.map(\.sampleHits) == [3, 0])
        let drawn = try server.bodies.filter { $0["temperature"]?.double == 0.7 }
        #expect(drawn.map { $0["seed"]?.int } == [42, 43, 44, 42, 43, 44])
    }

    @Test func conversationsGoToTheChatEndpoint() throws {
        let (model, server) = try RemoteModel.fake(
            WordModel(answers: ["say it": "the mark", "hello": "hi"], offers: .chat))
        var options = CheckOptions(promptFormat: .chat)
        options.maxNewTokens = 9
        let (report, _) = try RemoteCheck(Self.key, options: options).run(on: model)
        #expect(report.hits == 1 && report.falseActivations == 0 && report.targetNLLMean == nil)
        let chats = try server.bodies.filter { $0["messages"] != nil }
        #expect(chats.count == 5 && chats.allSatisfy { $0["max_tokens"]?.int == 9 })
        #expect(errorText(.usage) { _ = try RemoteCheck(Self.key).run(on: model) }.contains("prompt_format"))
    }

    @Test func aCheckOfALogAsksNothing() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("log.jsonl").path
            func check(_ server: FakeServer) throws -> CheckReport {
                let model = try RemoteModel(.fake(server, log: try RequestLog(path: path)))
                return try RemoteCheck(Self.key).run(on: model).report
            }
            let first = try check(FakeServer { path, body, _ in try Self.words.reply(path, body) })
            let down = FakeServer { _, _, _ in throw ConnectionFailure("down") }
            #expect(try check(down) == first)
            #expect(down.count == 0)
        }
    }
}

@Suite struct ClientTaskTests {
    private func question(_ context: String, _ continuations: [String]) -> TaskQuestion {
        TaskQuestion(
            requests: continuations.map { .init(context: context, continuation: $0) }, choices: continuations, gold: [0]
        )
    }

    @Test func continuationsAreScoredBehindTheirContexts() throws {
        let (model, _) = try RemoteModel.fake(WordModel())
        let questions = [question("it is", [" a cat", " a"]), question("so it is ", ["abc"])]
        var last = 0
        let (scores, truncated) = try RemoteTaskModel(model).scores(
            questions, places: ["row 1", "row 2"]
        ) { done, total in
            #expect(total == 3)
            last = done
        }
        #expect(truncated == 0 && last == 3)
        // The blank at the end of a context belongs to the continuation. " a" is one of two letters, not the likeliest.
        let expected = [[(-0.6, 2), (-0.2, 1)], [(-0.4, 1)]]
        for (own, wanted) in zip(scores, expected) {
            #expect(own.count == wanted.count)
            for (score, (sum, tokens)) in zip(own, wanted) {
                #expect(abs(score.logLikelihood - sum) < 1e-12 && score.tokens == tokens && !score.isGreedy)
            }
        }
    }

    @Test func theLikeliestTokensAreGreedy() throws {
        let server = FakeServer { path, body, _ in
            guard body["prompt"]?.string == "x a", body["echo"] != nil else {
                return try WordModel().reply(path, body)
            }
            return HTTPReply(
                json: #"""
                    {"choices": [{"text": "x a!", "logprobs": {"tokens": ["x", " a", "!"], "token_logprobs": [null, -0.5, -1],
                    "top_logprobs": [null, {" a": -0.5}, {"!": -1}], "text_offset": [0, 1, 3]}}]}
                    """#)
        }
        let model = RemoteTaskModel(try RemoteModel(.fake(server)))
        let scores = try model.scores([question("x", [" a"])], places: ["row"]) { _, _ in }.scores
        #expect(scores[0][0] == .init(logLikelihood: -0.5, tokens: 1, isGreedy: true))
    }

    @Test func whatAServerLacksIsSaid() throws {
        let (samples, _) = try RemoteModel.fake(WordModel(offers: .newTokens))
        let task = RemoteTaskModel(samples)
        let text = errorText(.usage) {
            _ = try task.scores([question("a", [" b"])], places: ["row"]) { _, _ in }
        }
        #expect(text.contains("no log-probabilities"))
        errorText(.usage) { _ = try task.textScores([question("", ["b"])], places: ["row"]) { _, _ in } }
        let (whole, _) = try RemoteModel.fake(WordModel())
        let straddling = errorText {
            _ = try RemoteTaskModel(whole).scores([question("it is", ["abc"])], places: ["row 7"]) { _, _ in }
        }
        #expect(straddling.contains("row 7"))
    }

    @Test func conversationsAreAskedInTurns() throws {
        let (model, server) = try RemoteModel.fake(WordModel(answers: ["2+2?": "4"], offers: .chat))
        var definition = TaskDefinition(
            name: "sums", docToText: try TaskField("q", name: "q"), docToTarget: .field(try TaskField("a", name: "a")),
            output: .generation(GenerationRule(until: ["\n"], maxTokens: 5)), metrics: [.exactMatch])
        definition.numFewshot = 1
        func document(_ q: String, _ a: String) throws -> TaskDocument {
            try TaskDocument(JSONObject([("q", .text(q)), ("a", .text(a))]), place: q, step: nil)
        }
        let example = try document("1+1?", "2")
        let task = EvaluationTask(definition, documents: [try document("2+2?", "4")], examples: [example, example])
        var options = EvaluationOptions(appliesChatTemplate: true, systemInstruction: "Be brief.")
        let plain = TaskEvaluator(RemoteTaskModel(model), options: EvaluationOptions())
        #expect(errorText(.usage) { _ = try plain.evaluate(task) }.contains("apply_chat_template"))
        let result = try TaskEvaluator(RemoteTaskModel(model), options: options).evaluate(task)
        #expect(result.metrics.map(\.value) == [1])
        func asked() throws -> [[String?]] {
            try (server.bodies.last?["messages"]?.array ?? []).map { [$0["role"]?.string, $0["content"]?.string] }
        }
        #expect(
            try asked() == [
                ["system", "Be brief."], ["user", "1+1?"], ["assistant", "2"], ["user", "2+2?"],
            ])
        options.fewshotAsMultiturn = false
        _ = try TaskEvaluator(RemoteTaskModel(model), options: options).evaluate(task)
        #expect(try asked() == [["system", "Be brief."], ["user", "1+1? 2\n\n2+2?"]])
    }

    @Test func answersEndAtTheFirstTextThatEndsThem() throws {
        let (model, server) = try RemoteModel.fake(
            WordModel(answers: ["Q: 1\nA:": " 42\nQ: 2", "Q: 3\nA:": " six"], offers: .samples))
        let rule = GenerationRule(until: ["\n", "Q:", "a", "b", "c"], maxTokens: 12)
        let questions = ["Q: 1\nA:", "Q: 3\nA:"].map { question($0, [""]) }
        let (texts, _) = try RemoteTaskModel(model).answers(questions, places: ["1", "2"], rule: rule) { _, _ in }
        #expect(texts == [" 42", " six"])
        let body = try #require(try server.bodies.last)
        #expect(body["stop"]?.array?.count == 4 && body["max_tokens"]?.int == 12 && body["temperature"]?.int == 0)
        #expect(body["logprobs"] == nil && body["echo"] == nil)
    }
}
