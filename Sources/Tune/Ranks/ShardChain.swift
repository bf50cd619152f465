import Base
import Dispatch
import Kernels
import Model

/// The gradient of one shard: a slot that is used again and again.
final class ShardGradient {
    /// Sums of the modules' gradients.
    let adapter: LoRAAdapter
    /// Additions to rows.
    let journal = GradientJournal()
    /// Work with it that goes on.
    let work = DispatchGroup()

    init(layoutOf adapter: LoRAAdapter) { self.adapter = LoRAAdapter(layoutOf: adapter) }

    /// Waits until nobody needs what is in it, and clears it.
    func clear() {
        work.wait()
        adapter.parameters.fill(0)
        journal.clear()
    }
}

/// Sums the gradients of a step's shards over the ranks, in the order of the shards: the bits of one process that adds one
/// after the other.
///
/// Shard i of n belongs to rank (n − 1 − i) mod ranks, so that neighbours lie on different ranks and the last on rank 0. The
/// running sum goes from owner to owner in pieces: each adds its shard to a piece and passes it on, while the next shard is
/// being computed. It goes over a rank's wire once for each of the rank's shards, and parameters once a step, from rank to rank.
///
/// Its own thread works on the slots that were handed in, one shard after the other; everything else is called by one thread,
/// and `spread` only between `finish` and the next `add` (unchecked: the queue is what keeps the two apart).
final class ShardChain: @unchecked Sendable {
    /// Floats of a piece: 1 MB, some milliseconds at 1 Gbit/s.
    private static let piece = 1 << 18

    private let collective: any Collective
    private let kernels: KernelContext
    private let carrier: FloatStorage
    private let summed: Int
    private let rows: FloatMatrix?
    private let queue = DispatchQueue(label: "meraser.sums")
    private var losses: [Double] = []

    /// - Parameters:
    ///   - summed: numbers that are added as a whole.
    ///   - rows: shape of the rows behind them, which get single additions; nil: none.
    ///   - isa: of the ranks.
    init(_ collective: any Collective, summed: Int, rows: (count: Int, columns: Int)?, isa: String) throws {
        self.collective = collective
        self.summed = summed
        // One thread: the others compute.
        kernels = try KernelContext(threads: 1, isa: isa)
        carrier = FloatStorage(rows: 1, columns: summed + (rows.map { $0.count * $0.columns } ?? 0))
        let all = carrier.matrix
        self.rows = rows.map { all.part(at: summed, rows: $0.count, columns: $0.columns) }
    }

    /// Bytes of two slots and of the running sum.
    static func byteCount(parameters: Int) -> Int { 3 * parameters * MemoryLayout<Float>.size }

    /// The rank that computes a shard.
    static func owner(of shard: Int, of count: Int, ranks: Int) -> Int { (count - 1 - shard) % ranks }

    /// The sum, on rank 0 after `finish`.
    var sum: FloatMatrix { carrier.matrix }

    /// The shards' losses, on rank 0 after `finish`.
    func finish() -> [Double] { queue.sync { losses } }

    // MARK: Parameters

    /// Takes rank 0's parameters to every rank.
    func spread(_ parameters: FloatMatrix) {
        let (rank, last) = (collective.rank, collective.rank == collective.size - 1)
        if rank == 0 { carrier.matrix.copy(from: parameters.reshaped(rows: 1, columns: parameters.count)) }
        let ranges = pieces(of: carrier.matrix.count)
        let coming = rank == 0 ? [] : ranges.map { receive($0, from: rank - 1, on: .parameters) }
        var leaving: [any Transfer] = []
        for (index, range) in ranges.enumerated() {
            if rank > 0 { coming[index].wait() }
            if !last { leaving.append(send(range, to: rank + 1, on: .parameters)) }
        }
        if rank > 0 {
            parameters.reshaped(rows: 1, columns: parameters.count).copy(from: carrier.matrix)
        }
        leaving.forEach { $0.wait() }
    }

    // MARK: Sums

    /// Adds a shard of `count`; its slot belongs to this chain until its `work` is done. A rank's shards come in their order.
    func add(_ gradient: ShardGradient, loss: Double, shard: Int, of count: Int) {
        // The slot is used by this thread until it has left the group.
        nonisolated(unsafe) let gradient = gradient
        queue.async(group: gradient.work) { self.pass(gradient, loss: loss, shard: shard, of: count) }
    }

    private func pass(_ gradient: ShardGradient, loss: Double, shard: Int, of count: Int) {
        let ranks = collective.size
        let before = shard > 0 ? Self.owner(of: shard - 1, of: count, ranks: ranks) : nil
        let behind = shard + 1 < count ? Self.owner(of: shard + 1, of: count, ranks: ranks) : nil
        let ranges = pieces(of: summed)
        let rowRange = summed..<carrier.matrix.count
        // Everything is asked for at once: a rank that waits for one piece must not keep another from leaving.
        let coming = before.map { rank in ranges.map { receive($0, from: rank, on: .sums) } } ?? []
        let comingRows = before.flatMap { rowRange.isEmpty ? nil : receive(rowRange, from: $0, on: .sums) }
        losses = [Double](repeating: 0, count: shard + 1)
        var leaving: [any Transfer] = []
        for (index, range) in ranges.enumerated() {
            let own = gradient.adapter.parameters.part(at: range.lowerBound, rows: 1, columns: range.count)
            let sum = carrier.matrix.part(at: range.lowerBound, rows: 1, columns: range.count)
            if before == nil {
                sum.copy(from: own)
            } else {
                coming[index].wait()
                kernels.addScaled(1, own, into: sum)
            }
            if let behind { leaving.append(send(range, to: behind, on: .sums)) }
        }
        if let rows {
            if let comingRows { comingRows.wait() } else { rows.fill(0) }
            gradient.journal.replay(onto: rows, kernels)
            if let behind { leaving.append(send(rowRange, to: behind, on: .sums)) }
        }
        losses.withUnsafeMutableBytes { bytes in
            let earlier = UnsafeMutableRawBufferPointer(rebasing: bytes.dropLast(MemoryLayout<Double>.size))
            if let before { collective.receive(into: earlier, from: before, on: .sums).wait() }
            bytes.storeBytes(of: loss, toByteOffset: earlier.count, as: Double.self)
            if let behind { collective.send(UnsafeRawBufferPointer(bytes), to: behind, on: .sums).wait() }
        }
        leaving.forEach { $0.wait() }
    }

    // MARK: Pieces

    private func pieces(of count: Int) -> [Range<Int>] {
        stride(from: 0, to: count, by: Self.piece).map { $0..<min($0 + Self.piece, count) }
    }

    private func bytes(_ range: Range<Int>) -> UnsafeMutableRawBufferPointer {
        let size = MemoryLayout<Float>.size
        return UnsafeMutableRawBufferPointer(rebasing: carrier.bytes[range.lowerBound * size..<range.upperBound * size])
    }

    private func send(_ range: Range<Int>, to rank: Int, on channel: Channel) -> any Transfer {
        collective.send(UnsafeRawBufferPointer(bytes(range)), to: rank, on: channel)
    }

    private func receive(_ range: Range<Int>, from rank: Int, on channel: Channel) -> any Transfer {
        collective.receive(into: bytes(range), from: rank, on: channel)
    }
}
