import Base
import HTTPTypes
import Hummingbird

/// Makes of every error an answer in OpenAI's shape, and counts requests.
struct ErrorAnswers<Context: RequestContext>: RouterMiddleware {
    let counters: Counters

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        let response: Response
        do {
            response = try await next(request, context)
        } catch {
            response = APIError(error).response
        }
        counters.count(response.status.code)
        return response
    }
}

/// Lets in who names this server as its host, and sends JSON: a page of another site, or a name that somebody else points at
/// this machine, cannot use it through a browser.
struct OriginGuard<Context: RequestContext>: RouterMiddleware {
    /// Names of hosts that may be asked for; empty: any.
    let hosts: [String]

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        try check(request.head)
        return try await next(request, context)
    }

    /// - Throws: an `APIError` for who is not let in.
    func check(_ head: HTTPRequest) throws {
        let host = head.authority ?? ""
        let name = host.hasPrefix("[") ? String(host.prefix { $0 != "]" }) + "]" : String(host.prefix { $0 != ":" })
        guard hosts.isEmpty || hosts.contains(name.lowercased()) else {
            throw APIError(
                .forbidden, "this server does not answer to the host \(quoted(host)); ask by a name of its machine",
                code: "host")
        }
        if head.method == .post {
            let type = head.headerFields[.contentType].flatMap(MediaType.init(from:))
            guard type?.isType(.applicationJson) == true else {
                throw APIError(.unsupportedMediaType, "expected the header Content-Type: application/json")
            }
        }
    }
}

/// Lets in who has the key.
struct KeyGuard<Context: RequestContext>: RouterMiddleware {
    let key: String
    /// Paths that need none.
    let open: Set<String>

    func handle(
        _ request: Request, context: Context, next: (Request, Context) async throws -> Response
    ) async throws -> Response {
        if !open.contains(request.uri.path) { try check(request.head) }
        return try await next(request, context)
    }

    /// - Throws: an `APIError` for who has another key or none.
    func check(_ head: HTTPRequest) throws {
        let given = head.headerFields[.authorization] ?? ""
        guard Self.isSame(given, "Bearer " + key) else {
            throw APIError(
                .unauthorized, "expected the header Authorization: Bearer KEY with this server's key",
                code: "invalid_api_key")
        }
    }

    /// Takes as long whatever differs.
    private static func isSame(_ a: String, _ b: String) -> Bool {
        let (a, b) = (Array(a.utf8), Array(b.utf8))
        var difference = a.count ^ b.count
        for index in b.indices { difference |= Int((a.isEmpty ? 0 : a[index % a.count]) ^ b[index]) }
        return difference == 0
    }
}
