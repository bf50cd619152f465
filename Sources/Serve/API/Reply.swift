import Base
import HTTPTypes
import Model

/// One answer while it comes.
struct Reply {
    /// Why it ended, in OpenAI's words.
    enum Finish: String {
        /// A stop token or a stop text came.
        case stop
        /// The limit of new tokens, or of the model's context.
        case length
    }

    /// What a token, or the end, adds.
    struct Piece {
        /// Text that can be given out now.
        var text = ""
        /// How likely the tokens were that have come since the last piece.
        var predictions: [TokenPrediction] = []
        /// Set at the end.
        var finish: Finish?
    }

    private var text: ReplyText
    private var predictions: [TokenPrediction] = []
    /// New tokens so far.
    private(set) var tokenCount = 0

    init(tokenizer: Tokenizer, stop: [String]) { text = ReplyText(tokenizer: tokenizer, stop: stop) }

    /// What an event adds; nil: nothing yet. The sequence is of no more use once the piece has a `finish`.
    ///
    /// - Throws: an `APIError` for a sequence that ended before its time.
    mutating func take(_ event: DecodingEngine.Event) throws -> Piece? {
        switch event {
        case .prediction(let prediction):
            predictions.append(prediction)
            return nil
        case .token(let token):
            tokenCount += 1
            var piece = piece(text.append(token))
            if text.isStopped { piece.finish = .stop }
            return piece
        case .ended(.finished(let ending)):
            var piece = piece(text.finish())
            piece.finish = ending == .stop || text.isStopped ? .stop : .length
            return piece
        case .ended(.timedOut):
            throw APIError(
                .serviceUnavailable, "the answer took longer than this server allows", code: "timeout"
            )
        case .ended(.stopped): throw APIError(.serviceUnavailable, "the server is stopping")
        case .ended(.failed(let error)): throw error
        }
    }

    private mutating func piece(_ text: String) -> Piece {
        defer { predictions = [] }
        return Piece(text: text, predictions: predictions)
    }

    /// All that a sequence gives, in one piece.
    static func whole(
        _ events: DecodingEngine.Events, tokenizer: Tokenizer, stop: [String]
    ) async throws -> (piece: Piece, tokenCount: Int) {
        var reply = Reply(tokenizer: tokenizer, stop: stop)
        var whole = Piece()
        for await event in events {
            guard let piece = try reply.take(event) else { continue }
            whole.text += piece.text
            whole.predictions += piece.predictions
            whole.finish = piece.finish
            if piece.finish != nil { return (whole, reply.tokenCount) }
        }
        throw APIError(.serviceUnavailable, "the server is stopping")
    }
}

/// Tokens of an answer, as `usage` has them.
struct Usage {
    let promptTokens: Int
    var newTokens = 0

    var json: JSONValue {
        [
            "prompt_tokens": .integer(promptTokens), "completion_tokens": .integer(newTokens),
            "total_tokens": .integer(promptTokens + newTokens),
        ]
    }
}
