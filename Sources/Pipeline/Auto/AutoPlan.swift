import Base
import Model
import Tune

/// A removal before it begins: the marked model, what it is told, and the texts on which the model is to stay as it is.
public struct AutoPlan {
    /// The marked model; adapters on it stay as they are.
    let model: OpenedModel
    /// What the removal is told.
    let options: AutoOptions
    /// Clean rows, or texts that the model writes itself.
    let hold: EncodedDataset

    /// Reads the clean rows, or lets the model write.
    ///
    /// - Throws: what reading and the session throw; a runtime error for a model that writes nothing.
    public init(_ model: OpenedModel, options: AutoOptions) throws {
        (self.model, self.options) = (model, options)
        if let path = options.data {
            hold = try model.dataset(path: path, options: EncodingOptions(), chat: options.chat, seed: options.seed)
            return
        }
        let samples = try model.ownTexts(count: AutoDose.ownTexts, seed: options.seed)
        guard !samples.isEmpty else {
            throw MeraserError.runtime("the model writes nothing of its own; give clean rows with `data`")
        }
        hold = EncodedDataset(drawn: samples)
    }

    /// What it will take at most: time as measured, and memory.
    ///
    /// Nothing is written. The rows are those that hold the model, about as long as those that are trained on beside them.
    /// - Throws: an out-of-memory error (exit code 5) if the training does not fit; what the session throws.
    public func forecast() throws -> AutoForecast {
        let trainer = try Trainer(
            model: model.transformer, frozen: model.adapters, data: hold,
            options: AutoDose.recovery(rate: AutoDose.rates[0], options: options), klData: hold)
        try trainer.checkMemory()
        return AutoForecast(
            stepsOfRound: AutoDose.stepsBefore + AutoDose.stepsOfRound,
            steps: AutoDose.stepsBefore + AutoDose.rounds * AutoDose.stepsOfRound,
            secondsPerStep: try trainer.forecast().secondsPerStep, memoryBytes: trainer.plan.memory.total,
            limitBytes: trainer.plan.limitBytes)
    }
}
