import Base
import Foundation
import HTTPTypes
import Hummingbird
import Model
import NIOCore
import Quant

/// What the server answers to which path.
struct Routes: Sendable {
    let served: ServedModel
    let engine: DecodingEngine
    let limits: ServerLimits
    let counters: Counters

    private static let started = Int(Date().timeIntervalSince1970)

    /// Adds them to a router.
    func add(to router: Router<BasicRequestContext>) {
        router.get("/health") { _, _ in Response(json: ["status": .text("ok")]) }
        router.get("/v1/models") { _, _ in Response(json: models) }
        router.get("/metrics") { _, _ in
            Response(
                status: .ok, headers: [.contentType: "text/plain; version=0.0.4; charset=utf-8"],
                body: ResponseBody(byteBuffer: ByteBuffer(string: counters.text(engine.load))))
        }
        for path in Asked.Path.allCases {
            router.post(RouterPath(path.rawValue)) { request, _ in
                switch try Asked(path, try await body(request), served: served) {
                case .text(let text): return Response(json: ["prompt": .text(text)])
                case .tokens(let tokens): return Response(json: ["tokens": .array(tokens.map { .integer(Int($0)) })])
                case .answer(let asked): return try await answer(asked)
                }
            }
        }
    }

    private var models: JSONValue {
        [
            "object": .text("list"),
            "data": .array(
                served.names.map {
                    [
                        "id": .text($0), "object": .text("model"), "created": .integer(Self.started),
                        "owned_by": .text("meraser"),
                        "max_model_len": .integer(served.transformer.spec.maxPositionEmbeddings),
                    ]
                }),
        ]
    }

    /// A body that comes in time.
    private func body(_ request: Request) async throws -> [UInt8] {
        try await withThrowingTaskGroup(of: [UInt8].self) { group in
            group.addTask { Array(buffer: try await request.body.collect(upTo: limits.bodyBytes)) }
            group.addTask {
                try await Task.sleep(for: .seconds(limits.bodySeconds))
                throw APIError(.requestTimeout, "the body did not come within \(Int(limits.bodySeconds)) seconds")
            }
            defer { group.cancelAll() }
            return try await group.next() ?? []
        }
    }

    private func answer(_ asked: Asked.Answer) async throws -> Response {
        let shape = asked.shape
        let events = try engine.submit(asked.sequences, model: shape.keys.model, top: asked.top)
        var usage = Usage(promptTokens: asked.promptTokens)
        guard shape.keys.streams else {
            var pieces: [Reply.Piece] = []
            for sequence in events {
                let (piece, count) = try await Reply.whole(
                    sequence, tokenizer: served.tokenizer, stop: shape.keys.stop)
                pieces.append(piece)
                usage.newTokens += count
            }
            return Response(json: shape.whole(pieces, usage: usage))
        }
        let started = usage
        return EventStream.response { [served] writer in
            try await stream(events, shape, started, served.tokenizer, &writer)
        }
    }

    /// Writes the pieces of all sequences as they come.
    private func stream(
        _ events: [DecodingEngine.Events], _ shape: AnswerShape, _ started: Usage, _ tokenizer: Tokenizer,
        _ writer: inout EventStream.Writer
    ) async throws {
        var usage = started
        for index in events.indices {
            if let opening = shape.opening(index) { try await writer.write(opening) }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            let (merged, source) = AsyncThrowingStream<(Int, Reply.Piece, Int), any Error>.makeStream()
            for (index, sequence) in events.enumerated() {
                group.addTask {
                    var reply = Reply(tokenizer: tokenizer, stop: shape.keys.stop)
                    do {
                        for await event in sequence {
                            guard let piece = try reply.take(event) else { continue }
                            source.yield((index, piece, reply.tokenCount))
                            if piece.finish != nil { break }
                        }
                    } catch {
                        source.finish(throwing: error)
                    }
                }
            }
            var (open, begun) = (events.count, Set<Int>())
            for try await (index, piece, count) in merged {
                // What is held back for the sake of a stop text is not sent as nothing.
                if piece.finish != nil || !piece.text.isEmpty || !piece.predictions.isEmpty {
                    try await writer.write(shape.chunk(index, piece, isFirst: begun.insert(index).inserted))
                }
                guard piece.finish != nil else { continue }
                usage.newTokens += count
                open -= 1
                if open == 0 { break }
            }
            group.cancelAll()
        }
        if shape.keys.includesUsage { try await writer.write(shape.closing(usage)) }
    }
}
