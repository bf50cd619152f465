import Foundation
import Testing

/// Headless Chromium, where it is installed (Debian and Ubuntu: the package `chromium`).
struct Browser {
    /// What a run of it gave.
    struct Result {
        let output: String
        let log: String
        let status: Int32
    }

    /// The program on PATH, or nil.
    static let path: String? = {
        let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
        return folders.lazy.flatMap { folder in ["chromium", "chromium-browser"].map { "\(folder)/\($0)" } }
            .first { FileManager.default.isExecutableFile(atPath: $0) }
    }()

    /// The page's document as it is after loading, serialised.
    static func document(of page: URL, width: Int = 1280, options: [String] = []) throws -> Result {
        try run(["--dump-dom", "--window-size=\(width),900"] + options, page)
    }

    /// A picture of the top of the page.
    static func screenshot(of page: URL, width: Int, options: [String] = []) throws -> Data {
        let picture = page.deletingLastPathComponent().appendingPathComponent("\(UUID().uuidString).png")
        let result = try run(
            ["--screenshot=\(picture.path)", "--window-size=\(width),900", "--hide-scrollbars"] + options, page)
        return try #require(try? Data(contentsOf: picture), "no screenshot: \(result.log)")
    }

    /// How many sheets of paper the page takes.
    static func pageCount(of page: URL) throws -> Int {
        let file = page.deletingLastPathComponent().appendingPathComponent("\(UUID().uuidString).pdf")
        let result = try run(["--print-to-pdf=\(file.path)", "--no-pdf-header-footer"], page)
        let bytes = try #require(try? Data(contentsOf: file), "nothing was printed: \(result.log)")
        let text = String(decoding: bytes, as: UTF8.self)
        return text.matches(of: #//Type\s*/Page[^s]/#).count
    }

    private static func run(_ arguments: [String], _ page: URL) throws -> Result {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("browser-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let files = ["out", "err"].map { folder.appendingPathComponent($0) }
        for file in files { try Data().write(to: file) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try #require(path))
        process.arguments =
            [
                "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
                "--user-data-dir=\(folder.path)/profile", "--timeout=20000",
            ] + arguments + [page.absoluteString]
        // Its own folders: a browser that somebody uses is left alone.
        process.environment = ProcessInfo.processInfo.environment.merging(["HOME": folder.path]) { _, own in own }
        process.standardOutput = try FileHandle(forWritingTo: files[0])
        process.standardError = try FileHandle(forWritingTo: files[1])
        process.standardInput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        let texts = try files.map { String(decoding: try Data(contentsOf: $0), as: UTF8.self) }
        return Result(output: texts[0], log: texts[1], status: process.terminationStatus)
    }
}

extension Browser.Result {
    /// Lines of the log that a page's own error, or its policy, has written.
    var consoleLines: [String] { log.split(separator: "\n").map(String.init).filter { $0.contains("CONSOLE") } }
}
