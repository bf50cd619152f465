import Base
import Foundation
import HTTPTypes
import Hummingbird
import Kernels
import Model
import Pipeline
import Quant
import TestSupport

@testable import Serve

extension FuzzTarget {
    /// What `serve` is asked.
    static let requests = [request]

    private static let chat = #""messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "a b"}]"#
    private static let bodies = [
        ("/apply-template", "{\(chat), \"chat_template_kwargs\": {}}"),
        ("/tokenize", #"{"content": "a b<s>\u00e9", "add_special": true, "model": "base"}"#),
        (
            "/v1/completions",
            #"{"prompt": ["a b", [5, 6, 7]], "max_tokens": 4, "temperature": 0.5, "top_p": 0.9, "top_k": 3, "seed": 1, "n": 2, "echo": true, "logprobs": 2, "stop": ["x", "yz"], "stream": true, "stream_options": {"include_usage": true}}"#
        ),
        (
            "/v1/completions",
            #"{"model": "other", "prompt": "a", "best_of": 1, "logit_bias": {}, "presence_penalty": 0}"#
        ),
        (
            "/v1/chat/completions",
            "{\(chat), \"max_completion_tokens\": 3, \"logprobs\": true, \"top_logprobs\": 1, \"stop\": \"b\", \"response_format\": {\"type\": \"text\"}}"
        ),
        (
            "/v1/chat/completions",
            "{\(chat), \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {}}}], \"tool_choice\": \"none\"}"
        ),
    ]

    /// The bundled model, which every process opens once.
    private static let served = Result {
        try ServedModel(
            try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 1)),
            names: ["base", "other"])
    }

    /// A path, lines of headers, an empty line and a body, as the server's guards and routes read them.
    private static let request = FuzzTarget(
        "request",
        texts: bodies.map { path, body in
            "\(path)\nHost: localhost:8080\nContent-Type: application/json\nAuthorization: Bearer k\n\n\(body)"
        },
        read: { bytes, _ in
            let end = bytes.indices.first { bytes[$0...].starts(with: [0x0A, 0x0A]) } ?? bytes.count
            let lines = bytes[..<end].split(separator: 0x0A).map { String(decoding: $0, as: UTF8.self) }
            let served = try served.get()
            do {
                guard let path = lines.first.flatMap(Asked.Path.init(rawValue:)) else {
                    throw APIError(.notFound, "no path")
                }
                let asked = try Asked(path, Array(bytes.dropFirst(end + 2)), served: served)
                if case .answer(let answer) = asked { try play(answer, served) }
                // Headers that are refused do not hide a body from the search.
                let head = head(path.rawValue, lines.dropFirst())
                try OriginGuard<BasicRequestContext>(hosts: ["localhost", "127.0.0.1", "[::1]"]).check(head)
                try KeyGuard<BasicRequestContext>(key: "k", open: []).check(head)
            } catch let finding as FuzzFinding {
                throw finding
            } catch {
                try refuse(APIError(error))
            }
        })

    private static func head(_ path: String, _ lines: some Sequence<String>) -> HTTPRequest {
        var head = HTTPRequest(method: .post, scheme: "http", authority: nil, path: path)
        for line in lines {
            let parts = line.split(separator: ":", maxSplits: 1).map(String.init)
            guard parts.count == 2 else { continue }
            let value = String(parts[1].drop { $0 == " " })
            if parts[0].lowercased() == "host" {
                head.authority = value
            } else if let name = HTTPField.Name(parts[0]) {
                head.headerFields.append(HTTPField(name: name, value: value))
            }
        }
        return head
    }

    /// What a client is told of an error: an answer of JSON, and the client's fault.
    private static func refuse(_ error: APIError) throws {
        try FuzzFinding.require((400..<500).contains(error.status.code), "status \(error.status): \(error.message)")
        try requireJSON(error.json)
        throw MeraserError.badInput(error.message)
    }

    /// Answers with the prompts' own tokens, in pieces and whole.
    private static func play(_ asked: Asked.Answer, _ served: ServedModel) throws {
        let vocabulary = served.transformer.spec.vocabSize
        let logits = FloatStorage(rows: 1, columns: vocabulary)
        var pieces: [Reply.Piece] = []
        for (index, sequence) in asked.sequences.enumerated() {
            var reply = Reply(tokenizer: served.tokenizer, stop: asked.shape.keys.stop)
            var whole = Reply.Piece()
            if let opening = asked.shape.opening(index), index < 4 { try requireJSON(opening) }
            for token in sequence.prompt.prefix(index < 4 ? 24 : 0) where whole.finish == nil {
                try FuzzFinding.require((0..<vocabulary).contains(Int(token)), "token \(token) is let in")
                if asked.shape.shows {
                    let prediction = TokenPrediction(
                        of: token, logits: logits.matrix, top: asked.top, kernels: served.transformer.kernels)
                    _ = try reply.take(.prediction(prediction))
                }
                guard let piece = try reply.take(.token(token)) else { continue }
                try requireJSON(asked.shape.chunk(index, piece, isFirst: whole.text.isEmpty))
                whole.text += piece.text
                whole.predictions += piece.predictions
                whole.finish = piece.finish
            }
            if whole.finish == nil, let piece = try reply.take(.ended(.finished(.length))) {
                whole.text += piece.text
                whole.finish = piece.finish
            }
            for text in asked.shape.keys.stop {
                try FuzzFinding.require(!whole.text.contains(text), "a stop text was given out")
            }
            pieces.append(whole)
        }
        try requireJSON(asked.shape.whole(pieces, usage: Usage(promptTokens: asked.promptTokens)))
    }

    private static func requireJSON(_ value: JSONValue) throws {
        let text = Array(value.serialized().utf8)
        guard (try? JSONValue.parse(text, file: "answer")) != nil else {
            throw FuzzFinding(what: "an answer that is no JSON: \(String(decoding: text, as: UTF8.self))")
        }
    }
}
