import Model
import Quant

/// A window of a perplexity run.
struct PerplexityWindow: Sendable {
    let sequence: ScoredSequence
    /// A token that does not count where it comes; nil: all do.
    var dropped: Int32?
    /// Windows of one group are averaged first; see `PerplexitySums`.
    var group = 0
    /// What the window weighs in addition to its scored tokens.
    var extraWeight = 0
}

/// The perplexity of a model on texts and, with `base`, its divergence from that model at the same positions.
///
/// Tokens come from `tokenizer` alone, so both models see the same. Memory is bounded by the session's token budget, a
/// window, and a few numbers for each scored token.
/// - Parameters:
///   - onWindow: called with the number of windows done and of all.
/// - Throws: a usage error for lengths or models that do not fit, a bad-input error if there is nothing to score.
public func perplexity(
    of texts: [String], session: InferenceSession, tokenizer: Tokenizer, options: PerplexityOptions,
    base: InferenceSession? = nil, onWindow: ((Int, Int) -> Void)? = nil
) throws -> PerplexityReport {
    precondition(options.scheme != .guanaco, "guanaco measures exchanges, not texts")
    let cutter = try options.cutter(maxPositions: positions(session, base))
    let windows = cutter.windows(texts, tokenizer: tokenizer).map { PerplexityWindow(sequence: $0) }
    return try perplexity(
        windows, length: cutter.length, session: session, options: options, base: base, onWindow: onWindow)
}

/// The same on questions with their answers, by the protocol `guanaco`.
public func perplexity(
    of exchanges: [WrittenExchange], session: InferenceSession, tokenizer: Tokenizer, options: PerplexityOptions,
    base: InferenceSession? = nil, onWindow: ((Int, Int) -> Void)? = nil
) throws -> PerplexityReport {
    precondition(options.scheme == .guanaco, "\(options.scheme) measures texts")
    let length = try options.cutter(maxPositions: positions(session, base)).length
    let windows = options.quirks.windows(exchanges, tokenizer: tokenizer, maxLength: length)
    return try perplexity(windows, length: length, session: session, options: options, base: base, onWindow: onWindow)
}

/// The same by the options' protocol on the rows of a file: exchanges for `guanaco` (`loadExchanges`), else texts
/// (`loadTextRows`).
public func perplexity(
    ofFile path: String, session: InferenceSession, tokenizer: Tokenizer, options: PerplexityOptions,
    base: InferenceSession? = nil, onWindow: ((Int, Int) -> Void)? = nil
) throws -> PerplexityReport {
    if options.scheme == .guanaco {
        return try perplexity(
            of: try loadExchanges(path: path), session: session, tokenizer: tokenizer, options: options, base: base,
            onWindow: onWindow)
    }
    return try perplexity(
        of: try loadTextRows(path: path), session: session, tokenizer: tokenizer, options: options, base: base,
        onWindow: onWindow)
}

/// The longest window that both models can read.
private func positions(_ session: InferenceSession, _ base: InferenceSession?) -> Int {
    let own = session.model.spec.maxPositionEmbeddings
    return min(own, base?.model.spec.maxPositionEmbeddings ?? own)
}

private func perplexity(
    _ windows: [PerplexityWindow], length: Int, session: InferenceSession, options: PerplexityOptions,
    base: InferenceSession?, onWindow: ((Int, Int) -> Void)?
) throws -> PerplexityReport {
    let scorer = try PositionScorer(session, base: base)
    var sums = PerplexitySums()
    try scorer.score(windows.map(\.sequence)) { index, scores in
        sums.add(scores, windows[index], keepRow: options.keepRows)
        onWindow?(index + 1, windows.count)
    }
    return try sums.report(options, length: length)
}
