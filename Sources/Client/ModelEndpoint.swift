import Base

/// How a server is asked.
public struct EndpointOptions: Sendable {
    /// Where it is.
    public var address: ServerAddress
    /// Of `Authorization: Bearer`; nil: none is sent.
    public var key: String?
    /// Seconds that one answer may take.
    public var timeout = 300.0
    /// Requests at the same time.
    public var concurrency = 4
    /// Requests a minute; nil: as many as it takes.
    public var requestsPerMinute: Double?
    /// Tries.
    public var retry = RetryPolicy()
    /// Bytes that one answer may have.
    public var maximumBytes = 16 << 20

    /// The defaults for a server.
    public init(_ address: ServerAddress, key: String? = nil) { (self.address, self.key) = (address, key) }
}

/// What a server said no to: a status that another try would not change.
struct Refusal: Error {
    let status: Int
    let error: MeraserError

    /// True where the server may not know what was asked, a fault of its own included: servers answer so to what they lack.
    var isLack: Bool { [400, 404, 405, 422, 500, 501].contains(status) }

    /// How a log has a probe's lack.
    static let key = "refused"
}

/// A server that is asked in JSON: with tries, pauses, a rate, and a log of what it has answered. Thread-safe.
public final class ModelEndpoint: Sendable {
    /// How.
    public let options: EndpointOptions
    private let transport: any HTTPTransport
    private let log: RequestLog?
    private let pace: RequestPace
    /// Waits; tests do not.
    private let sleep: @Sendable (Duration) async throws -> Void

    /// An endpoint.
    ///
    /// - Parameters:
    ///   - transport: what carries requests; nil: the network.
    ///   - sleep: how to wait; nil: as long as it says.
    public init(
        _ options: EndpointOptions, log: RequestLog? = nil, transport: (any HTTPTransport)? = nil,
        sleep: (@Sendable (Duration) async throws -> Void)? = nil
    ) {
        self.options = options
        self.log = log
        self.transport = transport ?? NetworkTransport(connections: options.concurrency)
        self.sleep = sleep ?? { try await Task.sleep(for: $0) }
        pace = RequestPace(perMinute: options.requestsPerMinute)
    }

    /// The JSON object that answers a request: of the log, where it is in it.
    ///
    /// - Parameters:
    ///   - path: behind the address, such as `/completions`.
    ///   - body: what is posted; nil: GET.
    ///   - isProbe: a fault of the server is taken for a no, since servers answer so to what they do not know.
    /// - Throws: `Refusal` for a status that another try would not change; a runtime error once the tries are used up; a
    ///   bad-input error for an answer that is too large or no JSON object.
    func ask(_ path: String, _ body: JSONValue? = nil, isProbe: Bool = false) async throws -> JSONValue {
        let url = options.address.base + path
        let bytes = body.map { Array($0.serialized().utf8) }
        let hash = RequestLog.hash(url: url, body: bytes)
        if let known = log?.response(to: hash) {
            guard isProbe, let status = known[Refusal.key]?.int else { return known }
            throw Refusal(status: status, error: .runtime("\(url): status \(status), says the log"))
        }
        let call = HTTPCall(
            url: url, key: options.key, body: bytes, timeout: options.timeout, maximumBytes: options.maximumBytes)
        let reply: HTTPReply
        do {
            reply = try await self.reply(to: call, isProbe: isProbe, salt: UInt64(hash.prefix(16), radix: 16) ?? 0)
        } catch let refusal as Refusal where isProbe && refusal.isLack && refusal.status != 500 {
            try log?.add(hash, path: path, [Refusal.key: .integer(refusal.status)])
            throw refusal
        }
        let value = try named(url) { try JSONValue.parse(reply.body, file: "its answer") }
        guard value.object != nil else {
            throw MeraserError.badInput("\(url): its answer is \(value.kind), expected an object")
        }
        try log?.add(hash, path: path, value)
        return value
    }

    private func reply(to call: HTTPCall, isProbe: Bool, salt: UInt64) async throws -> HTTPReply {
        var retry = 0
        while true {
            try await wait(await pace.reserve())
            var (failure, wish): (String, Double?) = ("", nil)
            do {
                let reply = try await transport.send(call)
                if (200..<300).contains(reply.status) { return reply }
                failure = "status \(reply.status)" + Self.message(reply.body)
                guard RetryPolicy.isPassing(reply.status), !(isProbe && reply.status == 500) else {
                    throw Refusal(status: reply.status, error: .runtime("\(call.url): \(failure)" + hint(reply.status)))
                }
                wish = RetryPolicy.seconds(ofRetryAfter: reply.retryAfter)
            } catch let error as ConnectionFailure {
                failure = error.text
            } catch let error as MeraserError {
                throw MeraserError(error.kind, "\(call.url): \(error.message)")
            }
            retry += 1
            guard retry <= options.retry.maxRetries else {
                let kept = log == nil ? "" : "; what was answered is in the log"
                throw MeraserError.runtime("\(call.url): \(failure); tried \(retry) times\(kept)")
            }
            if let wish {
                guard wish <= options.retry.longestWish else {
                    throw MeraserError.runtime("\(call.url): \(failure); it asks to come back in \(wish) s")
                }
                await pace.hold(.seconds(wish))
            } else {
                try await wait(.seconds(options.retry.pause(before: retry, salt: salt)))
            }
        }
    }

    private func wait(_ duration: Duration) async throws { if duration > .zero { try await sleep(duration) } }

    private func hint(_ status: Int) -> String {
        guard status == 401 || status == 403 else { return "" }
        return options.key == nil ? "; `api_key_env` names the variable that has a key" : "; it does not take the key"
    }

    private func named<T>(_ url: String, _ body: () throws -> T) throws -> T {
        do {
            return try body()
        } catch let error as MeraserError {
            throw MeraserError(error.kind, "\(url): \(error.message)")
        }
    }

    /// What an error's body says: OpenAI's shape, FastAPI's, or the text itself.
    private static func message(_ body: [UInt8]) -> String {
        guard !body.isEmpty else { return "" }
        let value = try? JSONValue.parse(body, file: "error", maximumBytes: 1 << 20)
        let text =
            value?["error"]?["message"]?.string ?? value?["error"]?.string ?? value?["message"]?.string
            ?? value?["detail"]?.string ?? String(decoding: body.prefix(400), as: UTF8.self)
        return ": " + quoted(text)
    }
}
