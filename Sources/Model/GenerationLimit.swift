import Base
import Quant

/// How far one prompt may be continued.
public struct GenerationLimit: Sendable, Equatable {
    /// New tokens at most.
    public let tokens: Int
    /// Why an output of that many tokens ended.
    public let ending: Generation.Ending
}

extension Transformer {
    /// The limit of a request: its own number of new tokens or the options', and never past the model's context
    /// (`max_position_embeddings`), behind which a model was never trained.
    ///
    /// - Parameter index: of the request, for errors.
    /// - Throws: a bad-input error for a prompt without tokens, with one outside the vocabulary, or that fills the context.
    public func limit(
        of request: GenerationRequest, index: Int, options: GenerationOptions
    ) throws -> GenerationLimit {
        let count = request.prompt.count
        guard count > 0 else { throw MeraserError.badInput("prompt \(index) has no tokens") }
        guard request.prompt.allSatisfy({ $0 >= 0 && Int($0) < spec.vocabSize }) else {
            throw MeraserError.badInput(
                "prompt \(index) has a token outside the model's vocabulary of \(spec.vocabSize)")
        }
        let wanted = max(0, request.maxNewTokens ?? options.maxNewTokens)
        let room = spec.maxPositionEmbeddings - count
        guard room > 0 || wanted == 0 else {
            throw MeraserError.badInput(
                "prompt \(index) has \(count) tokens, which leaves no room in the context of \(count + room) positions of "
                    + "\(store.path); expected a shorter prompt")
        }
        return wanted <= room
            ? GenerationLimit(tokens: wanted, ending: .length) : GenerationLimit(tokens: room, ending: .context)
    }
}
