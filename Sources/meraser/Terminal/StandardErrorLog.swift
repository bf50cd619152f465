import Base
import Logging
import Quant

/// A logger that writes `meraser: message` lines to standard error, control characters escaped.
func standardErrorLogger(level: Logger.Level) -> Logger {
    var logger = Logger(label: "meraser") { _ in StandardErrorLogHandler() }
    logger.logLevel = level
    return logger
}

/// Has everything that logs, libraries too, write as `standardErrorLogger` does. Called once.
func sendLogToStandardError(level: Logger.Level) {
    LoggingSystem.bootstrap { _ in StandardErrorLogHandler(logLevel: level) }
}

private struct StandardErrorLogHandler: LogHandler {
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let prefix = event.level >= .warning ? "meraser: \(event.level.rawValue): " : "meraser: "
        Console.error(prefix + event.message.description.escapingControlCharacters())
    }
}
