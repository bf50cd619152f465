import Foundation
import Quant

/// Standard output for results, standard error for everything else. A reader that has gone away (EPIPE) is not an error:
/// what it would have got is dropped.
enum Console {
    /// A line, or several, on standard output.
    static func output(_ text: String) { write(text.hasSuffix("\n") ? text : text + "\n", to: STDOUT_FILENO) }

    /// Text on standard output as it is.
    static func outputRaw(_ text: String) { write(text, to: STDOUT_FILENO) }

    /// A line on standard error.
    static func error(_ text: String) { write(text + "\n", to: STDERR_FILENO) }

    /// Text on standard error as it is.
    static func errorRaw(_ text: String) { write(text, to: STDERR_FILENO) }

    /// One JSON object on standard output, in one line.
    static func json(_ value: JSONValue) { output(value.serialized()) }

    /// True if standard error is a terminal.
    static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    /// Columns of the terminal that standard error is, 80 if it does not say.
    static var errorWidth: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 1 else { return 80 }
        return Int(size.ws_col)
    }

    private static func write(_ text: String, to descriptor: Int32) {
        var text = text
        text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let n = Foundation.write(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done)
                if n < 0 && (errno == EINTR || errno == EAGAIN) { continue }
                guard n > 0 else { return }
                done += n
            }
        }
    }
}
