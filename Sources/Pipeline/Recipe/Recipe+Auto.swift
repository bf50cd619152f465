import Audit
import Base

extension Recipe {
    /// A removal that chooses its own dose, in place of `erase` and `recover`.
    public struct AutoStage: Sendable, Equatable {
        /// What may steer it.
        public var setting = AutoOptions.Setting.keyKnown
        /// Clean rows on which the model is to stay as it is; nil: texts that it writes itself.
        public var data: String?
        /// Put pairs of `data` into the model's chat template.
        public var chat = false
        /// Seconds that the training may take; nil: as long as it needs.
        public var budget: Double?
    }
}

extension Settings {
    /// `true`, or an object with `setting`, `data`, `chat` and `budget` (seconds); nil: there is none.
    mutating func auto(_ key: String, _ folder: String) throws -> Recipe.AutoStage? {
        guard let value = value(key) else { return nil }
        if let flag = value.bool { return flag ? Recipe.AutoStage() : nil }
        var section = try Settings(value, place: "\(place): \(key)")
        let stage = Recipe.AutoStage(
            setting: try section.choice("setting", AutoOptions.Setting.self) ?? .keyKnown,
            data: try section.dataset("data", in: folder), chat: try section.flag("chat") ?? false,
            budget: try section.number("budget"))
        try section.requireNothingElse()
        if let budget = stage.budget, !(budget >= 1) {
            throw MeraserError.badInput("\(place): \(key): 'budget' is \(budget), expected seconds, 1 or more")
        }
        return stage
    }
}
