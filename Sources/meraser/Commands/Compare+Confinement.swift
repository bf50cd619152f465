import ArgumentParser
import Base
import Pipeline

extension Compare {
    /// Refuses command lines that write outside of the comparison's folder, or speak to a server, unless the user agrees.
    ///
    /// - Throws: a usage error that shows the first of them.
    func requireConfined(_ comparison: Comparison, to folder: String) throws {
        guard !allowCommands else { return }
        let foreign = try comparison.commandLines(only: only).filter { !isConfined($0, to: canonicalPath(folder)) }
        guard let first = foreign.first else { return }
        let line = shellText(["meraser"] + first).escapingControlCharacters()
        let count = foreign.count == 1 ? "a command line" : "\(foreign.count) command lines, the first of them"
        let what = "\(file) has \(count) that writes outside of \(folder) or opens a connection: \(line)"
        if Console.confirms("meraser: \(what.escapingControlCharacters())\nRun it?") == true { return }
        throw MeraserError.usage("\(what); pass --allow-commands if that is meant")
    }

    /// True if a command line opens no connection and everything that it makes lies in the folder, where it is run, and not
    /// behind a link in `inputs/`.
    private func isConfined(_ arguments: [String], to folder: String) -> Bool {
        // What cannot be parsed makes nothing.
        guard let command = try? Meraser.parseAsRoot(arguments) else { return true }
        if (command as? Compare)?.allowCommands == true { return false }
        if (command as? any ConnectingCommand)?.isConnecting == true { return false }
        return ((command as? any WritingCommand)?.outputs ?? []).allSatisfy { output in
            let place = canonicalPath(output.path.hasPrefix("/") ? output.path : folder + "/" + output.path)
            return isWithin(place, folder) && place != folder && !isWithin(place, folder + "/inputs")
        }
    }
}
