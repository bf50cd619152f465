import Base
import Kernels
import Model

/// NEFTune's noise (arXiv 2310.05914): uniform in ±alpha / sqrt(L · hidden size) on every number of what goes into the first
/// layer, L being the tokens of the sample with the last one, which is only predicted. transformers counts the padding too.
public struct EmbeddingNoise: Sendable, Equatable {
    /// `neftune_noise_alpha`.
    public let alpha: Double
    /// Seed of the run.
    public let seed: UInt64
    /// Optimiser step, from 0.
    public let step: UInt64

    /// The noise of a step.
    public init(alpha: Double, seed: UInt64, step: UInt64) { (self.alpha, self.seed, self.step) = (alpha, seed, step) }

    /// Adds it to the embeddings [T, hidden] of a batch, whose tokens are of those samples of the step.
    func add(to embeddings: FloatMatrix, of batch: PackedBatch, samples: [Int32], kernels: KernelContext) {
        var magnitude = [Float](repeating: 0, count: embeddings.rows)
        for sequence in batch.sequences {
            let size = Double((sequence.count + 1) * embeddings.columns)
            for row in sequence.start..<sequence.start + sequence.count {
                magnitude[row] = Float(alpha / size.squareRoot())
            }
        }
        kernels.addNoise(
            embeddings, magnitude: magnitude, seed: seed, step: step, samples: samples, positions: batch.positions)
    }
}

/// What is added to embeddings before the first layer.
enum EmbeddingMove {
    /// Those numbers, [T, hidden].
    case shift(FloatMatrix)
    /// Noise; each token's sample keys it.
    case noise(EmbeddingNoise, samples: [Int32])

    /// Adds it to the embeddings [T, hidden] of a batch.
    func add(to embeddings: FloatMatrix, of batch: PackedBatch, kernels: KernelContext) {
        switch self {
        case .shift(let numbers): kernels.addScaled(1, numbers, into: embeddings)
        case .noise(let noise, let samples): noise.add(to: embeddings, of: batch, samples: samples, kernels: kernels)
        }
    }
}

extension EmbeddingNoise: Sent {
    /// Reads one.
    public init(from message: inout MessageReader) throws {
        (alpha, seed, step) = (try message.number(), try message.number(), try message.number())
    }

    /// Adds it.
    public func write(to message: inout Message) {
        message.append(number: alpha)
        message.append(number: seed)
        message.append(number: step)
    }
}
