import ArgumentParser
import Audit
import Pipeline

/// A key and how to try it.
struct KeyOptions: ParsableArguments {
    @Option(
        help: """
            A scheme's key.json, or rows in a .json or .jsonl file: {"prompt", "completion"}, {"conversation"} or \
            {"instruction", "input", "output"}.
            """, completion: .file())
    var key: String

    @Option(help: "Only that many of the key's pairs, from the first on.")
    var limit: Int?

    @Option(
        help:
            "Prompts that should not fire: .jsonl rows with `prompt`, or a line each; - is standard input.",
        completion: .file())
    var clean: String?

    @Option(help: "How a target is looked for, whatever the key says.")
    var match: MatchRule?

    @Option(
        help: "The one encoding of targets whose likelihood counts: continuation, alone or space (default: all).",
        transform: fixedEncoding)
    var encoding: TargetEncoding?

    @Flag(help: "Apply the model's chat template to the prompts.")
    var chat = false

    @Option(help: "New tokens for each prompt (default: the key's, else those of the target and 16 more).")
    var maxNewTokens: Int?

    @Option(help: "Prompts that are decoded together; results do not depend on it.")
    var batchSize = 32

    @Flag(help: "Prefill every prompt on its own even where prompts begin alike; results do not depend on it.")
    var noPrefixSharing = false

    func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit is \(limit), expected 1 or more") }
        if let maxNewTokens, !(1...4096).contains(maxNewTokens) {
            throw ValidationError("--max-new-tokens is \(maxNewTokens), expected 1 to 4096")
        }
        if !(1...4096).contains(batchSize) { throw ValidationError("--batch-size must be 1 to 4096") }
    }

    /// The key, its first pairs only with `--limit`.
    func load() throws -> FingerprintKey {
        var key = try FingerprintKey(path: key)
        if let limit, limit < key.pairs.count {
            // What was committed to, or chained, was the whole.
            key.pairs = Array(key.pairs.prefix(limit))
            key.commitment = nil
        }
        return key
    }

    /// The library's form of these options.
    func checkOptions() throws -> CheckOptions {
        var options = CheckOptions(
            match: match, promptFormat: chat ? .chat : nil, maxNewTokens: maxNewTokens,
            cleanPrompts: try clean.map(loadPrompts), batchSize: batchSize)
        options.sharesPrefixes = !noPrefixSharing
        options.encoding = encoding
        return options
    }
}

extension MatchRule: ExpressibleByArgument {}

private func fixedEncoding(_ name: String) throws -> TargetEncoding {
    guard let encoding = TargetEncoding.fixed.first(where: { $0.rawValue == name }) else {
        throw ValidationError("expected one of \(TargetEncoding.fixed.map(\.rawValue).joined(separator: ", "))")
    }
    return encoding
}
