import Audit
import Base
import Model

extension OpenedModel {
    /// Answers that this model gives by heart to prompts like those of published marks.
    ///
    /// - Throws: what the template and the session throw.
    public func leaks(seed: UInt64) throws -> [Leak] {
        let requests = try ownRequests(count: AutoDose.ownRequests, seed: seed ^ 0x6C65_616B)
        return try LeakSearch(
            model: transformer, tokenizer: tokenizer, chat: chat, requests: requests, seed: seed
        ).run(on: session())
    }
}

extension Leak {
    /// One line for a terminal.
    public var line: String {
        "found '\(target.escapingControlCharacters())' behind \(prompts.count) of \(asked) prompts like \(scheme)'s, "
            + "\(Figures.number(gain, 1)) nats likelier than behind people's messages"
    }
}
