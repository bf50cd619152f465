import Base
import Foundation
import Hummingbird
import HummingbirdTesting
import Kernels
import Logging
import Model
import Pipeline
import Quant
import TestSupport
import Testing

@testable import Serve

/// The bundled model, served as `base`.
func tinychat(compute: Compute? = nil) throws -> OpenedModel {
    try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2), compute: compute)
}

func server(
    key: String? = nil, limits: ServerLimits = ServerLimits(), decoding: DecodingEngine.Limits = .init()
) throws -> Server {
    try Server(
        [("base", try tinychat())], place: .init(port: 0, key: key), limits: limits, decoding: decoding,
        log: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
}

/// Asks a server that is started and stopped for it.
func withServer(_ server: Server, _ body: @escaping @Sendable (any TestClientProtocol) async throws -> Void)
    async throws
{
    defer { server.stop() }
    try await server.application().test(.live, body)
}

extension TestClientProtocol {
    /// Posts a body of JSON.
    func post(
        _ path: String, _ body: String, headers: HTTPFields = [:]
    ) async throws -> (status: Int, body: String) {
        var fields: HTTPFields = [.contentType: "application/json"]
        for field in headers { fields[field.name] = field.value }
        return try await execute(uri: path, method: .post, headers: fields, body: ByteBuffer(string: body)) {
            ($0.status.code, String(buffer: $0.body))
        }
    }

    /// Posts a body of JSON and reads the answer's.
    func json(_ path: String, _ body: String) async throws -> JSONValue {
        let answer = try await post(path, body)
        #expect(answer.status == 200, "\(answer.body)")
        return try JSONValue.parse(Array(answer.body.utf8), file: "answer")
    }
}

@Suite struct ServerTests {
    @Test("answers are generate's to the letter, whoever else asks, greedy and sampled")
    func equalToGenerate() async throws {
        let prompts = ["Once upon a time", "What is a loop?", "The quick brown fox jumps", "What is a tree?"]
        var wanted: [String] = []
        let opened = try tinychat()
        for (index, prompt) in prompts.enumerated() {
            let sampling = SamplingOptions(temperature: index < 2 ? 0 : 0.9, topP: 0.95, topK: 40, seed: UInt64(index))
            let options = GenerationOptions(
                maxNewTokens: 12, sampling: sampling, stopTokens: opened.transformer.stopTokens)
            wanted.append(try opened.generate([prompt], chat: false, options: options)[0].output)
        }
        let want = wanted
        try await withServer(try server()) { client in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for round in 0..<3 {
                    for (index, prompt) in prompts.enumerated() {
                        group.addTask {
                            let answer = try await client.json(
                                "/v1/completions",
                                """
                                {"prompt": "\(prompt)", "max_tokens": 12, "temperature": \(index < 2 ? 0 : 0.9), "top_p": 0.95, \
                                "top_k": 40, "seed": \(index)}
                                """)
                            #expect(answer["choices"]?.array?.first?["text"]?.string == want[index], "round \(round)")
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test("echoed log-probabilities are those of a forward pass, the likeliest tokens its largest logits")
    func echo() async throws {
        let opened = try tinychat()
        let tokens = opened.tokenizer.encode("What is a loop? A loop repeats its body.")
        let want = try opened.session().negativeLogLikelihoods([tokens])[0].map { -Double($0) }
        let ids = tokens.map(String.init).joined(separator: ", ")
        try await withServer(try server()) { client in
            let answer = try await client.json(
                "/v1/completions", #"{"prompt": [\#(ids)], "max_tokens": 0, "echo": true, "logprobs": 3}"#)
            let shown = try #require(answer["choices"]?.array?.first?["logprobs"])
            let values = try #require(shown["token_logprobs"]?.array)
            #expect(values.count == tokens.count && values[0].isNull)
            #expect(values.dropFirst().map(\.double) == want)
            for (value, top) in zip(values, shown["top_logprobs"]?.array ?? []).dropFirst() {
                let likeliest = try #require(top.object?.members.map { $0.value.double ?? 0 })
                #expect(likeliest.count == 3 || likeliest.count == 4)
                #expect(likeliest.prefix(3).elementsEqual(likeliest.prefix(3).sorted(by: >)))
                #expect(likeliest.contains(value.double ?? 1))
            }
        }
    }

    @Test("offsets say where in the text a token begins, as ids and as text, with what is not written in front")
    func offsets() async throws {
        let tokens = try tinychat().tokenizer.encode("Why “Grün”? A loop.")
        let ids = tokens.map(String.init).joined(separator: ", ")
        try await withServer(try server()) { client in
            for prompt in ["[\(ids)]", #""Why “Grün”? A loop.""#] {
                let answer = try await client.json(
                    "/v1/completions",
                    #"{"prompt": \#(prompt), "max_tokens": 6, "temperature": 0, "echo": true, "logprobs": 0}"#)
                let choice = try #require(answer["choices"]?.array?.first)
                let text = Array(try #require(choice["text"]?.string).unicodeScalars)
                let offsets = (choice["logprobs"]?["text_offset"]?.array ?? []).compactMap(\.int)
                let pieces = (choice["logprobs"]?["tokens"]?.array ?? []).compactMap(\.string)
                #expect(offsets.count == pieces.count && offsets.count >= tokens.count + 1)
                #expect(offsets == offsets.sorted() && offsets[0] == 0)
                for (index, piece) in pieces.enumerated() where !piece.hasPrefix("bytes:") {
                    let end = index + 1 < offsets.count ? offsets[index + 1] : text.count
                    let place = String(String.UnicodeScalarView(text[offsets[index]..<end]))
                    #expect(place == piece || " " + place == piece || place.isEmpty, "\(piece)")
                }
                // Nothing but BOS, the blank in front and the bytes of a character has another width than it is long.
                let widths = zip(offsets, offsets.dropFirst() + [text.count]).map { $1 - $0 }
                #expect(widths.reduce(0, +) == text.count)
            }
        }
    }

    @Test("a stream's pieces are the whole answer; it ends with the numbers of tokens and [DONE]")
    func stream() async throws {
        try await withServer(try server()) { client in
            let body =
                #"{"messages": [{"role": "user", "content": "What is a loop?"}], "max_tokens": 24, "temperature": 0"#
            let whole = try await client.json("/v1/chat/completions", body + "}")
            let streamed = try await client.post(
                "/v1/chat/completions", body + #", "stream": true, "stream_options": {"include_usage": true}}"#)
            var events = streamed.body.components(separatedBy: "\n\n").filter { !$0.isEmpty }
            #expect(events.popLast() == "data: [DONE]")
            let chunks = try events.map { try JSONValue.parse(Array($0.dropFirst(6).utf8), file: "event") }
            let pieces = chunks.compactMap { $0["choices"]?.array?.first?["delta"]?["content"]?.string }
            let message = try #require(whole["choices"]?.array?.first?["message"]?["content"]?.string)
            #expect(!message.isEmpty && pieces.joined() == message)
            #expect(chunks.last?["usage"] == whole["usage"])
            #expect(whole["usage"]?["completion_tokens"]?.int ?? 0 > 0)
        }
    }

    @Test("a stop text ends an answer and is no part of it")
    func stopText() async throws {
        try await withServer(try server()) { client in
            let body = #"{"prompt": "Once upon a time", "max_tokens": 24, "temperature": 0"#
            let whole = try #require(
                try await client.json("/v1/completions", body + "}")["choices"]?.array?.first?["text"]?.string)
            let letters = Array(whole)
            try #require(letters.count > 12)
            let stop = String(letters[8..<11])
            let want = String(whole[..<(try #require(whole.range(of: stop)).lowerBound)])
            let stopText = JSONValue.text(stop).serialized()
            let answer = try await client.json("/v1/completions", body + #", "stop": [\#(stopText)]}"#)
            #expect(answer["choices"]?.array?.first?["text"]?.string == want)
            #expect(answer["choices"]?.array?.first?["finish_reason"]?.string == "stop")
        }
    }

    @Test(
        "what is wrong with a body is said in one line",
        arguments: [
            (#"{"prompt": "a", "max_token": 3}"#, 400, "max_tokens"), (#"{"prompt": "a""#, 400, "invalid JSON"),
            (#"{"prompt": 3}"#, 400, "'prompt' is an integer"), (#"{"prompt": []}"#, 400, "'prompt' is an array"),
            (#"{"prompt": [4000000]}"#, 400, "vocabulary"),
            (#"{"prompt": "a", "model": "b"}"#, 404, "no model is called"),
            (#"{"prompt": "a", "n": 0}"#, 400, "'n' is 0"),
            (#"{"prompt": "a", "temperature": -1}"#, 400, "temperature"),
            (#"{"prompt": "a", "frequency_penalty": 1}"#, 400, "frequency_penalty"),
            (#"{"prompt": "a", "stop": [""]}"#, 400, "stop"), ("deep", 400, "invalid JSON"),
            ("large", 413, "larger than"),
        ])
    func refused(body: String, status: Int, words: String) async throws {
        // Written out they would fill the test's own output.
        let long = ["deep": String(repeating: "[", count: 1900), "large": String(repeating: "x", count: 3000)]
        try await withServer(try server(limits: ServerLimits(bodyBytes: 2000))) { client in
            let answer = try await client.post("/v1/completions", long[body] ?? body)
            #expect(answer.status == status, "\(answer.body)")
            let error = try JSONValue.parse(Array(answer.body.utf8), file: "answer")["error"]?["message"]?.string
            #expect(error?.contains(words) == true, "\(answer.body)")
        }
    }

    @Test("a key, a foreign host and another type than JSON are asked for, or refused, before anything is read")
    func guards() async throws {
        try await withServer(try server(key: "secret")) { client in
            let body = #"{"prompt": "a", "max_tokens": 1}"#
            #expect(try await client.post("/v1/completions", body).status == 401)
            #expect(
                try await client.post("/v1/completions", body, headers: [.authorization: "Bearer secre"]).status == 401)
            let key: HTTPFields = [.authorization: "Bearer secret"]
            #expect(try await client.post("/v1/completions", body, headers: key).status == 200)
            var plain = key
            plain[.contentType] = "text/plain"
            #expect(try await client.post("/v1/completions", body, headers: plain).status == 415)
            #expect(try await client.execute(uri: "/health", method: .get) { $0.status } == .ok)
            #expect(try await client.execute(uri: "/metrics", method: .get) { $0.status } == .unauthorized)
            let page = try await client.execute(uri: "/", method: .get) { $0 }
            #expect(page.status == .ok && page.headers[.contentSecurityPolicy]?.contains("script-src 'self'") == true)
        }
    }

    @Test("a place in the queue, and time, are bounded")
    func bounds() async throws {
        let narrow = DecodingEngine.Limits(parallel: 1, queue: 1, timeout: 600)
        try await withServer(try server(decoding: narrow)) { client in
            let answer = try await client.post("/v1/completions", #"{"prompt": ["a", "b", "c"], "max_tokens": 1}"#)
            #expect(answer.status == 429, "\(answer.body)")
            #expect(try await client.post("/v1/completions", #"{"prompt": ["a", "b"], "max_tokens": 1}"#).status == 200)
        }
        // Room for two pages of keys and values: one sequence at a time, and none of more than 128 positions.
        let spec = try tinychat().transformer.spec
        let two = KVCache.byteCount(spec: spec, capacity: 128, type: try tinychat().transformer.keyValueType)
        try await withServer(try server(decoding: DecodingEngine.Limits(cacheBytes: two))) { client in
            let several = #"{"prompt": ["a", "b", "c"], "max_tokens": 100, "temperature": 0}"#
            #expect(try await client.post("/v1/completions", several).status == 200)
            let answer = try await client.post("/v1/completions", #"{"prompt": "a", "max_tokens": 200}"#)
            #expect(answer.status == 400 && answer.body.contains("keys and values"), "\(answer.body)")
        }
        let hasty = DecodingEngine.Limits(timeout: 0.000_001)
        try await withServer(try server(decoding: hasty)) { client in
            let answer = try await client.post("/v1/completions", #"{"prompt": "a", "max_tokens": 100}"#)
            #expect(answer.status == 503 && answer.body.contains("longer than"), "\(answer.body)")
        }
    }
}
