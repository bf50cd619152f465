import Base
import Model

/// Makes tokens of contexts and continuations by lm-evaluation-harness's rules.
///
/// Blanks at a context's end move to the continuation; both are tokenised together and the continuation is what is behind
/// as many tokens as the context alone has. Special tokens are as the tokenizer adds them, but not in front of a text that
/// begins with BOS already. An empty context becomes BOS, or EOS where there is no BOS.
struct ContinuationEncoder {
    private let tokenizer: Tokenizer
    /// What stands in front of an empty context.
    let prefix: Int32?
    private let prefixText: String
    /// The text of EOS, which ends what a model writes; empty if there is none.
    let endText: String

    init(_ tokenizer: Tokenizer) {
        self.tokenizer = tokenizer
        prefix = tokenizer.bosID ?? tokenizer.eosID
        prefixText = prefix.map { tokenizer.decode([$0]) } ?? ""
        endText = tokenizer.eosID.map { tokenizer.decode([$0]) } ?? ""
    }

    /// The tokens of both.
    ///
    /// - Throws: a bad-input error if one of them has none; `place` begins it.
    func encode(
        _ request: TaskQuestion.Request, place: String
    ) throws -> (context: [Int32], continuation: [Int32]) {
        guard !request.context.isEmpty else { return try behindPrefix(request.continuation, place) }
        let scalars = Array(request.context.unicodeScalars)
        let end = (scalars.lastIndex { !$0.properties.isWhitespace } ?? -1) + 1
        let context = Self.text(scalars[..<end])
        let whole = encodeText(request.context + request.continuation)
        let contextTokens = encodeText(context)
        let continuation = Array(whole.dropFirst(contextTokens.count))
        guard !contextTokens.isEmpty, !continuation.isEmpty else {
            throw MeraserError.badInput(
                "\(place): the \(continuation.isEmpty ? "choice" : "context") has no tokens of its own")
        }
        return (contextTokens, continuation)
    }

    private func behindPrefix(_ text: String, _ place: String) throws -> (context: [Int32], continuation: [Int32]) {
        var tokens = tokenizer.encode(text, addSpecialTokens: false)
        if let prefix, tokens.first != prefix { tokens.insert(prefix, at: 0) }
        guard tokens.count >= 2 else {
            throw MeraserError.badInput("\(place): the context is empty, and the choice has no tokens of its own")
        }
        return (Array(tokens[..<1]), Array(tokens[1...]))
    }

    /// The tokens of a text, special ones as the tokenizer adds them.
    func encodeText(_ text: String) -> [Int32] {
        let hasPrefix = !prefixText.isEmpty && text.utf8.starts(with: prefixText.utf8)
        return tokenizer.encode(text, addSpecialTokens: !hasPrefix)
    }

    private static func text(_ scalars: ArraySlice<Unicode.Scalar>) -> String {
        var view = String.UnicodeScalarView()
        view.append(contentsOf: scalars)
        return String(view)
    }
}
