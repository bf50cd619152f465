import Base
import Foundation
import Kernels
import Model
import Quant

/// One of the other ranks' side of a training. Used by one thread at a time.
public final class TrainingRank {
    private let collective: any Collective
    private let model: Transformer
    private let frozen: [LoRAAdapter]
    private let trained: LoRAAdapter
    private let task: ShardTask
    private let planner: MemoryPlanner
    private let memory: MemoryPlan
    private let softPrompt: FloatStorage?
    private let softGradient: FloatStorage?
    private var work: ShardWork?

    /// Reads a task.
    ///
    /// - Parameters:
    ///   - open: gives the model.
    ///   - adapter: gives the adapter that is kept in that place.
    /// - Throws: what those throw.
    public init(
        _ message: inout MessageReader, collective: any Collective, open: (ModelReference) throws -> Transformer,
        adapter: (String, Transformer) throws -> LoRAAdapter
    ) throws {
        task = try message.value()
        let model = try open(task.model)
        frozen = try task.frozen.map { try adapter($0, model) }
        trained = task.trained.adapter(for: model.spec)
        self.collective = collective
        let width = model.spec.hiddenSize
        softPrompt =
            task.softPrompt.isEmpty
            ? nil : FloatStorage(task.softPrompt, rows: task.softPrompt.count / width, columns: width)
        softGradient =
            task.trainsSoftPrompt ? FloatStorage(rows: task.softPrompt.count / width, columns: width) : nil
        planner = MemoryPlanner(
            model: model, frozen: frozen, trained: trained, hasReference: task.hasReference,
            hasConsistency: task.hasConsistency)
        memory = planner.plan(tokens: task.maximumTokens, context: task.context, limit: task.limit(on: collective))
        self.model = try memory.model(model)
    }

    /// What it takes, and what of that the frozen model's outputs are, in memory alone.
    private var use: (memory: MemoryUse, frozen: FrozenPlan?) {
        var use = planner.use(tokens: task.maximumTokens, memory)
        let frozen = FrozenPlan(
            .memory, task.frozenTexts, layers: model.spec.numHiddenLayers - planner.keptLayers,
            room: task.limit(on: collective) - use.total)
        use.frozen = frozen?.memory ?? 0
        return (use, frozen)
    }

    /// What this rank needs.
    public var plan: RankPlan {
        RankPlan(
            rank: collective.rank, host: ProcessInfo.processInfo.hostName, threads: model.kernels.threads,
            bytes: use.memory.total,
            limit: task.limit(on: collective))
    }

    /// Computes this rank's shards of a step.
    ///
    /// - Throws: an out-of-memory error before the first step if the training does not fit; as computing a shard does.
    public func step(_ message: inout MessageReader) throws {
        let job = try StepJob(from: &message)
        let work = try work ?? begin()
        work.spread(softPrompt.flatMap { task.trainsSoftPrompt ? $0.matrix : nil } ?? trained.parameters)
        _ = try work.compute(job.shards, of: job.count, dropout: job.dropout)
    }

    private func begin() throws -> ShardWork {
        let plan = plan
        guard plan.bytes <= plan.limit else {
            throw MeraserError(
                .outOfMemory,
                "the run needs \(byteText(plan.bytes)) here and may take \(byteText(plan.limit)); start fewer ranks on this "
                    + "host")
        }
        let graph = TrainingGraph(
            model: model, frozen: frozen, trained: trained, maximumTokens: task.maximumTokens,
            throughEmbeddings: task.trainsSoftPrompt, recompute: memory.recompute, hasReference: task.hasReference,
            hasConsistency: task.hasConsistency)
        graph.softPrompt = softPrompt?.matrix
        graph.frozenOutputs = try use.frozen.map {
            try FrozenOutputs($0, hiddenSize: model.spec.hiddenSize, folder: nil)
        }
        graph.softPromptGradient = softGradient?.matrix
        let work = try ShardWork(
            collective, graph: graph, trained: trained,
            softRows: softGradient.map { ($0.matrix.rows, $0.matrix.columns) }, isa: model.kernels.isaName)
        self.work = work
        return work
    }
}

extension ShardTask {
    /// Bytes that a rank may take.
    func limit(on collective: any Collective) -> Int {
        memory ?? ProcessMemory.limitBytes(amongRanks: collective.ranksOnHost)
    }
}

extension ProcessMemory {
    /// Bytes that one of so many ranks on this host may take.
    static func limitBytes(amongRanks count: Int) -> Int { limitBytes / max(1, count) }

    /// Bytes that a training of a model may take in this process.
    static func limitBytes(for model: Transformer) -> Int {
        limitBytes(amongRanks: model.kernels.crew?.collective.ranksOnHost ?? 1)
    }
}
