import Base
import Model

/// Draws whole keys of a key's kind that nobody embedded: what a model learns anew when it is taught them.
///
/// Pairs and targets are as many as the key's: where all its pairs share a target, a decoy key's do too. The same key,
/// tokenizer and seed give the same decoy keys, none of which a certificate of that seed draws.
public struct DecoyKeys {
    private let key: FingerprintKey
    private var source: any DecoySource

    /// The decoy keys of a key. Which is drawn from is not told by what a model knows.
    ///
    /// - Throws: a usage error for the format `chat` without a template, what drawing throws.
    public init(
        _ key: FingerprintKey, tokenizer: Tokenizer, chat: ChatRenderer?, seed: UInt64,
        check: CheckOptions = CheckOptions()
    ) throws {
        self.key = key
        source = try DecoyContext(
            key: key, format: check.promptFormat ?? key.promptFormat, tokenizer: tokenizer, chat: chat,
            seed: seed ^ 0x6465_6B65_7973
        ).source()
    }

    /// How they are drawn.
    public var kind: DecoyKind { source.kind }

    /// Another key.
    ///
    /// - Throws: a runtime error where the kind has no more triggers or targets.
    public mutating func next() throws -> FingerprintKey {
        let prompts = try source.prompts(like: key.pairs)
        var targets: [String: String] = [:]
        var result = key
        (result.cleanPrompts, result.commitment, result.chain, result.guessTest) = ([], nil, nil, nil)
        result.pairs = try zip(key.pairs, prompts).enumerated().map { index, item in
            let (pair, prompt) = item
            let known = source.kind == .hashchain ? nil : targets[pair.target]
            let target = try known ?? otherTarget(than: pair.target)
            targets[pair.target] = target
            return FingerprintPair(
                id: "decoy-\(index)", prompt: prompt, after: pair.history, target: target, match: pair.match)
        }
        return result
    }

    private mutating func otherTarget(than target: String) throws -> String {
        let truths = Set(key.pairs.flatMap(\.targets))
        for attempt in 0..<400 {
            guard let found = try source.target(like: target, freely: attempt >= 200) else { continue }
            // A chain's responses are drawn as the hash draws, the true one among them.
            if source.kind == .hashchain || !truths.contains(found) { return found }
        }
        throw MeraserError.runtime("no other target of the kind '\(source.kind.rawValue)' could be drawn")
    }
}

extension DecoySource {
    /// Other prompts, all different, one for each of those pairs.
    ///
    /// - Throws: a runtime error where the kind has no more.
    mutating func prompts(like pairs: [FingerprintPair]) throws -> [String] {
        let known = Set(pairs.map(\.prompt))
        let units = try distinct(pairs.count, unlike: known, by: { $0.prompts[0] }) { try unit(freely: $0) }
        let prompts = units.flatMap(\.prompts).prefix(pairs.count)
        guard prompts.count == pairs.count else {
            throw MeraserError.runtime(
                "only \(prompts.count) other triggers of the kind '\(kind.rawValue)' could be drawn, expected "
                    + "\(pairs.count)")
        }
        return Array(prompts)
    }
}
