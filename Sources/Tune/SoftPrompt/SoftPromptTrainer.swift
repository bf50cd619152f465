import Base
import Foundation
import Kernels
import Model
import Quant

/// Learns a soft prompt on a frozen model with frozen adapters: SANDE's first stage (arXiv 2405.07667).
///
/// The vectors start at zero; every sample has their place (`TrainingSample.softRow`). As with `Trainer`, the same model,
/// data, options and instruction set give the same bits for any number of threads, resumed or not. Not thread-safe.
public final class SoftPromptTrainer {
    /// The folder of such a run within the folder of the run that uses its vectors.
    public static let folderName = "parrot"

    /// What the run is going to do and need.
    public let plan: TrainingPlan
    /// Called after every step.
    public var onStep: ((TrainingProgress) -> Void)?
    /// Called with what the user should know, as one line.
    public var onWarning: ((String) -> Void)?
    /// Looked at between layers; when set, the step in progress is dropped.
    public var interrupt: InterruptFlag?

    let model: Transformer
    let frozen: [LoRAAdapter]
    let data: EncodedDataset
    let options: TrainingOptions
    let steps: StepPlan
    let state: SoftPromptState
    /// Has no modules: nothing of the model is trained.
    let nothing: LoRAAdapter
    private let insertion: SoftInsertion
    private let origin: SoftPrompt.Origin
    private let planner: MemoryPlanner

    /// Prepares a run.
    ///
    /// - Parameters:
    ///   - data: samples with places for the vectors.
    ///   - options: batch, steps, rate, clipping, seed, memory and compute; what concerns adapters has no say.
    ///   - insertion: the place, as in every sample.
    ///   - origin: what the vectors' file is to say.
    public init(
        model: Transformer, frozen: [LoRAAdapter] = [], data: EncodedDataset, options: TrainingOptions,
        insertion: SoftInsertion, origin: SoftPrompt.Origin
    ) throws {
        precondition(!data.samples.isEmpty && data.samples.allSatisfy { $0.softRow != nil }, "samples without a place")
        try options.validate()
        let precision = try PrecisionPlan(options.compute, backward: options.backward, on: model.kernels)
        let model = try precision.model(model)
        self.frozen = frozen
        self.data = data
        let options = precision.chosen(in: options)
        self.options = options
        self.insertion = insertion
        self.origin = origin
        steps = StepPlan(sampleCount: data.samples.count, options: options)
        nothing = LoRAAdapter(config: LoRAConfig(), modules: [], for: model.spec)
        let state = SoftPromptState(
            count: insertion.count, hiddenSize: model.spec.hiddenSize, options: options)
        self.state = state
        let planner = MemoryPlanner(model: model, frozen: frozen, trained: nothing, data: [data])
        self.planner = planner
        let maximumTokens = steps.maximumTokens(samples: data.samples)
        let limit = options.memory ?? ProcessMemory.limitBytes(for: model)
        let chosen = planner.plan(tokens: maximumTokens, context: data.longest, limit: limit - state.byteCount)
        self.model = try chosen.model(model)
        func use(_ plan: MemoryPlan) -> MemoryUse {
            planner.use(tokens: maximumTokens, plan).adding(optimizer: state.byteCount)
        }
        plan = TrainingPlan(
            precision: precision, trainableParameters: state.vectors.count,
            samples: data.samples.count, skipped: data.skipped,
            tokensPerEpoch: data.tokenCount, labelsPerEpoch: data.labelCount, longestSample: data.longest,
            steps: steps.totalSteps, stepsPerEpoch: steps.stepsPerEpoch,
            batch: (options.batchSize, options.accumulation), maximumTokens: maximumTokens,
            recompute: chosen.recompute, streamsWeights: chosen.streamsWeights,
            adaptedLayers: model.spec.numHiddenLayers, memory: use(chosen),
            choices: planner.pure.map { ($0.name, use($0.plan).total) }, limitBytes: limit)
    }

    /// The vectors as they are now.
    public var prompt: SoftPrompt {
        SoftPrompt(values: state.vectors.toArray(), insertion: insertion, origin: origin)
    }

    /// - Throws: an out-of-memory error (exit code 5) that says what would make the run fit.
    public func checkMemory() throws { try planner.check(plan, data: [data], options: options) }

    /// Runs to the end, or continues a run, and leaves `parrot_prompt.safetensors` in `output`; as `Trainer.run`.
    public func run(output path: String, resume: Bool = false, overwrite: Bool = false) throws -> TrainingResult {
        try checkMemory()
        let record = RunRecord(
            options: options, baseSHA256: try model.store.sha256(), parents: frozen.compactMap(\.sha256), data: data,
            kernels: model.kernels, initial: nil)
        let output = TrainingOutput(path: path)
        let file = output.file(SoftPrompt.fileName)
        let (progress, isFinished) = try output.begin(
            record, totalSteps: steps.totalSteps, resume: resume, overwrite: overwrite, warn: onWarning
        ) { checkpoint in
            try state.load(folder: checkpoint)
            return state.step
        }
        if isFinished {
            let prompt = try SoftPrompt(path: file, hiddenSize: model.spec.hiddenSize)
            guard prompt.insertion == insertion else {
                throw MeraserError.badInput("\(file): the parrot prompt is not the one of this run")
            }
            state.vectors.copy(from: prompt.values)
            return progress.result(adapter: file)
        }
        var session = try SoftPromptSession(trainer: self, output: output, record: record, state: progress)
        return try session.finish().result(adapter: file)
    }
}

extension MemoryUse {
    /// The same with more for the optimiser.
    fileprivate func adding(optimizer bytes: Int) -> MemoryUse {
        MemoryUse(weights: weights, kept: kept, working: working, optimizer: optimizer + bytes, program: program)
    }
}
