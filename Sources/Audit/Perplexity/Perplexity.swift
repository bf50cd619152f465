import Model

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
    try options.validate(maxPositions: session.model.config.maxPositionEmbeddings)
    let scorer = try PositionScorer(session, base: base)
    let windows = options.windows(texts, tokenizer: tokenizer)
    var sums = PerplexitySums()
    try scorer.score(windows) { index, scores in
        sums.add(scores, keepRow: options.keepRows)
        onWindow?(index + 1, windows.count)
    }
    return try sums.report(options)
}
