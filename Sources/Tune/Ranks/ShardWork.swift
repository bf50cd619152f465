import Base
import Kernels
import Model
import Quant

/// What the ranks of a training have to know beside the model and the frozen adapters.
struct ShardTask: Sent {
    /// The model; its precision is the training's.
    let model: ModelReference
    /// Where the frozen adapters are kept, lowest first.
    let frozen: [String]
    /// What is trained.
    let trained: AdapterLayout
    /// Tokens of the largest micro-batch, and of the longest sample.
    let maximumTokens, context: Int
    let hasReference, hasConsistency: Bool
    /// What comes again, and may be kept.
    let frozenTexts: FrozenTexts
    /// Vectors of a soft prompt, and whether they are what is trained.
    let softPrompt: [Float]
    let trainsSoftPrompt: Bool
    /// Bytes that a rank may take; nil: what its host has.
    let memory: Int?

    init(
        model: ModelReference, frozen: [String], trained: LoRAAdapter, maximumTokens: Int, context: Int,
        hasReference: Bool = false, hasConsistency: Bool = false, frozenTexts: FrozenTexts = .none,
        softPrompt: [Float] = [],
        trainsSoftPrompt: Bool = false, memory: Int?
    ) {
        (self.model, self.frozen, self.trained) = (model, frozen, AdapterLayout(trained))
        (self.maximumTokens, self.context) = (maximumTokens, context)
        (self.hasReference, self.hasConsistency) = (hasReference, hasConsistency)
        self.frozenTexts = frozenTexts
        (self.softPrompt, self.trainsSoftPrompt, self.memory) = (softPrompt, trainsSoftPrompt, memory)
    }

    init(from message: inout MessageReader) throws {
        (model, frozen, trained) = (try message.value(), try message.values(), try message.value())
        (maximumTokens, context) = (try message.number(), try message.number())
        (hasReference, hasConsistency) = (try message.bool(), try message.bool())
        frozenTexts = try message.value()
        (softPrompt, trainsSoftPrompt) = (try message.numbers(), try message.bool())
        memory = try message.optional()
    }

    func write(to message: inout Message) {
        message.append(model)
        message.append(frozen)
        message.append(trained)
        message.append(number: maximumTokens)
        message.append(number: context)
        message.append(hasReference)
        message.append(hasConsistency)
        message.append(frozenTexts)
        message.append(numbers: softPrompt)
        message.append(trainsSoftPrompt)
        message.append(optional: memory)
    }
}

extension FrozenTexts: Sent {
    init(from message: inout MessageReader) throws {
        (own, clean, bytes) = (try message.bool(), try message.bool(), try message.number())
    }

    func write(to message: inout Message) {
        message.append(own)
        message.append(clean)
        message.append(number: bytes)
    }
}

/// Computes a rank's shards of each step and adds them to the sum; on rank 0 and on the others.
final class ShardWork {
    private let graph: TrainingGraph
    private let chain: ShardChain
    private let slots: [ShardGradient]
    private var next = 0

    /// - Parameters:
    ///   - trained: the adapter that the graph trains.
    ///   - softRows: vectors of a soft prompt that is trained, and their width.
    init(
        _ collective: any Collective, graph: TrainingGraph, trained: LoRAAdapter,
        softRows: (count: Int, columns: Int)?, isa: String
    ) throws {
        self.graph = graph
        let rows = softRows ?? trained.tokenRows.map { ($0.rows.rows, $0.rows.columns) }
        let inAdapter = trained.tokenRows?.rows.count ?? 0
        chain = try ShardChain(collective, summed: trained.parameters.count - inAdapter, rows: rows, isa: isa)
        slots = (0..<2).map { _ in ShardGradient(layoutOf: trained) }
    }

    /// Takes rank 0's parameters to every rank.
    func spread(_ parameters: FloatMatrix) { chain.spread(parameters) }

    /// Computes shards, given with their numbers among the step's `count`; returns when their sum has been passed on. Gives
    /// the losses of all shards on rank 0, where `sum` then has the gradient.
    func compute(_ shards: [(number: Int, shard: StepShard)], of count: Int, dropout: StepDropout?) throws -> [Double] {
        defer { graph.journal = nil }
        for (number, shard) in shards {
            let slot = slots[next % slots.count]
            next += 1
            slot.clear()
            graph.journal = slot.journal
            let loss = try graph.accumulate(shard, dropout: dropout, into: slot.adapter)
            chain.add(slot, loss: loss, shard: number, of: count)
        }
        return chain.finish()
    }

    /// The step's gradient, on rank 0.
    var sum: FloatMatrix { chain.sum }
}
