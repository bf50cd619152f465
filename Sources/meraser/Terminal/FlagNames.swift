import ArgumentParser
import Base

/// Where the keys that libraries name in errors become flags.
enum FlagNames {
    /// Keys that a command may know by a flag of another name.
    private static let others = ["prompt_format": "--chat"]

    /// The text with every key as its flag.
    static func spell(_ text: String) -> String { SettingNames.spell(text, SettingNames.flag) }

    /// The text with each key that is a setting of that command as its flag; what a command reads from a recipe keeps its key.
    static func spell(_ text: String, for command: any ParsableCommand.Type) -> String {
        let known = flags(of: command)
        return SettingNames.spell(text) { key in
            [SettingNames.flag(key), others[key]].compactMap { $0 }.first(where: known.contains)
        }
    }

    /// The flags that a command's help lists.
    static func flags(of command: any ParsableCommand.Type) -> Set<String> {
        let lines = command.helpMessage(includeHidden: true, columns: 1000).split(separator: "\n")
        let labels = lines.filter { $0.drop { $0 == " " }.hasPrefix("-") }
        return Set(labels.flatMap { $0.matches(of: /--[a-z0-9][a-z0-9-]*/).map { String($0.output) } })
    }
}
