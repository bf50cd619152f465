import Base
import Foundation

/// Standard output for results, standard error for everything else.
///
/// A result that could not be written is no success: the process ends at once, with status 1 and one line. Where the reader
/// of a pipe has gone away (`| head`), it ends of SIGPIPE, silently as any other program, unless its parent ignores that.
/// Messages that cannot be written are dropped.
enum Console {
    /// A line, or several, on standard output.
    static func output(_ text: String) { outputRaw(text.hasSuffix("\n") ? text : text + "\n") }

    /// Text on standard output as it is.
    static func outputRaw(_ text: String) {
        guard let code = write(text, to: STDOUT_FILENO) else { return }
        failOutput(code)
    }

    /// A line on standard error.
    static func error(_ text: String) { errorRaw(text + "\n") }

    /// Text on standard error as it is.
    static func errorRaw(_ text: String) { _ = write(text, to: STDERR_FILENO) }

    /// One JSON object on standard output, in one line, with the build that made it.
    static func json(_ value: JSONValue) { output(record(value).serialized()) }

    /// An object with the build that made it.
    static func record(_ value: JSONValue) -> JSONValue {
        guard let object = value.object, object["meraser_version"] == nil else { return value }
        return .object(
            JSONObject(object.members.map { (key: $0.key.string, value: $0.value) } + Build.current.fields))
    }

    /// Closes standard output: some file systems only say then that it was not written.
    static func finish() {
        guard close(STDOUT_FILENO) != 0, errno != EBADF, errno != EINTR else { return }
        failOutput(errno)
    }

    /// True if standard error is a terminal.
    static var errorIsTerminal: Bool { isatty(STDERR_FILENO) == 1 }

    /// Columns of the terminal that standard error is, 80 if it does not say.
    static var errorWidth: Int {
        var size = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 1 else { return 80 }
        return Int(size.ws_col)
    }

    /// Asks on the terminal; nil: there is none to ask on.
    static func confirms(_ question: String) -> Bool? {
        guard errorIsTerminal, isatty(STDIN_FILENO) == 1 else { return nil }
        errorRaw("\(question) [y/N] ")
        return ["y", "yes"].contains(readLine()?.lowercased())
    }

    private static func failOutput(_ code: Int32) -> Never {
        if code == EPIPE, !Signals.pipeWasIgnored {
            signal(SIGPIPE, SIG_DFL)
            raise(SIGPIPE)
        }
        error("meraser: error: cannot write standard output: \(String(cString: strerror(code)))")
        exit(MeraserError.Kind.runtime.rawValue)
    }

    /// Writes everything; gives the error that hindered it.
    private static func write(_ text: String, to descriptor: Int32) -> Int32? {
        var text = text
        return text.withUTF8 { bytes in
            var done = 0
            while done < bytes.count {
                let n = Foundation.write(descriptor, bytes.baseAddress.map { $0 + done }, bytes.count - done)
                if n < 0 && errno == EINTR { continue }
                if n < 0 && errno == EAGAIN {
                    var ready = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
                    poll(&ready, 1, -1)
                    continue
                }
                guard n > 0 else { return n < 0 ? errno : ENOSPC }
                done += n
            }
            return nil
        }
    }
}
