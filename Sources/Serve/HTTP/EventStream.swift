import Base
import HTTPTypes
import Hummingbird
import NIOCore

/// Server-sent events (WHATWG HTML, section 9.2), each with JSON as its data.
enum EventStream {
    /// An answer whose events `body` writes.
    static func response(_ body: @escaping @Sendable (inout Writer) async throws -> Void) -> Response {
        Response(
            status: .ok, headers: [.contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache"],
            body: ResponseBody { base in
                var writer = Writer(base: base)
                do {
                    try await body(&writer)
                } catch let error as APIError {
                    try await writer.write(error.json)
                } catch let error as MeraserError {
                    try await writer.write(APIError(error).json)
                }
                try await writer.finish()
            })
    }

    /// Writes events.
    struct Writer {
        fileprivate var base: any ResponseBodyWriter

        /// One event. Error: the client has gone.
        mutating func write(_ json: JSONValue) async throws {
            try await base.write(ByteBuffer(string: "data: \(json.serialized())\n\n"))
        }

        fileprivate consuming func finish() async throws {
            try await base.write(ByteBuffer(string: "data: [DONE]\n\n"))
            try await base.finish(nil)
        }
    }
}
