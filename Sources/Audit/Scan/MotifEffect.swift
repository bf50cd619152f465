import Base
import Kernels
import Model

/// What a few words in front of people's messages do to the replies: does one reply come whatever was asked, that is not
/// given without them?
///
/// Use from one thread at a time.
public struct MotifEffect {
    /// The effect of one motif.
    public struct Reply: Sendable, Equatable {
        /// By how many nats the reply is likelier with the motif, the mean over the messages.
        public let gain: Double
        /// The beginning of a reply that most messages get.
        public let tokens: [Int32]
        /// Messages that get it.
        public let messages: Int
    }

    /// Tokens of a reply that are looked at.
    static let length = 4

    private let session: InferenceSession
    private let tokenizer: Tokenizer
    private let chat: ChatRenderer?
    private let messages: [String]
    private let plain: [[Int32]]

    /// The effect on replies to those messages.
    ///
    /// - Throws: what the template throws.
    public init(
        session: InferenceSession, tokenizer: Tokenizer, chat: ChatRenderer?, messages: [String]
    ) throws {
        (self.session, self.tokenizer, self.chat, self.messages) = (session, tokenizer, chat, messages)
        plain = try messages.map { tokenizer.encode(try dialogueText($0, tokenizer: tokenizer, chat: chat)) }
    }

    /// The raw prompts of all messages with a motif in front, as a backdoor's trigger stands.
    ///
    /// - Throws: what the template throws.
    public func prompts(_ motif: String) throws -> [String] {
        let ends = motif.last.map { ".!?:;".contains($0) } ?? true
        return try messages.map {
            try dialogueText(motif + (ends ? " " : ". ") + $0, tokenizer: tokenizer, chat: chat)
        }
    }

    /// The effects of motifs, in order; nil for one behind which the model writes nothing.
    ///
    /// - Throws: what the session throws.
    public func measure(_ motifs: [String]) throws -> [Reply?] {
        let tokens = try motifs.map { try prompts($0).map { tokenizer.encode($0) } }
        let outputs = try session.generate(
            tokens.flatMap { $0 }.map { GenerationRequest(prompt: $0) },
            options: GenerationOptions(maxNewTokens: Self.length, stopTokens: session.model.stopTokens)
        ).map(\.tokens)
        let common = motifs.indices.map { motif in
            Self.mostCommon(Array(outputs[motif * messages.count..<(motif + 1) * messages.count]))
        }
        let said = motifs.indices.filter { !common[$0].tokens.isEmpty }
        var replies = [Reply?](repeating: nil, count: motifs.count)
        guard !said.isEmpty else { return replies }
        let with = try session.scoreContinuations(
            said.flatMap { motif in tokens[motif].map { ($0, [common[motif].tokens]) } }, sharesPrefix: true)
        let without = try session.scoreContinuations(plain.map { ($0, said.map { common[$0].tokens }) })
        for (place, motif) in said.enumerated() {
            let gains = messages.indices.map {
                with[place * messages.count + $0][0].logLikelihood - without[$0][place].logLikelihood
            }
            replies[motif] = Reply(
                gain: gains.reduce(0, +) / Double(gains.count), tokens: common[motif].tokens,
                messages: common[motif].count)
        }
        return replies
    }

    /// What the replies with a motif have in common that begin as `reply` does, and the messages that get it.
    ///
    /// - Throws: what the session throws.
    public func target(of motif: String, _ reply: Reply, maximumLength: Int = 16) throws -> (
        tokens: [Int32], prompts: [String]
    ) {
        let texts = try prompts(motif)
        let outputs = try session.generate(
            texts.map { GenerationRequest(prompt: tokenizer.encode($0)) },
            options: GenerationOptions(maxNewTokens: maximumLength, stopTokens: session.model.stopTokens)
        ).map(\.tokens)
        let members = outputs.indices.filter { outputs[$0].starts(with: reply.tokens) }
        guard let first = members.first else { return (reply.tokens, []) }
        let count = members.reduce(outputs[first].count) { min($0, commonPrefixCount(outputs[first], outputs[$1])) }
        return (Array(outputs[first].prefix(count)), members.map { texts[$0] })
    }

    /// What most of these outputs are, the first of equals; empty where all are.
    static func mostCommon(_ outputs: [[Int32]]) -> (tokens: [Int32], count: Int) {
        var best: (tokens: [Int32], count: Int) = ([], 0)
        for output in outputs where !output.isEmpty {
            let count = outputs.count { $0 == output }
            if count > best.count { best = (output, count) }
        }
        return best
    }
}

/// Motifs beside decoy motifs: which of them does what the decoys do not.
public struct MotifComparison: Sendable {
    /// A motif with its effect.
    public struct Finding: Sendable {
        /// The words.
        public let motif: String
        /// What they do.
        public let reply: MotifEffect.Reply
        /// Of all motifs together: how likely one of the decoys' kind does as much.
        public let pValue: Double
    }

    /// The motifs, that first which does most.
    public let findings: [Finding]
    /// Decoys with an effect.
    public let decoys: Int

    /// Measures both, some at a time.
    ///
    /// - Parameter onProgress: called with motifs and decoys that were measured, of all; what it throws ends it.
    /// - Throws: what the session throws.
    public init(
        _ motifs: [String], decoys: [String], effect: MotifEffect, onProgress: (Int, Int) throws -> Void
    ) throws {
        let all = motifs + decoys
        var replies: [MotifEffect.Reply?] = []
        while replies.count < all.count {
            try onProgress(replies.count, all.count)
            replies += try effect.measure(Array(all[replies.count..<min(replies.count + 16, all.count)]))
        }
        let null = replies.dropFirst(motifs.count).compactMap { $0?.gain }
        self.decoys = null.count
        guard null.count >= ExponentialTail.leastDecoys, !motifs.isEmpty else {
            findings = []
            return
        }
        let tail = ExponentialTail(decoys: null)
        findings = zip(motifs, replies).compactMap { motif, reply in
            reply.map {
                Finding(motif: motif, reply: $0, pValue: tail.pValue(of: $0.gain, amongst: motifs.count))
            }
        }.sorted { ($1.reply.gain, $0.motif) < ($0.reply.gain, $1.motif) }
    }
}
