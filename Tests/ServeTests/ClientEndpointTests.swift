import Base
import Foundation
import Synchronization
import TestSupport
import Testing

@testable import Client

@Suite struct ClientEndpointTests {
    private let answer: JSONValue = ["yes": .bool(true)]

    private func ask(
        _ endpoint: ModelEndpoint, _ body: JSONValue = ["prompt": .text("?")], isProbe: Bool = false
    ) throws -> JSONValue {
        try asking { _ in try await endpoint.ask("/completions", body, isProbe: isProbe) }
    }

    @Test func addressesBecomePathsOfTheAPI() throws {
        #expect(try ServerAddress("http://127.0.0.1:8080").base == "http://127.0.0.1:8080/v1")
        #expect(try ServerAddress("http://h:80/v1/").base == "http://h:80/v1")
        #expect(try ServerAddress("https://h/api/v3").base == "https://h/api/v3")
        #expect(try ServerAddress("https://h/api").base == "https://h/api/v1")
        #expect(try ServerAddress("http://other:8080").isExposed)
        #expect(try !ServerAddress("http://localhost:1").isExposed)
        #expect(try !ServerAddress("http://127.8.0.1").isExposed)
        #expect(try ServerAddress("http://127.evil.example").isExposed)
        #expect(try !ServerAddress("https://other").isExposed)
        for text in ["", "host:80", "ftp://h", "http://", "http://u:p@h", "http://h?x=1", "http://h/#a", "http://h h"] {
            errorText(.usage) { _ = try ServerAddress(text) }
        }
    }

    @Test func failuresThatMayPassAreTriedAgainAfterLongerPauses() throws {
        let server = FakeServer { [answer] _, _, number in
            switch number {
            case 1: HTTPReply(status: 503, body: [])
            case 2: throw ConnectionFailure("connection reset")
            case 3: HTTPReply(status: 500, body: Array("oops".utf8))
            default: HTTPReply(answer)
            }
        }
        let pauses = Pauses()
        #expect(try ask(.fake(server, pauses: pauses)) == answer)
        #expect(server.count == 4)
        try #require(pauses.seconds.count == 3)
        for (pause, middle) in zip(pauses.seconds, [0.5, 1, 2]) {
            #expect(pause >= 0.75 * middle && pause <= 1.25 * middle, "\(pauses.seconds)")
        }
    }

    @Test func aServersWishIsHonouredUpToABound() throws {
        let wish = FakeServer { [answer] _, _, number in
            number == 1 ? HTTPReply(status: 429, retryAfter: "7", body: []) : HTTPReply(answer)
        }
        let pauses = Pauses()
        #expect(try ask(.fake(wish, pauses: pauses)) == answer)
        try #require(pauses.seconds.count == 1)
        #expect(abs(pauses.seconds[0] - 7) < 0.5, "\(pauses.seconds)")
        let greedy = FakeServer { _, _, _ in HTTPReply(status: 429, retryAfter: "86400", body: []) }
        #expect(errorText(.runtime) { _ = try ask(.fake(greedy)) }.contains("86400"))
        #expect(greedy.count == 1)
    }

    @Test func datesAreWishesToo() {
        let now = Date(timeIntervalSince1970: 784_111_777)  // RFC 9110's example: Sun, 06 Nov 1994 08:49:37 GMT
        #expect(RetryPolicy.seconds(ofRetryAfter: "Sun, 06 Nov 1994 08:50:37 GMT", now: now) == 60)
        #expect(RetryPolicy.seconds(ofRetryAfter: "Sun, 06 Nov 1994 08:00:00 GMT", now: now) == 0)
        for text in [nil, "soon", "-1", "nan", "inf", String(repeating: "9", count: 100)] {
            #expect(RetryPolicy.seconds(ofRetryAfter: text) == nil)
        }
    }

    @Test func triesEnd() throws {
        let down = FakeServer { _, _, _ in throw ConnectionFailure("refused") }
        let text = errorText(.runtime) { _ = try ask(.fake(down) { $0.retry.maxRetries = 2 }) }
        #expect(text.contains("refused") && text.contains("tried 3 times"))
        #expect(down.count == 3)
    }

    @Test func aNoIsNoFailureThatPasses() throws {
        for (status, isProbe) in [(400, false), (401, false), (404, false), (302, false), (501, false), (500, true)] {
            let server = FakeServer { _, _, _ in HTTPReply(json: #"{"error": {"message": "no way"}}"#, status: status) }
            let text = errorText(.runtime) { _ = try ask(.fake(server), isProbe: isProbe) }
            #expect(text.contains("\(status)") && text.contains("no way"))
            #expect(text.contains("api_key_env") == (status == 401))
            #expect(server.count == 1, "status \(status)")
        }
    }

    @Test func theKeyGoesIntoItsHeaderAndNowhereElse() throws {
        let server = FakeServer { _, _, _ in HTTPReply(status: 403, body: []) }
        let text = errorText(.runtime) { _ = try ask(.fake(server, key: "secret-1")) }
        #expect(!text.contains("secret-1"))
        let call = try #require(server.calls.withLock { $0 }.first)
        #expect(call.key == "secret-1" && !call.url.contains("secret"))
    }

    @Test(arguments: ["", "no JSON", "[1]", "\"text\"", #"{"a":1,"a":2}"#, #"{"a":NaN}"#, "{\"a\":"])
    func answersThatAreNoObjectsAreRefused(_ body: String) throws {
        let server = FakeServer { _, _, _ in HTTPReply(status: 200, body: Array(body.utf8)) }
        #expect(errorText(.badInput) { _ = try ask(.fake(server)) }.contains("http://fake/v1/completions"))
        #expect(server.count == 1)
    }

    @Test func deepAnswersAreRefused() throws {
        let body = Array(String(repeating: "[", count: 100_000).utf8)
        let server = FakeServer { _, _, _ in HTTPReply(status: 200, body: body) }
        errorText(.badInput) { _ = try ask(.fake(server)) }
    }

    @Test func requestsKeepTheirPace() async {
        let pace = RequestPace(perMinute: 120)
        let now = ContinuousClock.now
        #expect(await pace.reserve(now: now) == .zero)
        #expect(await pace.reserve(now: now) == .milliseconds(500))
        #expect(await pace.reserve(now: now + .milliseconds(200)) == .milliseconds(800))
        await pace.hold(.seconds(10), now: now)
        #expect(await pace.reserve(now: now) == .seconds(10))
        #expect(await pace.reserve(now: now + .seconds(20)) == .zero)
        let free = RequestPace(perMinute: nil)
        for _ in 0..<3 { #expect(await free.reserve(now: now) == .zero) }
    }

    @Test func resultsComeInOrderAndNoMoreAtOnceThanAllowed() throws {
        let busy = Busy()
        let results = try asking { _ in
            try await gather(Array(0..<20), width: 3) { number in
                await busy.enter()
                try await Task.sleep(for: .milliseconds(number % 3))
                await busy.leave()
                return number * number
            }
        }
        #expect(results == (0..<20).map { $0 * $0 })
        #expect(try asking { _ in await busy.most } <= 3)
    }

    private actor Busy {
        private var count = 0
        private(set) var most = 0
        func enter() { (count, most) = (count + 1, max(most, count + 1)) }
        func leave() { count -= 1 }
    }
}

@Suite struct ClientLogTests {
    private func ask(_ server: FakeServer, _ log: String, _ prompt: String) throws -> String? {
        let endpoint = try ModelEndpoint.fake(server, log: try RequestLog(path: log))
        return try asking { _ in try await endpoint.ask("/completions", ["prompt": .text(prompt)]) }["echo"]?.string
    }

    private func echo() -> FakeServer {
        FakeServer { _, body, number in HTTPReply(["echo": body["prompt"] ?? .null, "number": .integer(number)]) }
    }

    @Test func whatIsInTheLogIsNotAskedAgain() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("log.jsonl").path
            let first = echo()
            #expect(try ask(first, path, "a") == "a")
            #expect(try ask(first, path, "b") == "b")
            let down = FakeServer { _, _, _ in HTTPReply(status: 400, body: []) }
            #expect(try ask(down, path, "a") == "a")
            #expect(try ask(down, path, "b") == "b")
            #expect(down.count == 0)
            errorText(.runtime) { _ = try ask(down, path, "c") }
            #expect(try RequestLog(path: path).count == 2)
            let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            #expect(mode == 0o600)
        }
    }

    @Test func whatAServerLacksIsInTheLogToo() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("log.jsonl").path
            for offers in [WordModel.Offers.newTokens, .chat] {
                let words = WordModel(offers: offers)
                let server = FakeServer { path, body, _ in try words.reply(path, body) }
                let name = "\(offers)"
                let first = try RemoteModel(.fake(server, log: try RequestLog(path: path)), name: name).capabilities
                let down = FakeServer { _, _, _ in throw ConnectionFailure("down") }
                let again = try RemoteModel(.fake(down, log: try RequestLog(path: path)), name: name).capabilities
                #expect(again == first && down.count == 0 && server.count > 1)
            }
        }
    }

    @Test func aTornLastRowIsAskedAgain() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("log.jsonl").path
            for prompt in ["a", "b"] { #expect(try ask(echo(), path, prompt) == prompt) }
            let whole = try Data(contentsOf: URL(fileURLWithPath: path))
            let second = try #require(whole.firstIndex(of: 0x0A)) + 1
            for cut in [second + 1, second + 20, whole.count - 1] {
                try whole.prefix(cut).write(to: URL(fileURLWithPath: path))
                let server = echo()
                #expect(try ask(server, path, "a") == "a")
                #expect(server.count == 0)
                #expect(try ask(server, path, "b") == "b")
                #expect(server.count == 1)
                let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
                #expect(lines.count == 2)
                for line in lines { #expect(try JSONValue.parse(Array(line.utf8), file: "log")["response"] != nil) }
            }
        }
    }

    @Test(arguments: [
        #"{"scheme": "utf", "pairs": []}"#, "a text", "{\"request\": \"a\"}\n", "{\"request\": 1, \"response\": {}}\n",
        "{\"request\": \"a\", \"response\": 3}\n", "not JSON\n{\"request\": \"a\", \"response\": {}}\n",
    ])
    func otherFilesAreRefusedAndLeftAlone(_ text: String) throws {
        try withTemporaryFolder { folder in
            let path = try write(Array(text.utf8), to: folder)
            errorText { _ = try RequestLog(path: path) }
            #expect(try String(contentsOfFile: path, encoding: .utf8) == text)
        }
    }

    @Test func anEmptyFileIsALog() throws {
        try withTemporaryFolder { folder in
            let path = try write([], to: folder)
            #expect(try RequestLog(path: path).count == 0)
        }
    }
}
