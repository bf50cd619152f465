/// How errors name settings. A library knows a setting's key and writes it between backquotes (`max_length` 5: expected …);
/// the command line, which alone knows that it is given as a flag, spells it so (--max-length 5: expected …).
public enum SettingNames {
    /// The flag of a key: `--max-length` of `max_length`.
    public static func flag(_ key: String) -> String { "--" + String(key.map { $0 == "_" ? "-" : $0 }) }

    /// The text with `spelling(key)` in the place of each key between backquotes; where that is nil the key stays as it is.
    public static func spell(_ text: String, _ spelling: (_ key: String) -> String?) -> String {
        let parts = text.split(separator: "`", omittingEmptySubsequences: false)
        // Parts with an odd index stand between two backquotes, but for a last one that nothing closes.
        return parts.indices.reduce(into: "") { result, index in
            let part = String(parts[index])
            guard index % 2 == 1 else { return result += part }
            guard index < parts.count - 1 else { return result += "`\(part)" }
            result += (isKey(part) ? spelling(part) : nil) ?? "`\(part)`"
        }
    }

    /// What settings are called now that had another name in an earlier release.
    public static let renamed = [
        "clean_model": "reference", "kl": "reference", "max_tokens": "max_new_tokens",
    ]

    private static func isKey(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.allSatisfy { (0x61...0x7A).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5F }
    }
}

extension MeraserError {
    /// The same error about what stands at a place of a file, where settings go by their keys.
    public func within(_ place: String, kind: Kind? = nil) -> MeraserError {
        MeraserError(kind ?? self.kind, "\(place): \(SettingNames.spell(message) { "'\($0)'" })")
    }
}
