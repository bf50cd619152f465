import Base
import TestSupport
import Testing

@testable import Client

@Suite struct ClientModelTests {
    @Test func aProbeFindsWhatAServerOffers() throws {
        let expected: [(WordModel.Offers, Bool, RemoteLogProbabilities)] = [
            (.prompt, true, .prompt), (.newTokens, true, .newTokens), (.samples, true, .none), (.chat, false, .none),
        ]
        for (offers, hasCompletions, logProbabilities) in expected {
            let (model, _) = try RemoteModel.fake(WordModel(offers: offers))
            #expect(model.name == "words")
            #expect(
                model.capabilities
                    == RemoteCapabilities(hasCompletions: hasCompletions, logProbabilities: logProbabilities))
        }
    }

    @Test func aServerThatRepeatsNothingHasNoLikelihoodsOfPrompts() throws {
        // It takes `echo` and does nothing about it.
        let server = FakeServer { path, body, _ in
            var members = body.object?.members.filter { $0.key != "echo" } ?? []
            members.append((key: "ignored", value: .null))
            let plain = JSONValue.object(JSONObject(members.map { (key: $0.key.string, value: $0.value) }))
            return try WordModel(offers: .newTokens).reply(path, plain)
        }
        #expect(try RemoteModel(.fake(server)).capabilities.logProbabilities == .newTokens)
    }

    @Test func aFaultOfTheServerInAProbeIsANo() throws {
        let server = FakeServer { path, body, _ in
            body["echo"] == nil ? try WordModel(offers: .samples).reply(path, body) : HTTPReply(status: 500, body: [])
        }
        #expect(try RemoteModel(.fake(server)).capabilities.logProbabilities == .none)
        #expect(server.count == 3)
    }

    @Test func oneOfSeveralModelsMustBeNamed() throws {
        let server = FakeServer { path, body, _ in
            path == "/models"
                ? HTTPReply(json: #"{"data": [{"id": "a"}, {"id": "b"}]}"#) : try WordModel().reply(path, body)
        }
        let text = errorText(.usage) { _ = try RemoteModel(.fake(server)) }
        #expect(text.contains("served_model") && text.contains("a") && text.contains("b"))
        #expect(try RemoteModel(.fake(server), name: "b").name == "b")
        #expect(try server.bodies.last?["model"]?.string == "b")
        let none = FakeServer { _, _, _ in HTTPReply(status: 404, body: []) }
        errorText(.usage) { _ = try RemoteModel(.fake(none)) }
        let wrong = FakeServer { _, _, _ in HTTPReply(json: #"{"data": "a"}"#) }
        errorText { _ = try RemoteModel(.fake(wrong)) }
    }

    @Test(arguments: [
        #"{"choices": []}"#, #"{"choices": [3]}"#, #"{"choices": {}}"#, "{}", #"{"choices": [{"text": 3}]}"#,
        #"{"choices": [{"message": {"content": 3}}]}"#,
        #"{"choices": [{"text": "", "logprobs": {"tokens": [1], "token_logprobs": [-1]}}]}"#,
        #"{"choices": [{"text": "", "logprobs": {"tokens": ["a"], "token_logprobs": []}}]}"#,
        #"{"choices": [{"text": "", "logprobs": {"tokens": ["a"]}}]}"#,
        #"{"choices": [{"text": "", "logprobs": {"tokens": ["a"], "token_logprobs": [-1], "text_offset": [1, 2]}}]}"#,
        #"{"choices": [{"text": "", "logprobs": {"tokens": ["a"], "token_logprobs": [2.5]}}]}"#,
        #"{"choices": [{"text": "", "logprobs": {"tokens": ["a"], "token_logprobs": ["-1"]}}]}"#,
        #"{"choices": [{"text": "", "logprobs": {"content": [{"token": 3, "logprob": -1}]}}]}"#,
        #"{"choices": [{"text": "", "logprobs": {"content": "x"}}]}"#,
    ])
    func answersOfOtherTypesAreRefused(_ text: String) throws {
        let value = try JSONValue.parse(Array(text.utf8), file: "answer")
        errorText { _ = try Completion(value, place: "server") }
    }

    @Test func bothShapesOfLogProbabilitiesAreRead() throws {
        func tokens(_ text: String) throws -> [RemoteToken]? {
            try Completion(try JSONValue.parse(Array(text.utf8), file: "answer"), place: "server").tokens
        }
        #expect(
            try tokens(
                #"{"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [-1], "text_offset": [4], "top_logprobs": [{"b": -0.5, "a": -1}]}}]}"#
            ) == [RemoteToken(text: "a", logProbability: -1, best: -0.5, offset: 4)])
        #expect(
            try tokens(
                #"{"choices": [{"message": {"content": "a"}, "logprobs": {"content": [{"token": "a", "logprob": -1, "top_logprobs": [{"token": "b", "logprob": -0.5}]}]}}]}"#
            ) == [RemoteToken(text: "a", logProbability: -1, best: -0.5, offset: nil)])
        #expect(try tokens(#"{"choices": [{"text": "a", "logprobs": null}]}"#) == nil)
    }

    // MARK: Repeated prompts

    private func tokens(_ list: [(String, Int)]) -> [RemoteToken] {
        list.enumerated().map { index, token in
            RemoteToken(
                text: token.0, logProbability: index == 0 ? nil : -Double(index), best: nil, offset: token.1)
        }
    }

    /// The log-probabilities behind a beginning.
    private func found(_ prompt: String, _ list: [(String, Int)], behind beginning: String) -> [Double]? {
        EchoedText(prompt: prompt, tokens: tokens(list))?.tokens(behind: beginning)?.compactMap(\.logProbability)
    }

    @Test func offsetsAreCountedAsTheServerCountsThem() {
        let prompt = "é🙂 abc"
        // In characters, bytes, and UTF-16 units.
        #expect(found(prompt, [("é", 0), ("🙂", 1), (" abc", 2), ("!", 6)], behind: "é🙂") == [-2])
        #expect(found(prompt, [("é", 0), ("🙂", 2), (" abc", 6), ("!", 10)], behind: "é🙂") == [-2])
        #expect(found(prompt, [("é", 0), ("🙂", 1), (" abc", 3), ("!", 7)], behind: "é🙂") == [-2])
    }

    @Test func aBeginningOfSequenceIsNoPartOfTheText() {
        for begin in [0, 3] {
            #expect(
                found("abc de", [("<s>", 0), ("abc", begin), (" de", begin + 3), ("!", begin + 6)], behind: "abc") == [
                    -2
                ])
        }
        // A text that has the length of the BOS.
        #expect(found("abc", [("<s>", 0), ("abc", 3), ("!", 6)], behind: "") == [-1])
    }

    @Test func aBlankOfTheTokenizersOwnIsNoPartOfTheText() {
        let own = [(" abc", 0), (" de", 4), ("!", 7)]
        #expect(found("abc de", own, behind: "abc") == [-1])
        let behindBOS = [("<s>", 0)] + own.map { ($0.0, $0.1 + 3) }
        #expect(found("abc de", behindBOS, behind: "abc") == [-2])
        #expect(found("abc de", behindBOS, behind: "") == [-1, -2])
        #expect(found("abc de", [("<s>", 0), ("abc", 3), (" de", 6), ("!", 9)], behind: "") == [-1, -2])
    }

    @Test func aModelThatEndsAtOnceWritesNoToken() {
        #expect(found("abc de", [("abc", 0), (" de", 3)], behind: "abc") == [-1])
    }

    @Test func whatCannotBeToldIsNotTold() {
        let whole = [("abc", 0), (" de", 3), ("!", 6)]
        #expect(found("abc de", whole, behind: "abc d") == nil)  // a token reaches over the place
        #expect(found("abc de", whole, behind: "") == nil)  // nothing is known of the first
        #expect(found("another text", whole, behind: "abc") == nil)
        #expect(found("abc de", [("abc", 3), (" de", 0), ("!", 6)], behind: "abc") == nil)
        #expect(EchoedText(prompt: "abc", tokens: []) == nil)
        let unplaced = [RemoteToken(text: "abc", logProbability: nil, best: nil, offset: nil)]
        #expect(EchoedText(prompt: "abc", tokens: unplaced) == nil)
    }
}
