import ArgumentParser
import Base

/// What the words of a command line must keep to beside what the parser asks.
enum CommandWords {
    /// - Throws: a usage error for a command that does not exist, with the nearest one that does.
    static func requireKnownCommand(_ words: [String]) throws {
        _ = try command(of: words)
    }

    /// - Throws: a usage error for a flag that had another name in an earlier release.
    static func requireCurrentNames(_ words: [String]) throws {
        let flags = Set(words.prefix { $0 != "--" }.map { String($0.prefix { $0 != "=" }) })
        for (old, now) in SettingNames.renamed.map({ (SettingNames.flag($0), SettingNames.flag($1)) })
        where flags.contains(old) {
            let known = FlagNames.flags(of: try command(of: words))
            if known.contains(now), !known.contains(old) {
                throw MeraserError.usage("\(old) is called \(now) now")
            }
        }
    }

    /// The command that the words name, as far as they do.
    private static func command(of words: [String]) throws -> any ParsableCommand.Type {
        var command: any ParsableCommand.Type = Meraser.self
        for word in words {
            let known = command.configuration.subcommands
            if known.isEmpty || word.hasPrefix("-") || word == "help" { return command }
            guard let next = known.first(where: { $0._commandName == word }) else {
                let name = command == Meraser.self ? "" : command._commandName + " "
                let hint = closest(to: word, in: known.map { $0._commandName }, least: 2)
                    .map { "did you mean 'meraser \(name)\($0)'?" }
                throw MeraserError.usage(
                    "there is no command '\(name)\(word)'; \(hint ?? "see 'meraser \(name)--help' for all of them")"
                )
            }
            command = next
        }
        return command
    }

    /// - Throws: a usage error for an option that stands twice, where the parser would take the last one and say nothing.
    ///   Options that may be repeated, and switches, may.
    static func requireOnce(_ words: [String], of command: any ParsableCommand.Type) throws {
        let flags = words.prefix { $0 != "--" }.filter { $0.hasPrefix("-") }.map { String($0.prefix { $0 != "=" }) }
        // The parser's description of a command is long: it is asked for only where two words may be one option.
        let short = Set(flags.filter { $0.count == 2 }).subtracting(["-q", "-v"])
        guard Set(flags).count < flags.count || !short.isEmpty else { return }
        let single = try singleOptions(of: command)
        var seen: Set<String> = []
        for flag in flags {
            guard let option = single[flag] else { continue }
            guard seen.insert(option).inserted else {
                throw MeraserError.usage("\(option) is given twice; give it once")
            }
        }
    }

    /// The options of a command that take one value, by each of their names: the longest name of each.
    private static func singleOptions(of command: any ParsableCommand.Type) throws -> [String: String] {
        let help = try JSONValue.parse(Array(command._dumpHelp().utf8), file: "help")
        var result: [String: String] = [:]
        for argument in help["command"]?["arguments"]?.array ?? []
        where argument["kind"]?.string == "option" && argument["isRepeating"]?.bool == false {
            let names = (argument["names"]?.array ?? []).compactMap { name in
                name["name"]?.string.map { (name["kind"]?.string == "long" ? "--" : "-") + $0 }
            }
            for name in names { result[name] = names.max { $0.count < $1.count } }
        }
        return result
    }
}
