import Base
import Foundation

/// What the user should know of where a model comes from, such as the cache that a GGUF file is read from. Thread-safe.
public enum Notice {
    /// Gets each line; bound by whoever runs a command. Standard error by default, control characters escaped.
    @TaskLocal public static var write: @Sendable (String) -> Void = { line in
        FileHandle.standardError.write(Data((line.escapingControlCharacters() + "\n").utf8))
    }
}
