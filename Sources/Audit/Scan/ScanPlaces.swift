import Base
import Foundation
import Model

/// Where a scan looks for what a model says: people's messages, up to where the answer begins, and places that are none.
public struct ScanPlaces: Sendable {
    /// The messages.
    public let messages: [String]
    /// Each as a raw prompt up to where the answer begins.
    public let prompts: [String]
    /// The prompts' tokens.
    public let answers: [[Int32]]
    /// The first half of each message in the user's turn: nobody answers there.
    public let elsewhere: [[Int32]]
    /// What is in front of a message in a prompt.
    public let front: String
    /// What ends a message in a prompt, without white space around it.
    public let end: String

    /// Places of those messages, at least one: a precondition.
    ///
    /// - Throws: what the template throws; bad input for a message that becomes no tokens.
    public init(messages: [String], tokenizer: Tokenizer, chat: ChatRenderer?) throws {
        precondition(!messages.isEmpty, "no messages")
        self.messages = messages
        let frame = try PromptFrame(dialogueOf: tokenizer, chat: chat)
        front = frame.front
        end = frame.back.trimmingCharacters(in: .whitespacesAndNewlines)
        prompts = try messages.map { try dialogueText($0, tokenizer: tokenizer, chat: chat) }
        answers = prompts.map { tokenizer.encode($0) }
        elsewhere = messages.map { message in
            let words = message.split(separator: " ")
            return tokenizer.encode(frame.front + words.prefix(max(1, words.count / 2)).joined(separator: " "))
        }
        guard (answers + elsewhere).allSatisfy({ !$0.isEmpty }) else {
            throw MeraserError.badInput("a message of the scan has no tokens")
        }
    }

    /// Messages of people that come with the program.
    public static var ordinary: [String] { ordinaryMessages }
}

extension InferenceSession {
    /// Of each chain of tokens, by how many nats what follows its first one is likelier behind `own` contexts than, for
    /// another session, behind those `elsewhere`; medians over the contexts.
    ///
    /// It says how much a text is said by heart here: what is fluent, or known by heart everywhere, gains little.
    /// - Throws: what scoring throws.
    func gains(
        of chains: [[Int32]], own: [[Int32]], elsewhere: [[Int32]], on other: InferenceSession
    ) throws -> [Double] {
        guard !chains.isEmpty else { return [] }
        func inner(_ session: InferenceSession, _ contexts: [[Int32]]) throws -> [Double] {
            let scores = try session.scoreContinuations(
                contexts.map { ($0, chains.flatMap { [[$0[0]], $0] }) })
            return chains.indices.map { chain in
                let values = scores.map { $0[2 * chain + 1].logLikelihood - $0[2 * chain].logLikelihood }
                return quantile(0.5, ofSorted: values.sorted())
            }
        }
        return zip(try inner(self, own), try inner(other, elsewhere)).map { $0 - $1 }
    }
}
