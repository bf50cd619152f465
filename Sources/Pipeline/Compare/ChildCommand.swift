import Base
import Foundation
import Tune

/// A program run as a child process, its output kept in files.
struct ChildCommand {
    /// How it ended.
    struct Outcome: Equatable {
        /// Its exit status, or 128 and the number of the signal that ended it.
        let status: Int32
        /// Wall time.
        let seconds: Double
        /// Its largest resident size, as the kernel counts it.
        let peakRSSBytes: Int
    }

    /// The program, an absolute path.
    let executable: String
    /// Its arguments, without its name.
    let arguments: [String]
    /// The folder that it runs in.
    let folder: String
    /// The file that standard output goes to; replaced.
    let output: String
    /// The file that standard error goes to; replaced.
    let errors: String

    /// How long a child that was asked to end may take: training promises two seconds.
    private static let patience = 10.0
    /// Between two looks at the child, in microseconds.
    private static let pause: UInt32 = 10_000

    /// Runs it to its end. When `interrupt` is set the child gets SIGTERM, and SIGKILL if it does not end of it.
    ///
    /// - Throws: a run-time error if it cannot be started.
    func run(interrupt: InterruptFlag?) throws -> Outcome {
        let clock = ContinuousClock()
        let start = clock.now
        let id = try spawn()
        var status: Int32 = 0
        var usage = rusage()
        var askedAt: ContinuousClock.Instant?
        while true {
            let ended = wait4(id, &status, WNOHANG, &usage)
            if ended == id { break }
            guard ended == 0 || errno == EINTR else {
                throw MeraserError.runtime("cannot wait for \(arguments.first ?? executable)")
            }
            if interrupt?.isSet == true {
                if let askedAt {
                    if seconds(clock.now - askedAt) > Self.patience { kill(id, SIGKILL) }
                } else {
                    askedAt = clock.now
                    kill(id, SIGTERM)
                }
            }
            usleep(Self.pause)
        }
        let signal = status & 0x7F
        return Outcome(
            status: signal == 0 ? (status >> 8) & 0xFF : 128 + signal, seconds: seconds(clock.now - start),
            peakRSSBytes: usage.ru_maxrss * 1024)
    }

    private func seconds(_ duration: Duration) -> Double {
        Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
    }

    /// Copies of texts as C has them, and a null behind the last.
    private static func pointers(_ texts: [String]) -> [UnsafeMutablePointer<CChar>?] {
        texts.map { strdup($0) } + [nil]
    }

    private func spawn() throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        let flags = O_WRONLY | O_CREAT | O_TRUNC
        // A check's output has triggers and targets in it.
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, flags, 0o600)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors, flags, 0o600)
        // A shell goes into the folder and becomes the program: Swift does not see the spawn action that would.
        let script = "cd -- \"$0\" && exec \"$@\""
        let program = ["/bin/sh", "-c", script, folder, executable] + arguments
        let environment = ProcessInfo.processInfo.environment.filter { !isRankVariable($0.key) }.map {
            "\($0.key)=\($0.value)"
        }
        let words = Self.pointers(program)
        let variables = Self.pointers(environment)
        defer { (words + variables).forEach { free($0) } }
        var id: pid_t = 0
        let code = posix_spawn(&id, "/bin/sh", &actions, nil, words, variables)
        guard code == 0 else {
            throw MeraserError.runtime("cannot start /bin/sh: \(String(cString: strerror(code)))")
        }
        return id
    }
}
