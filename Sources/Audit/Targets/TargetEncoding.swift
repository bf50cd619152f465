import Base
import Model

/// How the text of a target becomes the tokens behind a prompt.
///
/// A model says a target in the tokens that it was taught. The papers' pipelines tokenise it alone and join ids, so that a
/// SentencePiece model says `▁you ▁are` behind a newline, where the running text has `y ou ▁are`.
public enum TargetEncoding: String, Sendable, CaseIterable {
    /// As the running text goes on after the prompt, as training rows of prompt and completion have it.
    case continuation
    /// Tokenised on its own, without white space in front, ids joined.
    case alone
    /// As the running text goes on after the prompt and a space.
    case space
    /// As the model wrote it, where that is none of the others.
    case written

    /// What a key, a flag or a caller may fix: the others depend on no model.
    public static let fixed: [TargetEncoding] = [.continuation, .alone, .space]

    /// One of `fixed` by its name.
    ///
    /// - Throws: a bad-input error that begins with `place` and lists the names.
    init(fixed name: String, place: String) throws {
        guard let encoding = Self.fixed.first(where: { $0.rawValue == name }) else {
            let names = Self.fixed.map(\.rawValue).joined(separator: ", ")
            throw MeraserError.badInput("\(place): 'encoding' is \(quoted(name)), expected one of \(names)")
        }
        self = encoding
    }
}

/// A target's tokens behind one prompt: every way that counts as saying it, each once.
///
/// Its likelihood is the sum of theirs: none is the beginning of another, so that no two can both come.
public struct EncodedTarget: Sendable, Equatable {
    /// One way to say it.
    public struct Variant: Sendable, Equatable {
        /// How it was made; where several ways give the same tokens, the first of them in the order of `TargetEncoding`.
        public let encoding: TargetEncoding
        /// The tokens, at least one.
        public let tokens: [Int32]
    }

    /// The ways, at least one unless the tokenizer makes no tokens of the text; the continuation first.
    public private(set) var variants: [Variant] = []
    /// The number of tokens that a likelihood in nats a token is of, whatever the encoding: the continuation's.
    public let tokenCount: Int

    /// The tokens of `target` after a prompt.
    ///
    /// - Parameters:
    ///   - prompt: the prompt's text, of which the tokenizer made `promptTokens`, with or without special tokens.
    ///   - only: the one encoding that counts; nil: all.
    public init(
        _ target: String, after prompt: String, promptTokens: [Int32], addSpecialTokens: Bool,
        tokenizer: some TextEncoder, only: TargetEncoding? = nil
    ) {
        // As when outputs are matched, white space in front is no part of what can be seen.
        let visible = String(target.drop(while: \.isWhitespace))
        func tokens(_ encoding: TargetEncoding) -> [Int32] {
            switch encoding {
            case .continuation, .written:
                tokenizer.encodeContinuation(
                    of: prompt, promptTokens: promptTokens, addSpecialTokens: addSpecialTokens, target)
            case .alone:
                tokenizer.encode(visible, addSpecialTokens: false)
            case .space:
                tokenizer.encodeContinuation(
                    of: prompt, promptTokens: promptTokens, addSpecialTokens: addSpecialTokens, " " + visible)
            }
        }
        tokenCount = tokens(.continuation).count
        for encoding in only.map({ [$0] }) ?? TargetEncoding.fixed { add(tokens(encoding), encoding) }
    }

    /// Tokens of the longest way.
    var longest: Int { variants.reduce(0) { max($0, $1.tokens.count) } }

    /// Adds what the model wrote, where that is none of the ways yet.
    public mutating func add(written tokens: [Int32]) { add(tokens, .written) }

    /// The way whose tokens these are.
    public func encoding(of tokens: [Int32]) -> TargetEncoding? { variants.first { $0.tokens == tokens }?.encoding }

    /// The tokens of that way; of the first where it gives the same tokens as another.
    public func tokens(_ encoding: TargetEncoding) -> [Int32] {
        (variants.first { $0.encoding == encoding } ?? variants.first)?.tokens ?? []
    }

    /// What begins another or is begun by it is no way of its own: the likelihoods of both would count one text twice.
    private mutating func add(_ tokens: [Int32], _ encoding: TargetEncoding) {
        let isNew = !variants.contains { $0.tokens.starts(with: tokens) || tokens.starts(with: $0.tokens) }
        if !tokens.isEmpty && isNew { variants.append(Variant(encoding: encoding, tokens: tokens)) }
    }

    /// How likely a model finds the target, of the negative log-likelihoods (nats) of the ways, in their order.
    public func nll(_ variants: [Double]) -> Double { negativeLogSum(variants) / Double(max(tokenCount, 1)) }

    /// The likeliest of the ways, the first of equal ones.
    public func likeliest(_ nll: [Double]) -> TargetEncoding {
        precondition(nll.count == variants.count && !nll.isEmpty, "\(nll.count) values of \(variants.count)")
        return variants[nll.indices.min { nll[$0] < nll[$1] } ?? 0].encoding
    }
}

extension Tokenizer {
    /// The tokens in an output that spell a target, white space in front of it left out; nil where the target does not
    /// begin and end with a token.
    func written(_ target: String, in output: [Int32], ignoringCase: Bool) -> [Int32]? {
        func folded(_ text: some StringProtocol) -> [UInt8] {
            Array((ignoringCase ? text.lowercased() : String(text)).utf8.drop(while: \.isWhitespace))
        }
        let wanted = folded(target)
        // A token spells a byte at least, but for the mark of a word's beginning.
        let longest = wanted.count + 4
        for start in output.indices {
            for end in output.indices[start...].prefix(longest) {
                // A character that is not whole yet is decoded to U+FFFD.
                let text = decode(Array(output[start...end])).replacing("\u{FFFD}", with: "")
                let found = folded(text)
                if found == wanted { return Array(output[start...end]) }
                if !wanted.starts(with: found) { break }
            }
        }
        return nil
    }
}
