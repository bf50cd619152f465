import Base
import HTTPTypes
import Hummingbird
import HummingbirdTesting
import NIOCore
import TestSupport
import Testing

@testable import Client

/// The network itself, against a small server on a port of its own.
@Suite struct ClientNetworkTests {
    private func reply(
        _ path: String, body: JSONValue? = nil, key: String? = nil, timeout: Double = 20, maximumBytes: Int = 1000
    ) async throws -> HTTPReply {
        let router = Router()
        router.post("/echo") { request, _ in
            let body = try await request.body.collect(upTo: 1 << 16)
            let key = request.headers[.authorization] ?? "none"
            return String(buffer: body) + " " + key + " " + (request.headers[.contentType] ?? "")
        }
        router.get("/huge") { _, _ in String(repeating: "A", count: 5000) }
        router.get("/slow") { _, _ in
            try await Task.sleep(for: .seconds(5))
            return "late"
        }
        router.get("/elsewhere") { _, _ in Response(status: .found, headers: [.location: "/huge"]) }
        router.get("/busy") { _, _ in Response(status: .tooManyRequests, headers: [.retryAfter: "3"]) }
        return try await Application(router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)))
            .test(.live) { client in
                let port = try #require(client.port)
                let transport = NetworkTransport(connections: 2)
                return try await transport.send(
                    HTTPCall(
                        url: "http://127.0.0.1:\(port)\(path)", key: key,
                        body: body.map { Array($0.serialized().utf8) },
                        timeout: timeout, maximumBytes: maximumBytes))
            }
    }

    @Test func bodiesAndKeysArrive() async throws {
        let reply = try await reply("/echo", body: ["a": .integer(1)], key: "k-1")
        #expect(reply.status == 200)
        #expect(String(decoding: reply.body, as: UTF8.self) == #"{"a": 1} Bearer k-1 application/json"#)
    }

    @Test func hugeAnswersAreRefused() async {
        await #expect(throws: MeraserError.badInput("the answer has more than 1000 bytes")) { try await reply("/huge") }
    }

    @Test func slowAnswersAreGivenUp() async {
        await #expect(throws: ConnectionFailure.self) { try await reply("/slow", timeout: 0.2) }
    }

    @Test func redirectionsAreNotFollowed() async throws {
        #expect(try await reply("/elsewhere", key: "k-1").status == 302)
    }

    @Test func wishesArrive() async throws {
        let reply = try await reply("/busy")
        #expect(reply.status == 429 && reply.retryAfter == "3")
    }

    @Test func nobodyThereIsAFailureOfTheConnection() async throws {
        let call = HTTPCall(url: "http://127.0.0.1:1/", key: nil, body: nil, timeout: 5, maximumBytes: 10)
        await #expect(throws: ConnectionFailure.self) { try await NetworkTransport(connections: 1).send(call) }
    }
}
