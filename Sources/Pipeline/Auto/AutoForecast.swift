import Base

/// What a removal that chooses its own dose will take, at most.
public struct AutoForecast: Sendable, Equatable {
    /// Steps of the trials and of one round, canaries included.
    public let stepsOfRound: Int
    /// Steps of all rounds.
    public let steps: Int
    /// Seconds of a step on this machine as it is now, as measured.
    public let secondsPerStep: Double
    /// Bytes that training takes.
    public let memoryBytes: Int
    /// Bytes that it may take.
    public let limitBytes: Int

    /// Lines for a terminal.
    public var lines: [String] {
        func minutes(_ steps: Int) -> String { Figures.number(Double(steps) * secondsPerStep / 60, 1) + " min" }
        return [
            "memory                \(byteText(memoryBytes)) of \(byteText(limitBytes))",
            "time                  \(Figures.number(secondsPerStep, 2)) s a step: one round \(minutes(stepsOfRound)) at most "
                + "(\(stepsOfRound) steps), all \(minutes(steps)); looks and the test at the end come on top",
        ]
    }

    /// Its members by name.
    public var fields: [(key: String, value: JSONValue)] {
        [
            ("steps_of_round", .integer(stepsOfRound)), ("steps", .integer(steps)),
            ("predicted_seconds_per_step", .real(secondsPerStep)),
            ("predicted_seconds", .real(secondsPerStep * Double(steps))), ("memory_bytes", .integer(memoryBytes)),
            ("limit_bytes", .integer(limitBytes)),
        ]
    }
}
