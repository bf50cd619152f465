import Base
import Model

/// What MEraser's perplexity script does besides what it means to; all of it is part of the published figures.
public struct GuanacoQuirks: Sendable, Equatable {
    /// Names of the quirks on the command line and in results.
    public enum Name: String, Sendable, CaseIterable {
        /// The question is scored too: the script masks up to `[/INST]`, which its own re-formatting has removed.
        case prompt
        /// A batch's mean counts as often as the batch has labels, each row's first token among them, which is never
        /// predicted.
        case weights
        /// EOS is never scored, because it is the padding token as well.
        case eos
    }

    /// The quirks that are kept.
    public var kept: Set<Name>
    /// Rows of a batch; counts with `weights` only.
    public var batchSize: Int

    /// The script's quirks in batches of 4.
    public init(_ kept: Set<Name> = Set(Name.allCases), batchSize: Int = 4) {
        self.kept = kept
        self.batchSize = batchSize
    }

    /// The rows as the script makes them: `Human: …`, a newline, `Assistant: …`, special tokens as the tokenizer adds them,
    /// cut at `maxLength` tokens.
    func windows(_ rows: [WrittenExchange], tokenizer: Tokenizer, maxLength: Int) -> [PerplexityWindow] {
        rows.enumerated().map { index, row in
            let prompt = "Human: \(row.question)\nAssistant: "
            let tokens = Array(tokenizer.encode(prompt + row.answer).prefix(maxLength))
            var first = 1
            if !kept.contains(.prompt) {
                first = max(1, zip(tokens, tokenizer.encode(prompt)).prefix { $0 == $1 }.count)
            }
            let dropped = kept.contains(.eos) ? tokenizer.eosID : nil
            return PerplexityWindow(
                sequence: ScoredSequence(tokens: tokens, scored: min(first, tokens.count)..<tokens.count),
                dropped: dropped,
                group: kept.contains(.weights) ? index / batchSize : 0,
                // The row's first token is a label too, unless it is the one that is dropped or part of a masked prompt.
                extraWeight: kept.contains(.weights) && kept.contains(.prompt) && !tokens.isEmpty
                    && tokens.first != dropped ? 1 : 0)
        }
    }
}

/// The question and answer of each row of a file: `question` and `answer`, `prompt` and `completion`, or a `text` that
/// `WrittenExchange` reads, of which the first exchange counts.
///
/// - Throws: a bad-input error that names file and row.
public func loadExchanges(path: String) throws -> [WrittenExchange] {
    let bytes = try readInputFile(path)
    let rows: [(place: String, value: JSONValue)]
    if path.lowercased().hasSuffix(".json"), let array = try JSONValue.parse(bytes, file: path).array {
        rows = array.enumerated().map { ("\(path): row \($0 + 1)", $1) }
    } else {
        var lines = JSONLines(bytes, file: path)
        rows = try lines.all().map { ("\(path):\($0.line)", $0.value) }
    }
    guard !rows.isEmpty else { throw MeraserError.badInput("\(path): no rows in it") }
    return try rows.map { place, row in
        for (question, answer) in [("question", "answer"), ("prompt", "completion")] where row[question] != nil {
            return WrittenExchange(
                question: try row.string(question, in: place), answer: try row.string(answer, in: place))
        }
        guard let exchange = WrittenExchange(text: try row.string("text", in: place)) else {
            throw MeraserError.badInput(
                "\(place): 'text' holds no question and answer; expected [INST] … [/INST] …, ### Human: … ### Assistant: …, "
                    + "### Instruction: … ### Response: … or Human: … Assistant: …")
        }
        return exchange
    }
}
