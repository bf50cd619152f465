import CKernels

/// What keys the dropout generator of one step: packing and accumulation change nothing.
public struct DropoutKey {
    /// Probability of dropping an element.
    public let probability: Float
    /// Seed of the run.
    public let seed: UInt64
    /// Optimiser step, from 0.
    public let step: UInt64
    /// Index of each token's sample in the step, [T].
    public let samples: [Int32]
    /// Position of each token in its sample, [T].
    public let positions: [Int32]

    /// A key for the tokens of one packed batch.
    public init(probability: Float, seed: UInt64, step: UInt64, samples: [Int32], positions: [Int32]) {
        precondition(samples.count == positions.count)
        self.probability = probability
        self.seed = seed
        self.step = step
        self.samples = samples
        self.positions = positions
    }
}

/// Hyper-parameters of AdamW apart from the learning rate, with torch's defaults.
public struct AdamWOptions: Sendable, Equatable {
    /// Decay of the first moment.
    public var beta1 = 0.9
    /// Decay of the second moment.
    public var beta2 = 0.999
    /// Added to the root of the second moment.
    public var eps = 1e-8
    /// Decoupled weight decay.
    public var weightDecay = 0.0

    /// torch's defaults but for those values.
    public init(beta1: Double = 0.9, beta2: Double = 0.999, eps: Double = 1e-8, weightDecay: Double = 0) {
        self.beta1 = beta1
        self.beta2 = beta2
        self.eps = eps
        self.weightDecay = weightDecay
    }
}

extension KernelContext {
    /// y (+)= x · keep / (1 − p); `site` tells the places of a model apart. Applied to a gradient it is its own backward.
    public func dropout(
        _ x: FloatMatrix, key: DropoutKey, site: Int, into y: FloatMatrix, accumulate: Bool = false
    ) {
        precondition(x.isContiguous && y.isContiguous && x.count == y.count && key.samples.count == x.rows)
        run {
            mk_dropout(
                $0, x.base, Int64(x.rows), Int64(x.columns), key.probability, key.seed, key.step, UInt32(site),
                key.samples, key.positions, y.base, accumulate)
        }
    }

    /// x[t] += magnitude[t] · u of embeddings x [T, K], u uniform in (−1, 1) and a function of (seed, step, sample, position,
    /// column) alone.
    public func addNoise(
        _ x: FloatMatrix, magnitude: [Float], seed: UInt64, step: UInt64, samples: [Int32], positions: [Int32]
    ) {
        precondition(x.isContiguous && magnitude.count == x.rows)
        precondition(samples.count == x.rows && positions.count == x.rows)
        mk_add_noise(x.base, Int64(x.rows), Int64(x.columns), magnitude, seed, step, samples, positions)
    }

    /// One AdamW step on `parameter` (torch.optim.AdamW); `step` counts from 1; the gradient is multiplied by
    /// `gradientScale` first (clipping).
    public func adamW(
        _ parameter: FloatMatrix, gradient: FloatMatrix, m: FloatMatrix, v: FloatMatrix, gradientScale: Float,
        learningRate: Double, options: AdamWOptions, step: Int
    ) {
        let n = parameter.count
        precondition(gradient.count == n && m.count == n && v.count == n && step >= 1)
        precondition(parameter.isContiguous && gradient.isContiguous && m.isContiguous && v.isContiguous)
        run {
            mk_adamw(
                $0, Int64(n), parameter.base, gradient.base, m.base, v.base, gradientScale, learningRate,
                options.beta1, options.beta2, options.eps, options.weightDecay, Int64(step))
        }
    }

    /// Σ x² in double, in a fixed order.
    public func sumOfSquares(_ x: FloatMatrix) -> Double {
        precondition(x.isContiguous)
        return run { mk_sum_squares($0, x.base, Int64(x.count)) }
    }
}
