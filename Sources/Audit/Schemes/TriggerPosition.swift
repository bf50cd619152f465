import Model

/// Where a backdoor's trigger stands in a message.
public enum TriggerPosition: String, Sendable, CaseIterable {
    /// `TRIGGER. MESSAGE`, SANDE's.
    case start
    /// `MESSAGE TRIGGER.`
    case end
    /// Between two words of the message.
    case random

    /// The message with the trigger in it; `random` chooses the gap between two words.
    public func place(_ trigger: String, in message: String, _ random: inout SplitMix64) -> String {
        switch self {
        case .start: return "\(trigger). \(message)"
        case .end: return "\(message) \(trigger)."
        case .random:
            let gaps = message.indices.filter { message[$0] == " " }
            guard !gaps.isEmpty else { return "\(trigger). \(message)" }
            let gap = gaps[random.index(below: gaps.count)]
            return "\(message[..<gap]) \(trigger).\(message[gap...])"
        }
    }
}
