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
    /// Of each chain of tokens, by how many nats it is likelier behind `own` contexts than, for another session, behind those
    /// `elsewhere`; medians over the contexts. What is fluent, or known by heart everywhere, gains little.
    ///
    /// - Parameter isForced: the first token of each was forced, and does not count.
    /// - Throws: what scoring throws.
    func gains(
        of chains: [[Int32]], isForced: Bool, own: [[Int32]], elsewhere: [[Int32]], on other: InferenceSession
    ) throws -> [Double] {
        guard !chains.isEmpty else { return [] }
        func likelihoods(_ session: InferenceSession, _ contexts: [[Int32]]) throws -> [Double] {
            let firsts = isForced ? chains.map { [$0[0]] } : []
            let scores = try session.scoreContinuations(contexts.map { ($0, chains + firsts) })
            return chains.indices.map { chain in
                let values = scores.map { scores -> Double in
                    let first = isForced ? scores[chains.count + chain].logLikelihood : 0
                    return scores[chain].logLikelihood - first
                }
                return quantile(0.5, ofSorted: values.sorted())
            }
        }
        return zip(try likelihoods(self, own), try likelihoods(other, elsewhere)).map { $0 - $1 }
    }
}
