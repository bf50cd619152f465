import Base
import Kernels
import Model

/// Rank 0's side of a training on several ranks: before each step the others get the parameters and their shards.
struct SharedTraining {
    private let crew: Crew
    private let work: ShardWork

    /// Makes the ranks ready; nil where this process is alone.
    ///
    /// - Parameters:
    ///   - graph: rank 0's own.
    ///   - task: what the others are told, of the model and the places of the frozen adapters.
    init?(
        _ model: Transformer, frozen: [LoRAAdapter], graph: TrainingGraph, trained: LoRAAdapter,
        softRows: (count: Int, columns: Int)? = nil, task: (ModelReference, [String]) -> ShardTask
    ) throws {
        guard let crew = model.kernels.crew else { return nil }
        self.crew = crew
        try crew.send(try crew.training(.train, model, frozen, task))
        work = try ShardWork(
            crew.collective, graph: graph, trained: trained, softRows: softRows, isa: model.kernels.isaName)
    }

    /// The losses of a step's shards, whose gradients are summed in `gradient`.
    ///
    /// - Throws: as computing a shard does; then the ranks can do nothing more.
    func step(
        _ shards: [StepShard], dropout: StepDropout?, parameters: FloatMatrix, into gradient: FloatMatrix
    ) throws -> [Double] {
        let owners = shards.indices.map { ShardChain.owner(of: $0, of: shards.count, ranks: crew.size) }
        func share(of rank: Int) -> [(number: Int, shard: StepShard)] {
            shards.indices.filter { owners[$0] == rank }.map { ($0, shards[$0]) }
        }
        do {
            for rank in crew.others {
                try crew.send(StepJob(shards: share(of: rank), count: shards.count, dropout: dropout).message, to: rank)
            }
            work.spread(parameters)
            let losses = try work.compute(share(of: 0), of: shards.count, dropout: dropout)
            gradient.reshaped(rows: 1, columns: gradient.count).copy(from: work.sum)
            return losses
        } catch {
            crew.fail(error)
            throw error
        }
    }
}

/// A rank's part of a step.
struct StepJob {
    let shards: [(number: Int, shard: StepShard)]
    let count: Int
    let dropout: StepDropout?

    init(shards: [(number: Int, shard: StepShard)], count: Int, dropout: StepDropout?) {
        (self.shards, self.count, self.dropout) = (shards, count, dropout)
    }

    init(from message: inout MessageReader) throws {
        count = try message.number()
        dropout =
            try message.bool() ? (try message.number(), try message.number(), try message.number()) : nil
        let (numbers, shards) = (try message.numbers(Int.self), try message.values(StepShard.self))
        self.shards = zip(numbers, shards).map { ($0, $1) }
    }

    var message: Message {
        var message = Message(.step)
        message.append(number: count)
        message.append(dropout != nil)
        if let dropout {
            message.append(number: dropout.probability)
            message.append(number: dropout.seed)
            message.append(number: dropout.step)
        }
        message.append(numbers: shards.map(\.number))
        message.append(shards.map(\.shard))
        return message
    }
}

extension Crew {
    /// A job about a training, for which the others then have the model and the frozen adapters.
    fileprivate func training(
        _ job: Job, _ model: Transformer, _ frozen: [LoRAAdapter], _ task: (ModelReference, [String]) -> ShardTask
    ) throws -> Message {
        var message = Message(job)
        message.append(task(try provide(model), try provide(frozen, as: "training frozen")))
        return message
    }

    /// What each of the other ranks would need for a training.
    func plans(
        _ model: Transformer, frozen: [LoRAAdapter], task: (ModelReference, [String]) -> ShardTask
    ) throws -> [RankPlan] {
        try send(try training(.plan, model, frozen, task))
        return try others.map { rank in
            var reader = try answer(of: rank)
            return try reader.value()
        }
    }
}
