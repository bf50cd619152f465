import Base
import Synchronization
import Testing

@testable import Client

/// A server in this process: gives what `answer` says, and remembers what it was asked.
final class FakeServer: HTTPTransport {
    let calls = Mutex<[HTTPCall]>([])
    private let answer: @Sendable (_ path: String, _ body: JSONValue, _ number: Int) throws -> HTTPReply

    init(_ answer: @escaping @Sendable (String, JSONValue, Int) throws -> HTTPReply) { self.answer = answer }

    func send(_ call: HTTPCall) async throws -> HTTPReply {
        let number = calls.withLock { calls in
            calls.append(call)
            return calls.count
        }
        let path = String(call.url.split(separator: "/v1", maxSplits: 1).last ?? "")
        return try answer(path, try call.body.map { try JSONValue.parse($0, file: "body") } ?? .null, number)
    }

    var count: Int { calls.withLock { $0.count } }
    /// The bodies that were posted.
    var bodies: [JSONValue] {
        get throws {
            try calls.withLock { $0 }.compactMap { try $0.body.map { try JSONValue.parse($0, file: "body") } }
        }
    }
}

/// The pauses that an endpoint made.
final class Pauses: Sendable {
    private let list = Mutex<[Double]>([])
    /// In seconds.
    var seconds: [Double] { list.withLock { $0 } }

    @Sendable func sleep(_ duration: Duration) async throws { list.withLock { $0.append(duration / .seconds(1)) } }
}

extension HTTPReply {
    init(_ value: JSONValue, status: Int = 200) { self.init(status: status, body: Array(value.serialized().utf8)) }

    init(json: String, status: Int = 200) { self.init(status: status, body: Array(json.utf8)) }
}

extension ModelEndpoint {
    /// One in front of a fake, at the address `http://fake`, that does not really wait.
    static func fake(
        _ server: FakeServer, log: RequestLog? = nil, key: String? = nil, pauses: Pauses = Pauses(),
        set: (inout EndpointOptions) -> Void = { _ in }
    ) throws -> ModelEndpoint {
        var options = EndpointOptions(try ServerAddress("http://fake"), key: key)
        options.concurrency = 1
        set(&options)
        return ModelEndpoint(options, log: log, transport: server, sleep: pauses.sleep)
    }
}

/// A model of words: ln p of a word is minus a tenth of its letters, and the likeliest in every place is one of a letter. It
/// says `answers[prompt]`, else `nothing`.
struct WordModel: Sendable {
    enum Offers { case prompt, newTokens, samples, chat }

    var answers: [String: String] = [:]
    var offers = Offers.prompt
    /// In front of the text, with an offset of its own.
    var bos: String?

    func reply(_ path: String, _ body: JSONValue) throws -> HTTPReply {
        switch path {
        case "/models": return HTTPReply(json: #"{"data": [{"id": "words"}]}"#)
        case "/chat/completions":
            let turn = try #require(body["messages"]?.array?.last?["content"]?.string)
            let message: JSONValue = ["message": ["content": .text(answers[turn] ?? "nothing")]]
            return HTTPReply(["choices": .array([message])])
        default: return try completion(body)
        }
    }

    private func completion(_ body: JSONValue) throws -> HTTPReply {
        guard offers != .chat else { return HTTPReply(json: #"{"error": {"message": "no such path"}}"#, status: 404) }
        let prompt = try #require(body["prompt"]?.string)
        let echoes = body["echo"]?.bool == true
        let wantsLogProbabilities = body["logprobs"]?.int != nil
        if echoes, offers != .prompt { return HTTPReply(json: #"{"error": {"message": "no echo"}}"#, status: 400) }
        let written = answers[prompt] ?? "nothing"
        var choice: [(key: String, value: JSONValue)] = [("text", .text(echoes ? prompt + written : written))]
        if wantsLogProbabilities, offers == .prompt || offers == .newTokens {
            let read = echoes ? (bos.map { [$0] } ?? []) + Self.words(prompt) : []
            choice.append(("logprobs", Self.logprobs(read + [written])))
        }
        return HTTPReply(["choices": .array([.object(JSONObject(choice))])])
    }

    /// A blank belongs to the word behind it.
    static func words(_ text: String) -> [String] {
        var words: [String] = []
        for character in text {
            if character == " " || words.isEmpty { words.append("") }
            words[words.count - 1].append(character)
        }
        return words
    }

    static func logProbability(_ word: String) -> Double { -0.1 * Double(word.unicodeScalars.count) }

    private static func logprobs(_ tokens: [String]) -> JSONValue {
        var (offset, offsets) = (0, [JSONValue]())
        for token in tokens {
            offsets.append(.integer(offset))
            offset += token.unicodeScalars.count
        }
        func values(_ value: (String) -> JSONValue) -> JSONValue {
            .array(tokens.enumerated().map { $0 == 0 ? .null : value($1) })
        }
        return [
            "tokens": .array(tokens.map { .text($0) }), "token_logprobs": values { .real(logProbability($0)) },
            "top_logprobs": values { _ in ["a": .number(-0.1)] }, "text_offset": .array(offsets),
        ]
    }
}

extension RemoteModel {
    /// A model behind a fake, and the fake.
    static func fake(_ words: WordModel) throws -> (model: RemoteModel, server: FakeServer) {
        let server = FakeServer { path, body, _ in try words.reply(path, body) }
        return (try RemoteModel(.fake(server)), server)
    }
}
