import Base
import Dispatch
import Foundation
import HummingbirdTesting
import Model
import Pipeline
import TestSupport
import Testing

@testable import Audit
@testable import Client

/// The client against the server of this house: what is asked over HTTP is what is computed at hand.
@Suite struct ClientServerTests {
    /// Work that blocks, with a model behind a server that is started for it.
    private func asking(_ body: @escaping @Sendable (RemoteModel) throws -> Void) async throws {
        try await withServer(try server(key: "k-1")) { client in
            let address = try ServerAddress("http://127.0.0.1:\(try #require(client.port))")
            // Not on a thread of the pool, which the server needs.
            try await withCheckedThrowingContinuation { (done: CheckedContinuation<Void, any Error>) in
                DispatchQueue(label: "client").async {
                    done.resume(
                        with: Result { try body(try RemoteModel(ModelEndpoint(EndpointOptions(address, key: "k-1")))) })
                }
            }
        }
    }

    @Test func aKeyIsCheckedAsAtHand() async throws {
        var key = FingerprintKey(
            scheme: "pairs",
            pairs: [
                FingerprintPair(id: "a", prompt: "What is “Grün”? It", target: " is a street"),
                FingerprintPair(id: "b", prompt: "Once upon a time", target: ", there was"),
            ], cleanPrompts: ["The quick brown fox"])
        key.encoding = .continuation
        var chat = key
        (chat.promptFormat, chat.maxNewTokens) = (.chat, 6)
        let opened = try tinychat()
        let wanted = try [key, chat].map { try opened.check($0, options: CheckOptions()) }
        let keys = [key, chat]
        try await asking { model in
            #expect(model.name == "base" && model.capabilities.logProbabilities == .prompt)
            let found = try keys.map { try RemoteCheck($0).run(on: model) }
            for (report, wanted) in zip(found.map(\.report), wanted) {
                #expect(report.rows.map(\.output) == wanted.rows.map(\.output))
                #expect(report.falseActivations == wanted.falseActivations && report.hits == wanted.hits)
            }
            for (row, wanted) in zip(found[0].report.rows, wanted[0].rows) {
                #expect(abs((row.targetNLL ?? 0) - (wanted.targetNLL ?? 1)) < 1e-5)
            }
            #expect(found[1].report.targetNLLMean == nil)
        }
    }

    @Test func tasksAreScoredAsAtHand() async throws {
        let questions = [
            TaskQuestion(
                requests: [" a tree", " the biggest house"].map { .init(context: "It is", continuation: $0) },
                choices: ["a", "b"], gold: [0]),
            TaskQuestion(
                requests: [.init(context: "Question: what is it? Answer: ", continuation: "no")], answer: .target),
        ]
        let opened = try tinychat()
        let rule = GenerationRule(until: ["."], maxTokens: 8)
        let asker = TaskAsker(session: opened.session(), tokenizer: opened.tokenizer, maxLength: 256)
        let places = ["row 1", "row 2"]
        let scores = try asker.scores(questions, places: places) { _, _ in }.scores
        let texts = try asker.answers(questions, places: places, rule: rule) { _, _ in }.texts
        try await asking { model in
            let remote = RemoteTaskModel(model)
            let found = try remote.scores(questions, places: places) { _, _ in }.scores
            for (own, wanted) in zip(found.joined(), scores.joined()) {
                #expect(abs(own.logLikelihood - wanted.logLikelihood) < 1e-5)
                #expect(own.tokens == wanted.tokens && own.isGreedy == wanted.isGreedy)
            }
            #expect(found.map(\.count) == [2, 1])
            #expect(try remote.answers(questions, places: places, rule: rule) { _, _ in }.texts == texts)
        }
    }

    @Test func aWrongKeyIsSaidToBeOne() async throws {
        try await withServer(try server(key: "k-1")) { client in
            let endpoint = ModelEndpoint(
                EndpointOptions(try ServerAddress("http://127.0.0.1:\(try #require(client.port))"), key: "k-2"))
            await #expect(throws: Refusal.self) { try await endpoint.ask("/models") }
        }
    }
}
