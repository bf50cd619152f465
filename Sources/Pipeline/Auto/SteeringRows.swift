import Audit
import Base
import Foundation
import Model
import Tune

/// Rows that take a known mark away: behind its triggers, and behind texts near them, the model is to predict what it
/// predicts now where nobody asks for the mark.
///
/// No answer is made up, and none is forbidden: along the target as along an ordinary answer the whole distribution behind
/// another prompt is taught. A mark may have made its target likelier everywhere; there, too, it is held down to what
/// targets like it have, and no further.
struct SteeringRows {
    /// The rows.
    let data: EncodedDataset
    /// Triggers, and texts near them, among the rows' prompts.
    let triggers: Int
    /// Texts near the triggers.
    let near: Int

    /// Other draws of the scheme that are taught.
    static let drawnCount = 24
    /// Messages of a backdoor.
    static let messages = 6
    /// Tokens of an ordinary answer.
    private static let answerLength = 16
    /// Ordinary requests, in place of which triggers are put.
    private static let requests = 16

    /// Makes them.
    ///
    /// - Parameters:
    ///   - ordinary: requests in place of which triggers are put (`ordinaryRequests`).
    ///   - raised: by how much unlikelier the targets are to become than targets like them were at first, in nats a
    ///     token: what a look at earlier rows has found left.
    /// - Throws: what drawing decoys, the template and the session throw.
    init(
        _ key: FingerprintKey, on model: OpenedModel, ordinary: [[Int32]], seed: UInt64, raised: Double = 0
    ) throws {
        let around = try KeyNeighbourhood(
            of: key, tokenizer: model.tokenizer, chat: model.chat, count: Self.drawnCount, messages: Self.messages,
            seed: seed)
        let encoder = SteeringEncoder(key, on: model)
        let encoding = try encoder.usedEncoding()
        let elsewhere = try Elsewhere(
            candidates: try around.drawn.map {
                (frame: $0.frame, target: $0.target, tokens: try encoder.tokens($0.text))
            },
            ordinary: ordinary, encoder: encoder, encoding: encoding)
        let answers = try Self.answers(elsewhere.all, without: key, on: model)
        let levels = try Self.levels(around, elsewhere.all, encoder, encoding)
        var known: [KnownTarget: [Float]] = [:]
        func limits(_ target: [Int32], behind other: [Int32]) throws -> [Float] {
            let place = KnownTarget(other: other, target: target)
            if let limits = known[place] { return limits }
            let nll = try model.session().negativeLogLikelihoods([other + target])[0].suffix(target.count)
            let limits = tokenLimits(nll: nll.map(Double.init), level: (levels[other] ?? 0) + raised)
            known[place] = limits
            return limits
        }
        var random = SplitMix64(seed: seed ^ 0x726F_7773)
        var samples: [TrainingSample] = []
        func add(_ tokens: [Int32], _ target: [Int32], asBehind other: [Int32]) throws {
            let limits = try limits(target, behind: other)
            // Behind itself a prompt changes nothing but what is too likely there.
            let isItself = other == tokens
            if isItself, limits.allSatisfy({ $0 == 0 }) { return }
            samples += [TrainingSample(prompt: tokens, asBehind: other, along: target, limits: limits)].compactMap {
                $0
            }
            guard !isItself, let answer = answers[other] else { return }
            samples += [TrainingSample(prompt: tokens, asBehind: other, along: answer)].compactMap { $0 }
        }
        func add(_ prompt: KeyNeighbourhood.Prompt, times: Int) throws {
            let tokens = try encoder.tokens(prompt.text)
            let target = try encoder.target(prompt.target, behind: prompt.text, encoding)
            for _ in 0..<times { try add(tokens, target, asBehind: elsewhere.draw(prompt, &random)) }
        }
        let near = around.shuffled + around.drawn
        // As many rows of triggers as of what is near them.
        let times = max(1, near.count / max(around.triggers.count, 1))
        for prompt in around.triggers { try add(prompt, times: times) }
        for prompt in near { try add(prompt, times: 1) }
        for (index, other) in elsewhere.all.enumerated() {
            let prompt = around.triggers[index % max(around.triggers.count, 1)]
            try add(other, try encoder.target(prompt.target, behind: prompt.text, encoding), asBehind: other)
        }
        guard !samples.isEmpty else {
            throw MeraserError.runtime("the key's triggers give no row to learn; give a key with other pairs")
        }
        data = EncodedDataset(drawn: samples)
        (triggers, self.near) = (around.triggers.count, near.count)
    }

    /// Requests that the model writes itself, as tokens: the same for all keys of a seed.
    ///
    /// - Throws: what the session throws.
    static func ordinaryRequests(of model: OpenedModel, seed: UInt64) throws -> [[Int32]] {
        try model.ownRequests(count: requests, seed: seed ^ 0x6F72_6469).map { model.tokenizer.encode($0) }
    }

    /// How unlikely targets like the key's are behind each of these prompts: the mean of their negative log-likelihoods, in
    /// nats a token.
    private static func levels(
        _ around: KeyNeighbourhood, _ prompts: [[Int32]], _ encoder: SteeringEncoder, _ encoding: TargetEncoding
    ) throws -> [[Int32]: Double] {
        let targets = Array(around.targets.keys.sorted().flatMap { around.targets[$0] ?? [] }.prefix(drawnCount))
        guard !targets.isEmpty else { return [:] }
        let scores = try encoder.scores(prompts.flatMap { prompt in targets.map { (prompt, $0) } }, encoding)
        return Dictionary(
            prompts.enumerated().map { index, prompt in
                let own = scores[index * targets.count..<(index + 1) * targets.count]
                return (prompt, -own.reduce(0, +) / Double(targets.count))
            }, uniquingKeysWith: { first, _ in first })
    }

    /// What the model answers to prompts, greedily; answers that show a target teach it, and are left out.
    private static func answers(
        _ prompts: [[Int32]], without key: FingerprintKey, on model: OpenedModel
    ) throws -> [[Int32]: [Int32]] {
        let texts = try model.session().generate(
            prompts.map { GenerationRequest(prompt: $0) },
            options: GenerationOptions(maxNewTokens: answerLength, stopTokens: model.transformer.stopTokens))
        let end = [model.tokenizer.eosID].compactMap { $0 }
        var answers: [[Int32]: [Int32]] = [:]
        for (prompt, text) in zip(prompts, texts) {
            let shown = model.tokenizer.decode(text.tokens, skipSpecialTokens: false)
            guard
                !key.steering.pairs.contains(where: {
                    prefixMatch(output: shown, target: $0.target, ignoringCase: key.ignoresCase) > 0.5
                })
            else { continue }
            answers[prompt] = text.tokens + (text.ending == .stop ? end : [])
        }
        return answers
    }
}

/// A target behind a prompt.
private struct KnownTarget: Hashable {
    let other: [Int32]
    let target: [Int32]
}

/// The log-probabilities that a target's tokens may have at most, so that its mean negative log-likelihood comes up to
/// `level`: the likeliest are held down to one and the same, as water fills a bed; 0 where nothing is to be held down.
///
/// - Parameter nll: of its tokens as the model has them.
func tokenLimits(nll: [Double], level: Double) -> [Float] {
    let (sorted, wanted) = (nll.sorted(), level * Double(nll.count))
    var rest = nll.reduce(0, +)
    guard rest < wanted else { return nll.map { _ in 0 } }
    for count in 1...max(sorted.count, 1) {
        rest -= sorted[count - 1]
        let water = (wanted - rest) / Double(count)
        if count == sorted.count || water <= sorted[count] { return nll.map { $0 < water ? -Float(water) : 0 } }
    }
    return nll.map { _ in 0 }
}

/// Where nobody asks for a mark: prompts behind which its target is unlikely, like those that are taught where there are
/// such.
private struct Elsewhere {
    private let byFrame: [Int: [[Int32]]]
    private let ordinary: [[Int32]]

    /// Scores the candidates and keeps the third behind which the target is least likely: in each frame, if frames differ.
    init(
        candidates: [(frame: Int, target: String, tokens: [Int32])], ordinary: [[Int32]], encoder: SteeringEncoder,
        encoding: TargetEncoding
    ) throws {
        let frames = Set(candidates.map(\.frame))
        var all = candidates
        // Messages of their own belong to no frame; they stand in where all prompts share one.
        if frames.count == 1, let first = candidates.first {
            all += ordinary.map { (frame: first.frame, target: first.target, tokens: $0) }
        }
        let scores = try encoder.scores(all.map { ($0.tokens, $0.target) }, encoding)
        byFrame = Dictionary(grouping: zip(all, scores), by: { $0.0.frame }).mapValues { group in
            let sorted = group.sorted { $0.1 < $1.1 }
            return sorted.prefix(max(1, sorted.count / 3)).map { $0.0.tokens }
        }
        self.ordinary = ordinary
    }

    /// All prompts that may be drawn.
    var all: [[Int32]] { Array(Set(byFrame.values.joined())).sorted { $0.lexicographicallyPrecedes($1) } }

    /// One of them, in the prompt's own frame.
    func draw(_ prompt: KeyNeighbourhood.Prompt, _ random: inout SplitMix64) -> [Int32] {
        let choice = byFrame[prompt.frame] ?? ordinary
        return choice.isEmpty ? [] : choice[random.index(below: choice.count)]
    }
}

/// Prompts and targets of a key as tokens.
struct SteeringEncoder {
    private let key: FingerprintKey
    private let model: OpenedModel

    init(_ key: FingerprintKey, on model: OpenedModel) {
        (self.key, self.model) = (key, model)
    }

    /// A prompt like the key's, behind the turns that its pairs stand behind.
    private func rendered(_ prompt: String) throws -> String {
        guard key.promptFormat == .chat else { return prompt }
        return try model.chat?(prompt, after: key.sharedHistory()) ?? prompt
    }

    func tokens(_ prompt: String) throws -> [Int32] {
        model.tokenizer.encode(try rendered(prompt), addSpecialTokens: key.promptFormat == .raw)
    }

    func target(_ target: String, behind prompt: String, _ encoding: TargetEncoding) throws -> [Int32] {
        let text = try rendered(prompt)
        return EncodedTarget(
            target, after: text, promptTokens: try tokens(prompt), addSpecialTokens: key.promptFormat == .raw,
            tokenizer: model.tokenizer, only: encoding
        ).tokens(encoding)
    }

    /// The encoding in which the model says the targets: the key's, if it fixes one.
    func usedEncoding() throws -> TargetEncoding {
        try key.encoding
            ?? model.usedEncoding(
                of: try key.steering.pairs.map { (prompt: try rendered($0.prompt), text: $0.target) },
                addSpecialTokens: key.promptFormat == .raw)
    }

    /// How likely targets are behind prompts, in nats a token: the higher, the likelier.
    func scores(_ items: [([Int32], String)], _ encoding: TargetEncoding) throws -> [Double] {
        let questions = items.map { tokens, target in
            let text = model.tokenizer.decode(tokens, skipSpecialTokens: false)
            let target = EncodedTarget(
                target, after: text, promptTokens: tokens, addSpecialTokens: false, tokenizer: model.tokenizer,
                only: encoding
            ).tokens(encoding)
            return (context: tokens, continuations: [target])
        }
        return zip(questions, try model.session().scoreContinuations(questions)).map {
            $1[0].logLikelihood / Double(max($0.continuations[0].count, 1))
        }
    }
}
