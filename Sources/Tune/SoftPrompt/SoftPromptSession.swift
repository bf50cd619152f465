import Base
import Kernels
import Model

/// The loop of a soft prompt's run from the state that it begins or resumes in to its end.
struct SoftPromptSession {
    private let trainer: SoftPromptTrainer
    private let output: TrainingOutput
    private let graph: TrainingGraph
    private let ranks: SharedTraining?
    private var run: TrainingRun

    init(trainer: SoftPromptTrainer, output: TrainingOutput, record: RunRecord, state: TrainerState) throws {
        self.trainer = trainer
        self.output = output
        graph = TrainingGraph(
            model: trainer.model, frozen: trainer.frozen, trained: trainer.nothing,
            maximumTokens: trainer.plan.maximumTokens, throughEmbeddings: true, recompute: trainer.plan.recompute)
        graph.interrupt = trainer.interrupt
        graph.softPrompt = trainer.state.vectors
        graph.softPromptGradient = trainer.state.gradient
        let vectors = trainer.state.vectors
        ranks = try SharedTraining(
            trainer.model, frozen: trainer.frozen, graph: graph, trained: trainer.nothing,
            softRows: (vectors.rows, vectors.columns)
        ) {
            ShardTask(
                model: $0, frozen: $1, trained: trainer.nothing, maximumTokens: trainer.plan.maximumTokens,
                context: trainer.data.longest, softPrompt: vectors.toArray(), trainsSoftPrompt: true,
                memory: trainer.options.memory)
        }
        run = try TrainingRun(
            output: output, record: record, state: state, options: trainer.options, steps: trainer.steps,
            save: trainer.state.save)
    }

    /// Runs to the end and leaves the vectors in the output folder; on interruption leaves a checkpoint and throws.
    mutating func finish() throws -> TrainerState {
        do {
            while !run.isDone {
                try run.saveIfDue()
                try step()
            }
        } catch {
            throw try run.ended(by: error)
        }
        try trainer.prompt.save(path: output.file(SoftPrompt.fileName))
        try run.finish()
        return run.state
    }

    private mutating func step() throws {
        let (trainer, graph, ranks) = (trainer, graph, ranks)
        let progress = try run.step { index, rate in
            let shards = trainer.steps.batches(
                step: index, samples: trainer.data.samples, mean: trainer.options.lossMean
            ).map { StepShard(.likelihood(noise: nil), $0) }
            var loss = 0.0
            let norm = try trainer.state.advance(learningRate: rate, kernels: trainer.model.kernels) {
                let losses =
                    try ranks?.step(
                        shards, dropout: nil, parameters: trainer.state.vectors, into: trainer.state.gradient)
                    ?? shards.map { try graph.accumulate($0, dropout: nil, into: trainer.nothing) }
                loss = losses.reduce(0, +)
                guard loss.isFinite else {
                    throw MeraserError.runtime("the loss is not finite; lower `learning_rate` or check the data")
                }
            }
            return TrainingRun.Step(loss: loss, norm: norm, tokens: shards.reduce(0) { $0 + $1.tokenCount })
        }
        trainer.onStep?(progress)
    }
}
