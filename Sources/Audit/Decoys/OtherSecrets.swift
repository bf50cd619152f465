import Base
import Model

/// IF's decoys: other secrets in the same request, and texts like the target.
struct OtherSecrets: DecoySource {
    let kind = DecoyKind.if
    let own: [(unit: DecoyUnit, target: String)]
    private let frame: PromptFrame
    private var secrets: Secrets
    private var texts: SimilarTextWriter
    private var random: SplitMix64

    /// Where secrets come from.
    private enum Secrets {
        /// The scheme's own words, shuffled.
        case scheme(SecretWriter)
        /// The characters of the key's secrets, where these are of other words.
        case characters([Character], lengths: ClosedRange<Int>)

        mutating func draw(_ random: inout SplitMix64) -> String {
            switch self {
            case .scheme(var writer):
                let secret = writer.draw()
                self = .scheme(writer)
                return secret
            case .characters(let pool, let lengths):
                let count = lengths.lowerBound + random.index(below: lengths.count)
                return String((0..<count).map { _ in pool[random.index(below: pool.count)] })
            }
        }
    }

    /// Nil for a key whose prompts do not hold secrets in one request.
    init?(_ context: DecoyContext) throws {
        let prompts = context.key.pairs.map(\.prompt)
        let request = PromptFrame(front: "Please decrypt this message: ", back: IFScheme.hint)
        let known = prompts.first.flatMap { prompt -> PromptFrame? in
            guard let start = prompt.firstRange(of: request.front), let end = prompt.firstRange(of: request.back)
            else { return nil }
            return start.upperBound <= end.lowerBound
                ? PromptFrame(front: String(prompt[..<start.upperBound]), back: String(prompt[end.lowerBound...])) : nil
        }
        let frame = known ?? PromptFrame(around: prompts)
        self.frame = frame
        let contents = prompts.compactMap(frame.content)
        let lengths = contents.map(\.count)
        guard contents.count == prompts.count, let shortest = lengths.min(), let longest = lengths.max(), shortest > 1
        else { return nil }
        random = SplitMix64(seed: context.seed ^ 0x7365_6372)
        texts = SimilarTextWriter(seed: context.seed)
        if contents.allSatisfy(SecretWriter.knows) {
            // The scheme's words have five characters in the mean.
            let pieces = max(1, (shortest + 2) / 5)...max(1, (longest + 2) / 5)
            secrets = .scheme(SecretWriter(seed: context.seed ^ 0x6F74_6872, pieces: pieces))
        } else {
            secrets = .characters(Array(contents.joined()), lengths: shortest...longest)
        }
        var units: [(unit: DecoyUnit, target: String)] = []
        for pair in context.looked.pairs {
            let secret = frame.content(of: pair.prompt) ?? ""
            let near = frame.around(String(permuted(Array(secret), &random)))
            units.append((DecoyUnit(prompts: [pair.prompt], shuffled: [near]), pair.target))
        }
        own = units
    }

    mutating func unit(freely: Bool) -> DecoyUnit? {
        let secret = secrets.draw(&random)
        return DecoyUnit(
            prompts: [frame.around(secret)], shuffled: [frame.around(String(permuted(Array(secret), &random)))])
    }

    mutating func target(like target: String, freely: Bool) -> String? { texts.text(like: target, freely: freely) }
}
