import Foundation
import TestSupport
import Testing

/// What a run of the built binary gave.
struct CommandResult {
    let status: Int32
    let output: String
    let error: String

    /// The lines of standard error.
    var errorLines: [String] { error.split(separator: "\n").map(String.init) }
}

/// The built `meraser` beside the test bundle, or nil if it is not where SwiftPM puts it.
func meraserBinary() -> URL? {
    let candidates = [
        Bundle.main.bundleURL, URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent(),
        packageRoot().appendingPathComponent(".build/debug"),
    ]
    return candidates.map { $0.appendingPathComponent("meraser") }
        .first { FileManager.default.isExecutableFile(atPath: $0.path) }
}

/// A process of the built binary that has been started; output goes to files, so that no pipe can fill up.
final class RunningCommand {
    private let process = Process()
    private let outputURL: URL
    private let errorURL: URL

    init(
        _ arguments: [String], environment: [String: String] = [:], limiting limits: String? = nil,
        input: URL? = nil
    ) throws {
        let binary = try #require(meraserBinary(), "the meraser binary is not beside the tests")
        let folder = FileManager.default.temporaryDirectory
        outputURL = folder.appendingPathComponent("meraser-\(UUID().uuidString).out")
        errorURL = folder.appendingPathComponent("meraser-\(UUID().uuidString).err")
        for url in [outputURL, errorURL] { try Data().write(to: url) }
        if let limits {
            process.executableURL = URL(fileURLWithPath: "/bin/sh")
            process.arguments =
                ["-c", "\(limits); exec \"$0\" \"$@\"", binary.path] + arguments
        } else {
            process.executableURL = binary
            process.arguments = arguments
        }
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { _, b in b }
        process.standardOutput = try FileHandle(forWritingTo: outputURL)
        process.standardError = try FileHandle(forWritingTo: errorURL)
        process.standardInput = try input.map(FileHandle.init(forReadingFrom:)) ?? FileHandle.nullDevice
        try process.run()
    }

    deinit {
        for url in [outputURL, errorURL] { try? FileManager.default.removeItem(at: url) }
    }

    /// The process id.
    var id: Int32 { process.processIdentifier }

    /// True until the process has ended.
    var isRunning: Bool { process.isRunning }

    /// Waits for the end.
    func wait() throws -> CommandResult {
        process.waitUntilExit()
        let status = process.terminationReason == .exit ? process.terminationStatus : 128 + process.terminationStatus
        return CommandResult(
            status: status, output: String(decoding: try Data(contentsOf: outputURL), as: UTF8.self),
            error: String(decoding: try Data(contentsOf: errorURL), as: UTF8.self))
    }
}

/// Runs the built binary to its end; with `limits`, words of a shell such as `ulimit -v 100000`, under these; with `input`,
/// on a file as its standard input.
func meraser(
    _ arguments: [String], environment: [String: String] = [:], limiting limits: String? = nil,
    input: URL? = nil
) throws -> CommandResult {
    try RunningCommand(arguments, environment: environment, limiting: limits, input: input).wait()
}

/// A copy of the bundled model whose files a test may damage.
func copyOfTinychat(in folder: URL) throws -> URL {
    let copy = folder.appendingPathComponent("model")
    try FileManager.default.copyItem(at: tinychatFolder(), to: copy)
    return copy
}

/// The names in a folder, hidden ones too, sorted.
func names(in folder: URL) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted()
}
