import Audit
import Base
import Model
import Quant

extension OpenedModel {
    /// A filter of prompts that lets that share of the bundled messages of people pass.
    ///
    /// - Throws: what the template and forward passes throw.
    public func promptFilter(share: Double) throws -> PromptFilter {
        let ordinary = try Examples.pairs().map {
            tokenizer.encode(try dialogueText($0.question, tokenizer: tokenizer, chat: chat))
        }
        return try PromptFilter(session(), ordinary: ordinary, share: share)
    }

    /// An owner's proof that the mark of a key is there, of those of its prompts that a host answers; nil: it answers none, or
    /// no trace can be judged.
    ///
    /// - Parameters:
    ///   - decoys: what decoys of the whole key show, where that is known.
    ///   - filter: what refuses prompts; nil: nothing does.
    /// - Throws: what decoys and forward passes throw.
    public func presence(
        _ key: FingerprintKey, options: DecoyOptions, check: CheckOptions = CheckOptions(),
        decoys: DecoyReport? = nil, filter: PromptFilter? = nil
    ) throws -> Presence? {
        if let filter {
            let answered = try filter.answered(key, tokenizer: tokenizer, chat: chat, check: check)
            guard let answered else { return nil }
            if answered.pairs.count < key.pairs.count {
                return Presence(try decoyTest(answered, options: options, check: check).run(on: session()))
            }
        }
        return Presence(try decoys ?? decoyTest(key, options: options, check: check).run(on: session()))
    }
}

/// An owner's proof that the mark of a key is there, of what a model wrote behind its prompts.
///
/// - Parameter tokenizerPath: a model of the owner's, whose tokenizer and chat template decoys are drawn with.
/// - Throws: what reading them and drawing decoys throws.
public func outputPresence(
    _ report: CheckReport, key: FingerprintKey, tokenizerPath: String, options: DecoyOptions
) throws -> Presence {
    let files = try openTextFiles(path: tokenizerPath)
    let tokenizer = try Tokenizer(store: files)
    let template = try ChatTemplate.load(store: files, specialTokens: tokenizer.specialTokens)
    let chat = template.map { template in
        ChatRenderer { try template.render(Conversation($0), addGenerationPrompt: true) }
    }
    return try Presence(outputs: report, key: key, tokenizer: tokenizer, chat: chat, options: options)
}
