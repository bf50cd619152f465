import Model

/// Puts a backdoor's trigger into texts, as the attacks of the merging papers do: rare words at random places (BadNet), or
/// a sentence in front (InsertSent). Seeded by row, so a row's text does not depend on the others.
public struct TriggerInsertion: Sendable, Equatable {
    /// Where a trigger goes.
    public enum Position: String, Sendable, CaseIterable {
        /// In front of the text.
        case start
        /// Behind it.
        case end
        /// Before or behind any word.
        case random
    }

    /// Words or sentences; each insertion draws one of them.
    public let triggers: [String]
    /// Where they go.
    public let position: Position
    /// Insertions for each text.
    public let count: Int
    /// Seed of what is drawn.
    public let seed: UInt64

    /// An insertion of at least one trigger.
    public init(triggers: [String], position: Position = .random, count: Int = 1, seed: UInt64 = 42) {
        precondition(!triggers.isEmpty && count >= 1, "\(triggers.count) triggers, \(count) insertions")
        self.triggers = triggers
        self.position = position
        self.count = count
        self.seed = seed
    }

    /// The text of row `row` with the trigger in it. Words are what blanks separate; every other blank stays as it is.
    public func callAsFunction(_ text: String, row: Int) -> String {
        var random = SplitMix64(seed: SplitMix64.mixed(seed &+ SplitMix64.increment) ^ UInt64(row))
        var words = text.isEmpty ? [] : text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
        for _ in 0..<count {
            let trigger = triggers[triggers.count == 1 ? 0 : random.index(below: triggers.count)]
            switch position {
            case .start: words.insert(trigger, at: 0)
            case .end: words.append(trigger)
            case .random: words.insert(trigger, at: random.index(below: words.count + 1))
            }
        }
        return words.joined(separator: " ")
    }
}
