import Audit
import Base
import Kernels
import Model
import Quant
import Tune

/// What `auto` chooses among, and when it gives up: fixed beforehand.
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
    /// The p-value from which on a trace is what chance gives, and counts for nothing in a look's share.
    static let chance = 0.1
    /// Looks in a row that must find nothing.
    static let quietLooks = 2
    /// Steps of bringing the model back to what it was where nothing was to change.
    static let recoverSteps = 20
    /// Rounds of erasing and recovering at most.
    static let rounds = 3
    /// Weight of the divergence on the texts that hold the model, while erasing and while recovering.
    static let (eraseWeight, recoverWeight) = (1.0, 4.0)
    /// Texts that hold the model.
    static let ownTexts = 96
    /// Requests of the model's own, beside which answers to strange prompts are set.
    static let ownRequests = 24
    /// Decoys of a look: others than those that judge.
    static let lookDecoys = 99
    /// Tokens that a look reads behind triggers, about.
    static let lookTokens = 4_000
    /// Steps before the first round.
    static let stepsBefore = rates.count * trialSteps
    /// Steps of a round at most.
    static let stepsOfRound = eraseSteps + recoverSteps

    /// A round's erasing: rank 16 on all projections.
    static func erasing(rate: Double, options: AutoOptions) -> TrainingOptions {
        var training = TrainingOptions()
        training.lora = LoRAConfig(r: 16, loraAlpha: 32, loraDropout: 0, targetModules: Projection.parts)
        training.learningRate = rate
        training.schedule = .constant
        training.batchSize = 8
        training.lossMean = .sample
        training.maxSteps = eraseSteps
        training.klWeight = eraseWeight
        training.klBatch = 8
        training.saveSteps = 10
        training.compute = options.compute
        training.memory = options.memory
        training.seed = options.seed
        return training
    }

    /// A round's recovery, behind an erasing with that rate.
    static func recovery(rate: Double, options: AutoOptions) -> TrainingOptions {
        var training = erasing(rate: rate / rateFactor, options: options)
        (training.maxSteps, training.klWeight, training.schedule) = (recoverSteps, recoverWeight, .cosine)
        return training
    }
}
