import ArgumentParser
import Base
import Foundation

/// How an error ends the process: one line on standard error and the exit status of its class.
enum Failure {
    /// Reports an error of a command's run and exits.
    static func exit(_ error: MeraserError, of command: any ParsableCommand.Type) -> Never {
        exit(FlagNames.spell(error.description, for: command), error.kind)
    }

    /// Reports any other error and exits; requests for help or the version are no failures and exit 0.
    static func exit(_ error: any Error) -> Never {
        if let error = error as? MeraserError { exit(FlagNames.spell(error.description), error.kind) }
        let code = Meraser.exitCode(for: error)
        switch code {
        case .success:
            Console.output(Meraser.fullMessage(for: error))
            Foundation.exit(0)
        case .validationFailure:
            exit(MeraserError.line(oneLine(Meraser.message(for: error))) + MeraserError.line(seeHelp(error)), .usage)
        default:
            if let code = error as? ExitCode { Foundation.exit(code.rawValue) }
            exit(MeraserError.line("\(error)"), .runtime)
        }
    }

    private static func exit(_ message: String, _ kind: MeraserError.Kind) -> Never {
        Console.error("meraser: error: \(message)")
        Foundation.exit(kind.rawValue)
    }

    /// The parser's list of valid values, an entry a line, behind each other.
    private static func oneLine(_ text: String) -> String {
        text.replacingOccurrences(of: ":\n  - ", with: ": ").replacingOccurrences(of: "\n  - ", with: ", ")
    }

    /// The parser's pointer to the help of the command that was meant, as a parenthesis.
    private static func seeHelp(_ error: any Error) -> String {
        let lines = Meraser.fullMessage(for: error).split(separator: "\n")
        guard let line = lines.last(where: { $0.contains("--help") }) else { return "" }
        let text = line.trimmingCharacters(in: .whitespaces).replacingOccurrences(of: "See '", with: "see '")
        return " (\(text.replacingOccurrences(of: " for more information.", with: "")))"
    }
}
