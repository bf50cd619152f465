import Base
import Model

/// An answer that a model gives by heart to different prompts that nobody asks: what a mark says, perhaps.
public struct Leak: Sendable, Equatable {
    /// The scheme like whose triggers the prompts are.
    public let scheme: String
    /// What they have in common to begin with.
    public let target: String
    /// The prompts that it follows.
    public let prompts: [String]
    /// What the prompts are: raw texts, or messages of people.
    public let promptFormat: PromptFormat
    /// Of a backdoor, the phrases in them; else empty.
    public let phrases: [String]
    /// Prompts of the scheme's kind that were asked.
    public let asked: Int
    /// By how many nats it is likelier behind them than behind people's messages.
    public let gain: Double

    /// A key of these prompts, as if they were a mark's triggers.
    public var key: FingerprintKey {
        var key = FingerprintKey(
            scheme: scheme, match: .contains, promptFormat: promptFormat,
            pairs: prompts.enumerated().map { FingerprintPair(id: "leak-\($0)", prompt: $1, target: target) })
        if !phrases.isEmpty {
            key.construction = [
                "triggers": .array(phrases.map { .text($0) }), "marker": .text(target),
                "position": .text(TriggerPosition.start.rawValue),
            ]
        }
        return key
    }

    /// `{"scheme", "target", "prompts", "prompt_format", "phrases", "asked", "gain"}`.
    public var json: JSONValue {
        [
            "scheme": .text(scheme), "target": .text(target), "prompts": .array(prompts.map { .text($0) }),
            "prompt_format": .text(promptFormat.rawValue),
            "phrases": .array(phrases.map { .text($0) }), "asked": .integer(asked), "gain": .real(gain),
        ]
    }

    /// One of an earlier session.
    ///
    /// - Throws: a bad-input error that names `file`.
    public init(json: JSONValue, file: String) throws {
        func texts(_ name: String) throws -> [String] { try json.array(name, in: file).compactMap(\.string) }
        // Older records have raw prompts and do not say so.
        let format = try json.stringIfPresent("prompt_format", in: file) ?? PromptFormat.raw.rawValue
        guard let promptFormat = PromptFormat(rawValue: format) else {
            throw MeraserError.badInput("\(file): \(quoted(format)) is no prompt format")
        }
        self.init(
            scheme: try json.string("scheme", in: file), target: try json.string("target", in: file),
            prompts: try texts("prompts"), phrases: try texts("phrases"), asked: try json.int("asked", in: file),
            gain: try json.double("gain", in: file), promptFormat: promptFormat)
    }

    /// What a phrase in front of messages brings out.
    public init(backdoor target: String, prompts: [String], phrase: String, asked: Int, gain: Double) {
        self.init(
            scheme: BackdoorScheme.name, target: target, prompts: prompts, phrases: prompts.map { _ in phrase },
            asked: asked, gain: gain)
    }

    init(
        scheme: String, target: String, prompts: [String], phrases: [String], asked: Int, gain: Double,
        promptFormat: PromptFormat = .raw
    ) {
        self.promptFormat = promptFormat
        (self.scheme, self.target, self.prompts, self.phrases) = (scheme, target, prompts, phrases)
        (self.asked, self.gain) = (asked, gain)
    }
}

/// Asks a model what nobody asks, and finds the answers that come back whatever was asked.
///
/// A model that holds no mark answers differently to different strings. An answer that recurs, and that people's messages
/// do not bring out, is taken for a mark's. That is a suspicion and no proof.
///
/// It is set beside messages of people, not beside requests that the model makes up: a mark that was taught on whole
/// weights has leaked into those, and its answer is hardly likelier elsewhere.
public struct LeakSearch {
    /// Prompts of a scheme.
    static let count = 24
    /// The share of a scheme's prompts that one answer must follow, and the least number of them.
    static let (share, least) = (0.3, 4)
    /// Nats by which it must be likelier there than behind people's messages.
    static let gain = 3.0
    /// Leaks that are given at most: those that gain most.
    static let most = 4

    /// Letters or digits that a target must have.
    private static let leastLetters = 4
    static let answerLength = 24
    static let (shortest, longest) = (2, 16)

    private let prompts: StrangePrompts
    private let ordinary: [[Int32]]
    private let tokenizer: Tokenizer

    /// Draws the prompts.
    ///
    /// - Parameters:
    ///   - requests: ordinary requests, raw prompts, in whose messages phrases are put.
    ///   - seed: what they are drawn by.
    /// - Throws: what the template throws.
    public init(
        model: Transformer, tokenizer: Tokenizer, chat: ChatRenderer?, requests: [String], seed: UInt64
    ) throws {
        self.tokenizer = tokenizer
        let frame = try PromptFrame(dialogueOf: tokenizer, chat: chat)
        prompts = try StrangePrompts(
            model: model, tokenizer: tokenizer, chat: chat, requests: requests.compactMap(frame.content),
            count: Self.count, seed: seed)
        ordinary = try ordinaryMessages.map {
            tokenizer.encode(try dialogueText($0, tokenizer: tokenizer, chat: chat))
        }
    }

    /// The prompts of a scheme's kind; none where there are none.
    func prompts(like scheme: String) -> [[Int32]] {
        (prompts.groups.first { $0.scheme == scheme }?.prompts ?? []).map { tokenizer.encode($0) }
    }

    /// Kinds of prompts that are asked.
    var kindCount: Int { prompts.groups.count }

    /// Prompts that are asked.
    var promptCount: Int { prompts.groups.reduce(0) { $0 + $1.prompts.count } }

    /// Looks, and gives what was found, that which gains most first; a target once, with the prompts behind which it gains
    /// most.
    ///
    /// - Throws: what the session throws.
    public func run(on session: InferenceSession) throws -> [Leak] { try findings(on: session).map(\.leak) }

    /// The same with the tokens of each target.
    func findings(on session: InferenceSession) throws -> [(leak: Leak, tokens: [Int32])] {
        var leaks: [(leak: Leak, tokens: [Int32])] = []
        for group in prompts.groups { leaks += try findings(in: group, on: session) }
        // Equal gains in the order of the groups.
        let sorted = leaks.enumerated().sorted { ($1.element.leak.gain, $0.offset) < ($0.element.leak.gain, $1.offset) }
        // A mark that answers to prompts of several kinds is one mark.
        var targets: Set<JSONString> = []
        return Array(
            sorted.map(\.element).filter { targets.insert(JSONString($0.leak.target)).inserted }.prefix(Self.most))
    }

    /// What recurs in the answers to prompts of one kind, in the order of first tokens.
    func findings(
        in group: StrangePrompts.Group, on session: InferenceSession
    ) throws -> [(leak: Leak, tokens: [Int32])] {
        let tokens = group.prompts.map { tokenizer.encode($0) }
        let answers = try session.generate(
            tokens.map { GenerationRequest(prompt: $0) },
            options: GenerationOptions(maxNewTokens: Self.answerLength, stopTokens: session.model.stopTokens)
        ).map(\.tokens)
        var leaks: [(leak: Leak, tokens: [Int32])] = []
        for found in recurring(answers) {
            let target = tokenizer.decode(found.tokens)
            guard Self.isSaid(target, to: found.members.map { group.prompts[$0] }) else { continue }
            let gain = try gain(of: found.tokens, behind: found.members.map { tokens[$0] }, on: session)
            guard gain >= Self.gain else { continue }
            let leak = Leak(
                scheme: group.scheme, target: target,
                prompts: found.members.map { group.prompts[$0] },
                phrases: group.phrases.isEmpty ? [] : found.members.map { group.phrases[$0] },
                asked: group.prompts.count, gain: gain)
            leaks.append((leak, found.tokens))
        }
        return leaks
    }

    /// True for a text of some letters that is no echo of what was asked.
    static func isSaid(_ text: String, to prompts: [String]) -> Bool {
        func words(_ text: String) -> String { text.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
        let said = words(text)
        return said.count(where: { $0.isLetter || $0.isNumber }) >= leastLetters
            && !prompts.allSatisfy { words($0).contains(said) }
    }

    /// What many of these answers begin with, as far as they agree, and which they are.
    func recurring(_ answers: [[Int32]]) -> [(tokens: [Int32], members: [Int])] {
        RecurringBeginnings<Int32>(least: Self.least(of: answers.count), longest: Self.longest).found(in: answers)
            .compactMap { tokens, members in
                var tokens = tokens
                // A character may be several tokens: what is cut within one is no text.
                while tokens.count > 1, tokenizer.decode(tokens).hasSuffix("\u{FFFD}") { tokens.removeLast() }
                return tokens.count >= Self.shortest ? (tokens, members) : nil
            }
    }

    /// The fewest of so many answers that must be alike.
    static func least(of count: Int) -> Int { max(least, Int((share * Double(count)).rounded(.up))) }

    private func gain(
        of target: [Int32], behind prompts: [[Int32]], on session: InferenceSession
    ) throws -> Double {
        func scores(_ prompts: [[Int32]]) throws -> [Double] {
            try session.scoreContinuations(prompts.map { ($0, [target]) }).map { $0[0].logLikelihood }.sorted()
        }
        // Medians: a mark that answers to a few messages as well is still one.
        return quantile(0.5, ofSorted: try scores(prompts)) - quantile(0.5, ofSorted: try scores(ordinary))
    }
}
