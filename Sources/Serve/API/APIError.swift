import Base
import HTTPTypes
import Hummingbird
import NIOCore

/// What a client is told that went wrong, in OpenAI's shape.
struct APIError: Error {
    let status: HTTPResponse.Status
    let message: String
    /// A word for programs.
    let code: String?
    /// Seconds after which to try again.
    let retryAfter: Int?

    init(_ status: HTTPResponse.Status, _ message: String, code: String? = nil, retryAfter: Int? = nil) {
        (self.status, self.message, self.code, self.retryAfter) = (status, message, code, retryAfter)
    }

    /// What an error of any kind tells a client: nothing of the machine that is not the client's fault.
    init(_ error: any Error) {
        switch error {
        case let error as APIError: self = error
        case let error as MeraserError where [.badInput, .usage].contains(error.kind):
            self.init(.badRequest, error.message)
        case let error as MeraserError: self.init(.internalServerError, error.message)
        case let error as HTTPError: self.init(error.status, error.body ?? error.status.reasonPhrase)
        case is NIOTooManyBytesError:
            self.init(.contentTooLarge, "the body is larger than this server takes")
        default: self.init(.internalServerError, "the server failed: \(type(of: error))")
        }
    }

    /// `{"error": {…}}`.
    var json: JSONValue {
        [
            "error": [
                "message": .text(message), "type": .text(status.code < 500 ? "invalid_request_error" : "server_error"),
                "param": .null, "code": code.map(JSONValue.text) ?? .null,
            ]
        ]
    }

    /// The whole answer.
    var response: Response {
        var response = Response(json: json, status: status)
        if let retryAfter { response.headers[.retryAfter] = String(retryAfter) }
        if status == .unauthorized { response.headers[.wwwAuthenticate] = "Bearer" }
        return response
    }
}

extension Response {
    /// An answer of JSON.
    init(json: JSONValue, status: HTTPResponse.Status = .ok) {
        self.init(
            status: status, headers: [.contentType: "application/json; charset=utf-8"],
            body: ResponseBody(byteBuffer: ByteBuffer(string: json.serialized())))
    }
}
