import Audit
import Base
import Model

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
