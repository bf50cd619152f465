import AsyncHTTPClient
import Base
import NIOCore
import NIOHTTP1

/// A request of HTTP.
public struct HTTPCall: Sendable {
    /// The whole address.
    public let url: String
    /// Of the header `Authorization: Bearer`; nil: none.
    public let key: String?
    /// JSON to post; nil: GET.
    public let body: [UInt8]?
    /// Seconds until the whole answer must be there.
    public let timeout: Double
    /// Bytes that the answer may have.
    public let maximumBytes: Int
}

/// What came back.
public struct HTTPReply: Sendable {
    /// The status.
    public let status: Int
    /// The header `Retry-After`.
    public let retryAfter: String?
    /// The body.
    public let body: [UInt8]

    /// A reply.
    public init(status: Int, retryAfter: String? = nil, body: [UInt8]) {
        (self.status, self.retryAfter, self.body) = (status, retryAfter, body)
    }
}

/// No reply: the connection failed or time ran out. Worth another try.
public struct ConnectionFailure: Error {
    /// What happened.
    public let text: String

    /// A failure.
    public init(_ text: String) { self.text = text }
}

/// What carries requests to a server. Thread-safe.
public protocol HTTPTransport: Sendable {
    /// Sends a request.
    ///
    /// - Throws: `ConnectionFailure`; a bad-input error for an answer that is too large.
    func send(_ call: HTTPCall) async throws -> HTTPReply
}

/// The network. Redirections are not followed: a key must not go where nobody sent it.
public final class NetworkTransport: HTTPTransport {
    private let client: HTTPClient

    /// A transport with so many connections at most.
    public init(connections: Int) {
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.timeout.connect = .seconds(10)
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = connections
        // Tries are counted in one place, `ModelEndpoint`.
        configuration.connectionPool.retryConnectionEstablishment = false
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    deinit {
        // It must be shut down, and this may be a thread that must not wait.
        let client = client
        Task { try? await client.shutdown() }
    }

    /// Sends a request.
    public func send(_ call: HTTPCall) async throws -> HTTPReply {
        var request = HTTPClientRequest(url: call.url)
        request.headers.add(name: "Accept", value: "application/json")
        request.headers.add(name: "User-Agent", value: "meraser/\(meraserVersion)")
        if let key = call.key { request.headers.add(name: "Authorization", value: "Bearer \(key)") }
        if let body = call.body {
            request.method = .POST
            request.headers.add(name: "Content-Type", value: "application/json")
            request.body = .bytes(body)
        }
        do {
            let response = try await client.execute(
                request, timeout: .milliseconds(Int64(max(1, call.timeout * 1000))))
            let body = try await response.body.collect(upTo: call.maximumBytes)
            return HTTPReply(
                status: Int(response.status.code), retryAfter: response.headers.first(name: "Retry-After"),
                body: Array(body.readableBytesView))
        } catch is NIOTooManyBytesError {
            throw MeraserError.badInput("the answer has more than \(call.maximumBytes) bytes")
        } catch is CancellationError {
            throw CancellationError()
        } catch let error as HTTPClientError where error == .deadlineExceeded {
            throw ConnectionFailure("no answer in \(call.timeout) s")
        } catch {
            throw ConnectionFailure("\(error)")
        }
    }
}
