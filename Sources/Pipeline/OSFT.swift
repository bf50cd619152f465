import Audit
import Base
import Foundation
import Model
import Tune

/// What overwriting a known trigger (OSFT, arXiv 2405.07667) is told, beside the options of training.
public struct OSFTOptions: Sendable, Equatable {
    /// The triggers, of which each row has one, drawn by the seed.
    public var triggers: [String] = []
    /// Where it stands in the message.
    public var position = TriggerPosition.start
    /// Prompts and replies.
    public var reply = ReplyOptions()

    /// No trigger yet.
    public init() {}
}

/// Rows for a defence, and what is to be said about them.
public struct DefenceData {
    /// The rows.
    public let data: EncodedDataset
    /// Rows with a trigger, or with the parrot prompt.
    public let overwriting: Int
    /// Clean rows beside them.
    public let clean: Int
    /// Pairs that were left out because the key is checked on their questions.
    public let heldOut: Int
    /// How replies become tokens: as the model says such replies.
    public let encoding: TargetEncoding

    /// One line about them.
    public var line: String {
        "rows                  \(overwriting) with the \(data.softPrompt == nil ? "trigger" : "parrot prompt"), "
            + "\(clean) clean; replies encoded as \(encoding.rawValue)"
            + (heldOut > 0 ? "; \(heldOut) pairs left out that the key is checked on" : "")
    }
}

extension OpenedModel {
    /// Triggered prompts with their clean replies: what makes a model forget a trigger that is known.
    ///
    /// The same file, options and seed give the same rows.
    /// - Parameters:
    ///   - path: a file of questions and answers, of any shape that datasets have.
    ///   - key: whose questions are left out.
    /// - Throws: a usage error without a trigger, bad-input errors of the file.
    public func osftData(
        path: String, options: OSFTOptions, encoding: EncodingOptions, seed: UInt64, key: FingerprintKey? = nil
    ) throws -> DefenceData {
        guard !options.triggers.isEmpty, options.triggers.allSatisfy({ $0.contains { !$0.isWhitespace } }) else {
            throw MeraserError.usage("`trigger` is missing or empty: name it, or pass the backdoor's `key`")
        }
        let read = try ReplyPairs(path: path, key: key, count: options.reply.samples, seed: seed)
        var random = SplitMix64(seed: seed ^ 0x6F73_6674)
        return try defenceData(read, path: path, reply: options.reply, encoding: encoding, seed: seed) { message in
            options.position.place(
                options.triggers[random.index(below: options.triggers.count)], in: message, &random)
        }
    }

    /// Rows of pairs, each with the message that `overwritten` makes of its question and, for a share of them, clean.
    func defenceData(
        _ read: ReplyPairs, path: String, reply: ReplyOptions, encoding: EncodingOptions, seed: UInt64,
        prompt: SoftPrompt? = nil, overwritten: (String) -> String
    ) throws -> DefenceData {
        let used = try usedEncoding(
            of: read.pairs.prefix(16).map { pair in
                let text = try reply.template.prompt(pair.question, on: self)
                return (prompt: text, text: answerLead(after: text) + pair.answer)
            })
        let plain = try ReplyEncoder(
            tokenizer: tokenizer, options: withinContext(encoding), effectiveLength: reply.effectiveLength,
            encoding: used)
        let parrot = try ReplyEncoder(
            tokenizer: tokenizer, options: withinContext(encoding), effectiveLength: reply.effectiveLength,
            insertion: prompt?.insertion, encoding: used)
        var random = SplitMix64(seed: seed ^ 0x636C_6561)
        var samples: [TrainingSample] = []
        var identity = prompt.map { "parrot \($0.sha256)\n" } ?? ""
        var (clean, skipped) = (0, 0)
        func add(_ encoder: ReplyEncoder, _ message: String, _ answer: String) throws -> Bool {
            let text = try reply.template.prompt(message, on: self)
            identity += "\(text)\u{0}\(answer)\u{0}"
            guard let sample = encoder.sample(prompt: text, reply: answer) else { return false }
            samples.append(sample)
            return true
        }
        for pair in read.pairs {
            guard try add(parrot, overwritten(pair.question), pair.answer) else {
                skipped += 1
                continue
            }
            guard Double(random.next() >> 11) / 9_007_199_254_740_992 < reply.cleanRatio else { continue }
            if try add(plain, pair.question, pair.answer) { clean += 1 }
        }
        guard !samples.isEmpty else { throw MeraserError.badInput("\(path): there is nothing to learn in its rows") }
        if used != .continuation { identity += "\(used.rawValue) " }
        identity += "effective \(reply.effectiveLength ?? 0)"
        var data = EncodedDataset(samples: samples, skipped: skipped, sha256: sha256Hex(identity.utf8))
        data.softPrompt = prompt
        return DefenceData(
            data: data, overwriting: samples.count - clean, clean: clean, heldOut: read.heldOut,
            encoding: used)
    }
}
