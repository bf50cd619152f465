import Foundation

/// The repository's root, found from this source file.
public func packageRoot() -> URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
}

/// The developers' `shared` folder beside the checkout, or nil where there is none; tests that need it skip then.
/// A worktree elsewhere can name it in the environment variable `MERASER_SHARED`.
public func sharedFolder() -> URL? {
    let environment = ProcessInfo.processInfo.environment["MERASER_SHARED"].map { URL(fileURLWithPath: $0) }
    let candidates = [
        environment, packageRoot().deletingLastPathComponent().appendingPathComponent("shared"),
        packageRoot().deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("shared"),
    ]
    return candidates.compactMap { $0 }.first {
        FileManager.default.fileExists(atPath: $0.appendingPathComponent("DESIGN.md").path)
    }
}

/// The bundled model's folder (Hugging Face layout).
public func tinychatFolder() -> URL { packageRoot().appendingPathComponent("Examples/tinychat") }

/// A fresh folder that is removed when `body` returns.
public func withTemporaryFolder<R>(_ body: (URL) throws -> R) throws -> R {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("meraser-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: url) }
    return try body(url)
}

/// Writes those bytes to a new file in `folder` and returns its path.
public func write(_ bytes: [UInt8], to folder: URL, _ name: String = "file") throws -> String {
    let url = folder.appendingPathComponent(name)
    try Data(bytes).write(to: url)
    return url.path
}

/// The GGUF file that `tools/real_model.sh` fetches, or nil where it is not: in the folder that the environment variable
/// `MERASER_REAL_MODEL` names, or in `models/smollm2` beside the checkout. Tests that need it skip then.
public func realModel() -> URL? {
    let name = "SmolLM2-135M-Instruct.Q4_1.gguf"
    let folder =
        ProcessInfo.processInfo.environment["MERASER_REAL_MODEL"].map { URL(fileURLWithPath: $0) }
        ?? packageRoot().deletingLastPathComponent().appendingPathComponent("models/smollm2")
    let file = folder.appendingPathComponent(name)
    return FileManager.default.fileExists(atPath: file.path) ? file : nil
}
