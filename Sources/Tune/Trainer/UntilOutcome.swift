import Base

/// Whether the condition that was to end a training (`until`) ever held.
///
/// A run that has done all its steps without it has not kept its promise, however well it ended otherwise.
public struct UntilOutcome: Sendable, Equatable {
    /// The condition, as it was given.
    public let condition: String
    /// True if it held at a measurement, which ended the run.
    public let held: Bool
    /// `require_until`: true if the run fails where it did not.
    public let isRequired: Bool

    /// What the user is to know, as one line: nil where the condition held.
    public var notice: String? {
        held ? nil : "`until` never held: \(condition); all steps are done, and what was to be reached was not"
    }

    /// - Throws: a failed check (status 4) if the condition is required and never held.
    public func require() throws {
        guard isRequired, let notice else { return }
        throw MeraserError(.checkFailed, notice)
    }

    /// `{"condition", "held", "required"}`.
    public var json: JSONValue {
        ["condition": .text(condition), "held": .bool(held), "required": .bool(isRequired)]
    }
}

extension UntilOutcome {
    /// Reads what `json` wrote; `file` is for errors.
    public init(json: JSONValue, file: String) throws {
        condition = try json.string("condition", in: file)
        held = try json.bool("held", in: file)
        isRequired = try json.bool("required", in: file)
    }
}
