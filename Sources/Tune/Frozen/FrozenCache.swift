import Base
import Kernels
import Model

/// `frozen_cache`: where what the frozen model computes the same in every epoch is kept.
public enum FrozenCache: String, Sendable, CaseIterable {
    /// In memory as far as there is room, and past it in a file without a name in the run's folder.
    case disk
    /// In memory as far as there is room; the rest is computed again.
    case memory
    /// Nowhere.
    case none
}

/// Which texts of a run come again, so that what the frozen model makes of them is worth keeping.
struct FrozenTexts: Sendable, Equatable {
    /// True if the data's own do.
    let own: Bool
    /// True if the clean ones do, on which the divergence is learnt.
    let clean: Bool
    /// Bytes of all that is to be kept of them.
    let bytes: Int

    /// None.
    static let none = FrozenTexts(own: false, clean: false, bytes: 0)
}

/// What the frozen model computes the same in every epoch and is kept: the residual stream in front of the lowest adapted
/// layer, and what the trained model is compared with. It changes memory and time, never a result.
public struct FrozenPlan: Sendable, Equatable {
    /// Layers below the lowest adapter.
    public let layers: Int
    /// Bytes that are kept in memory.
    public let memory: Int
    /// Bytes that go to the disk, if it has twice as many.
    public let disk: Int
    /// Bytes of all that comes again.
    public var bytes: Int { texts.bytes }

    let texts: FrozenTexts

    /// The plan for texts; nil where nothing is to be kept.
    ///
    /// - Parameters:
    ///   - cache: where it may be kept.
    ///   - layers: layers below the lowest adapter.
    ///   - room: bytes of memory that it may take.
    init?(_ cache: FrozenCache, _ texts: FrozenTexts, layers: Int, room: Int) {
        let memory = min(texts.bytes, max(room, 0))
        guard cache != .none, texts.bytes > 0, memory > 0 || cache == .disk else { return nil }
        (self.layers, self.texts, self.memory) = (layers, texts, memory)
        disk = cache == .disk ? texts.bytes - memory : 0
    }

    /// The plan as a line for a terminal.
    var line: String {
        let layers = layers > 0 ? "\(layers) layers below the lowest adapter" : "what the divergence compares with"
        return "frozen                \(layers), computed once for all epochs: kept \(byteText(memory)) in memory, "
            + "\(byteText(disk)) on the disk"
    }
}

extension Trainer {
    /// What comes again in a run with those options.
    static func frozenTexts(
        _ data: EncodedDataset, _ kl: (data: EncodedDataset, plan: KLPlan)?, _ steps: StepPlan,
        _ options: TrainingOptions, layers: Int, hiddenSize: Int
    ) -> FrozenTexts {
        let own = steps.totalSteps > steps.stepsPerEpoch
        let clean = kl.map { steps.totalSteps * $0.plan.perStep > $0.data.samples.count } ?? false
        // The stream of every text, and what is predicted behind those that the frozen model is asked with.
        func bytes(_ data: EncodedDataset, isAsked: Bool) -> Int {
            data.samples.reduce(0) { sum, sample in
                func size(_ text: [Int32]) -> Int {
                    Arena.footprint(rows: text.count, columns: hiddenSize) * MemoryLayout<Float>.size
                }
                return sum + ((layers > 0 ? 1 : 0) + (isAsked ? 1 : 0))
                    * (size(sample.inputs) + size(sample.rejected?.inputs ?? []))
                    + size(sample.reference?.inputs ?? [])
            }
        }
        return FrozenTexts(
            own: own, clean: clean,
            bytes: (own ? bytes(data, isAsked: options.objective.asksFrozen) : 0)
                + (clean ? kl.map { bytes($0.data, isAsked: true) } ?? 0 : 0))
    }
}
