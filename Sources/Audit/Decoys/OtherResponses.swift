import Base
import Model

/// Chain & Hash's decoys: other questions in the same dialogue, and the chain's responses, drawn evenly as the hash does.
struct OtherResponses: DecoySource {
    let kind = DecoyKind.hashchain
    let own: [(unit: DecoyUnit, target: String)]
    private let frame: PromptFrame
    private let responses: [String]
    private let questions: [String]
    private let areWords: Bool
    private let lengths: ClosedRange<Int>
    private var tokens: RandomTokens
    private var phrases: PhraseWriter
    private var random: SplitMix64

    /// Nil for a key without a chain, or whose prompts do not hold its questions.
    init?(_ context: DecoyContext) {
        let pairs = context.key.pairs
        guard let chain = context.key.chain ?? context.key.wholeChain else { return nil }
        // Of a part of a key the questions are those of its pairs; of two that a prompt holds the longer one is meant.
        let asked = pairs.map { pair in
            chain.questions.filter(pair.prompt.contains).max { ($0.utf8.count, $0) < ($1.utf8.count, $1) }
        }
        guard Set(asked.compactMap { $0 }).count == pairs.count else { return nil }
        let frames = zip(pairs, asked).map { pair, question in
            question.flatMap { PromptFrame(of: pair.prompt, around: $0) }
        }
        guard let frame = frames.first ?? nil, frames.allSatisfy({ $0 == frame }) else { return nil }
        self.frame = frame
        responses = chain.responses
        questions = asked.compactMap { $0 }
        areWords = questions.allSatisfy(PhraseWriter.suits)
        let counts = questions.map { context.tokenizer.encode($0, addSpecialTokens: false).count }
        lengths = (counts.min() ?? 1)...(counts.max() ?? 1)
        tokens = RandomTokens(
            context.tokenizer, vocabulary: context.tokenizer.vocabularySize, seed: context.seed ^ 0x6F74_6872)
        phrases = PhraseWriter(seed: context.seed)
        random = SplitMix64(seed: context.seed ^ 0x7265_7370)
        var units: [(unit: DecoyUnit, target: String)] = []
        for pair in context.looked.pairs {
            let near = shuffled(frame.content(of: pair.prompt) ?? "", &random)
            units.append((DecoyUnit(prompts: [pair.prompt], shuffled: [frame.around(near)]), pair.target))
        }
        own = units
    }

    mutating func unit(freely: Bool) -> DecoyUnit? {
        let question =
            areWords
            ? phrases.text(like: questions[random.index(below: questions.count)], freely: freely)
            : tokens.text(lengths)
        guard !question.isEmpty, !questions.contains(question) else { return nil }
        return DecoyUnit(
            prompts: [frame.around(question)], shuffled: [frame.around(shuffled(question, &random))])
    }

    /// Any of the responses, that one too.
    mutating func target(like target: String, freely: Bool) -> String? {
        responses[random.index(below: responses.count)]
    }
}
