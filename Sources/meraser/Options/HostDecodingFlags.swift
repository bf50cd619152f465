import ArgumentParser
import Audit
import Base
import Pipeline

/// What a host may do while a model writes, to hide a mark that stays where it is.
struct HostDecodingFlags: ParsableArguments {
    @Option(help: "Leave out that many likeliest tokens at the beginning of an output.")
    var dropTop: Int?

    @Option(help: "Tokens of an output at which --drop-top leaves some out.")
    var dropTopFirst = 3

    @Option(help: "Write the next token in place of one that has more than this probability.")
    var dropOverconfident: Double?

    @Option(help: "Withhold an output once ten tokens in a row have more than this probability (ConfGuard: 0.99).")
    var confguard: Double?

    @Option(help: "Tokens in a row that --confguard takes for an alarm.")
    var confguardRun = 10

    @Option(help: "Answer only prompts that are no stranger to the model than this share of people's messages.")
    var promptFilter: Double?

    func validate() throws {
        try requireCount("--drop-top", dropTop, 1...1000)
        try requireCount("--drop-top-first", dropTopFirst, 1...65_536)
        try requireCount("--confguard-run", confguardRun, 1...65_536)
        for (flag, value) in [("--drop-overconfident", dropOverconfident), ("--confguard", confguard)] {
            if let value, !(value >= 0 && value < 1) {
                throw ValidationError("\(flag) is \(value), expected 0 to below 1")
            }
        }
        if let promptFilter, !(promptFilter > 0 && promptFilter <= 1) {
            throw ValidationError("--prompt-filter is \(promptFilter), expected more than 0, at most 1")
        }
        if given.count > 1 { throw ValidationError("\(given.joined(separator: " and ")) exclude each other") }
    }

    /// The flags that were given.
    var given: [String] {
        [
            dropTop.map { _ in "--drop-top" }, dropOverconfident.map { _ in "--drop-overconfident" },
            confguard.map { _ in "--confguard" }, promptFilter.map { _ in "--prompt-filter" },
        ].compactMap { $0 }
    }

    /// What stands around that model; nil: nothing was asked for.
    func generator(for model: OpenedModel) throws -> (any HostDecoding)? {
        if let promptFilter { return try model.promptFilter(share: promptFilter) }
        let rule: (any DecodingRule)? =
            dropTop.map { TopTokenDropping(count: $0, first: dropTopFirst) }
            ?? dropOverconfident.map { OverconfidenceDropping(threshold: $0) }
            ?? confguard.map { ConfGuard(threshold: $0, length: confguardRun) }
        return rule.map { RuledDecoding(model.session(), rule: $0) }
    }
}
