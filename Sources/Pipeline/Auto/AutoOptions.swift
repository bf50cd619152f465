import Audit
import Base
import Kernels

/// What `erase --auto` is told.
public struct AutoOptions: Sendable {
    /// What may steer the removal.
    public enum Setting: String, Sendable, CaseIterable {
        /// The key's first half: owners and auditors have one.
        case keyKnown = "key_known"
        /// What the model itself gives away when it is asked what nobody asks; a key, if there is one, measures at the end
        /// alone.
        case keyUnknown = "key_unknown"
    }

    /// What steers.
    public var setting: Setting
    /// The key; needed where it is known.
    public var key: FingerprintKey?
    /// Clean rows on which the model is to stay as it is; nil: texts that it writes itself.
    public var data: String?
    /// Put pairs of `data` into the model's chat template.
    public var chat = false
    /// Seconds that the training may take; nil: as long as it needs.
    public var budget: Double?
    /// Judge at the end, where there is a key; false where something else does.
    public var judges = true
    /// Decoys of the final test.
    public var decoys = DecoyOptions.leastCount
    /// Cells in which the mark is tried again at the end; nil: the test alone.
    public var durable: DurabilitySelection? = .auto
    /// Steps of relearning in these cells.
    public var durableSteps = 10
    /// Precision of training; nil: training's default.
    public var compute: Compute?
    /// Bytes that the run may take; nil: what the machine has.
    public var memory: Int?
    /// The seed of everything random.
    public var seed: UInt64 = 42

    /// Those, and everything else as it is.
    ///
    /// - Throws: a usage error for a known key that is not given.
    public init(setting: Setting, key: FingerprintKey?) throws {
        if setting == .keyKnown, key == nil {
            throw MeraserError.usage("`auto` with a known key needs `key`; without one leave it unknown")
        }
        (self.setting, self.key) = (setting, key)
    }
}

extension DurabilitySelection {
    /// What `auto` tries of its own accord: whether half of the key brings the mark back faster than a new one is learnt.
    public static let auto = DurabilitySelection.cells([.asIs, DurabilityCell(.asIs, .relearnHalf)])
}
