import Base

/// Takes triggers, targets and what a mark was made of out of a comparison's report. The records in its folder, which only
/// their owner can read, keep them: they tell whether a step must be done again.
enum ReportRedaction {
    /// Flags whose values belong to a key.
    private static let flags: Set<String> = ["--marker", "--response", "--target", "--trigger"]
    /// Members of results whose values do: the tokens that a mark was made of, the responses that SANDE suspects.
    private static let members: Set<String> = ["candidates", "search"]

    /// A command line without the values of such flags.
    static func redacted(commandLine: String) -> String {
        guard let words = shellWords(commandLine) else { return commandLine }
        var isValue = false
        return shellText(
            words.map { word in
                defer { isValue = flags.contains(word) }
                if isValue { return "REDACTED" }
                let parts = word.split(separator: "=", maxSplits: 1)
                return parts.count == 2 && flags.contains(String(parts[0])) ? "\(parts[0])=REDACTED" : word
            })
    }

    /// A record or a report whose command lines and results are redacted.
    static func redacted(_ value: JSONValue) -> JSONValue {
        switch value {
        case .string(let text):
            return text.string.hasPrefix("meraser ") ? .text(redacted(commandLine: text.string)) : value
        case .array(let values): return .array(values.map(redacted))
        case .object(let object):
            return .object(
                JSONObject(
                    object.members.map {
                        (key: $0.key.string, value: members.contains($0.key.string) ? .null : redacted($0.value))
                    }))
        default: return value
        }
    }
}
