/// The one error type of meraser: a sentence for the person who meets it, and the exit code that it ends in.
///
/// A message says what was wrong, where (file, tensor, line), what was expected and, where it helps, what to do.
/// It is one line: control characters from files are escaped when it is printed. It is short, whatever it quotes: `quoted`
/// cuts single values, and the middle of a message that is too long all the same is left out.
public struct MeraserError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The class of an error, with the process exit codes of the command line.
    public enum Kind: Int32, Sendable {
        /// Something failed while running (disk full, non-finite loss, …).
        case runtime = 1
        /// Wrong arguments or a wrong combination of them.
        case usage = 2
        /// An input file is missing, malformed or does not fit.
        case badInput = 3
        /// A condition of `--fail-if` held.
        case checkFailed = 4
        /// The run would not fit into memory.
        case outOfMemory = 5
        /// SIGINT, SIGTERM or SIGHUP.
        case interrupted = 130
    }

    /// The class, and so the exit code.
    public let kind: Kind
    /// What happened, as one line.
    public let message: String

    /// The most scalars of a message: room for a list of all options, or a path and two quoted values.
    private static let maximumLength = 2000

    /// An error of that kind.
    public init(_ kind: Kind, _ message: String) {
        self.kind = kind
        self.message = message.shortened(to: Self.maximumLength)
    }

    /// A bad input file: exit code 3.
    public static func badInput(_ message: String) -> MeraserError { MeraserError(.badInput, message) }
    /// A failure at run time: exit code 1.
    public static func runtime(_ message: String) -> MeraserError { MeraserError(.runtime, message) }
    /// Wrong arguments: exit code 2.
    public static func usage(_ message: String) -> MeraserError { MeraserError(.usage, message) }

    /// The message with control characters escaped, so that a hostile file name or tensor name cannot steer a terminal.
    public var description: String { Self.line(message) }

    /// Any text as a line of an error: control characters escaped, not longer than a message.
    public static func line(_ text: String) -> String {
        text.shortened(to: maximumLength).escapingControlCharacters().shortened(to: maximumLength)
    }
}

extension String {
    /// This text with control characters (C0, DEL, C1, bidirectional overrides) shown as `\u{…}`; tabs and newlines too
    /// unless `keepingNewlines`.
    public func escapingControlCharacters(keepingNewlines: Bool = false) -> String {
        var result = ""
        for scalar in unicodeScalars {
            let isNewline = scalar == "\n" || scalar == "\t"
            let isControl =
                scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
                || (0x202A...0x202E).contains(scalar.value) || (0x2066...0x2069).contains(scalar.value)
            if isControl && !(keepingNewlines && isNewline) {
                result += "\\u{\(String(scalar.value, radix: 16))}"
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
