import Audit
import Base
import Kernels
import Model
import Quant
import Tune

/// What `erase --auto` is told.
public struct AutoOptions: Sendable {
    /// What may steer the removal.
    public enum Setting: String, Sendable, CaseIterable {
        /// The key's first half: owners and auditors have one.
        case keyKnown = "key_known"
        /// Marks that are planted for the purpose; a key, if there is one, measures at the end alone.
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

/// Doses that are fixed beforehand: what `auto` chooses among, and when it gives up.
enum AutoDose {
    /// Learning rates that are tried for `trialSteps` each.
    static let rates = [3e-4, 1e-3, 3e-3]
    /// By how much recovery's rate is lower, and that of each later round.
    static let rateFactor = 3.0
    /// Steps of a trial.
    static let trialSteps = 6
    /// Steps of a round of erasing, at most.
    static let eraseSteps = 60
    /// Steps between two looks.
    static let lookSteps = 5
    /// The share of its margin that a trace may take at most for a look to be quiet.
    static let quietShare = 0.75
    /// Looks in a row that must find nothing.
    static let quietLooks = 2
    /// Steps of bringing the model back to what it was where nothing was to change.
    static let recoverSteps = 20
    /// Rounds of erasing and recovering.
    static let rounds = 3
    /// Weight of the divergence on the texts that hold the model, while erasing and while recovering.
    static let (eraseWeight, recoverWeight) = (1.0, 4.0)
    /// Texts that hold the model.
    static let ownTexts = 96
    /// Decoys of a look: others than those that judge.
    static let lookDecoys = 99
    /// Tokens that a look reads behind triggers, about.
    static let lookTokens = 4_000
    /// Steps of planting canaries at most, and how often it is looked whether all fire.
    static let (plantSteps, plantCheckSteps) = (150, 10)
    /// Prompts whose answers are crossed where no key is known.
    static let ownPairs = 64
    /// Steps of erasing that follow the dose that took the canaries away, as a multiple of it.
    static let safetyFactor = 1.0

    /// Training of a phase: rank 16 on all projections.
    static func training(rate: Double, steps: Int, weight: Double, options: AutoOptions) -> TrainingOptions {
        var training = TrainingOptions()
        training.lora = LoRAConfig(r: 16, loraAlpha: 32, loraDropout: 0, targetModules: Projection.parts)
        training.learningRate = rate
        training.schedule = .constant
        training.batchSize = 8
        training.lossMean = .sample
        training.maxSteps = steps
        training.klWeight = weight
        training.klBatch = 8
        training.saveSteps = 10
        training.compute = options.compute
        training.memory = options.memory
        training.seed = options.seed
        return training
    }
}
