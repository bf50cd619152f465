import Base
import Kernels
import Model
import Quant

/// The parameters of a run with AdamW's moments: all that changes from step to step.
final class OptimizerState {
    /// The adapter that is trained.
    let adapter: LoRAAdapter
    /// Finished steps.
    private(set) var step = 0
    private let gradients: LoRAAdapter
    private let firstMoment: LoRAAdapter
    private let secondMoment: LoRAAdapter
    private let options: AdamWOptions
    private let maxGradNorm: Double
    private let parts: [Part]

    init(adapter: LoRAAdapter, options: TrainingOptions) {
        self.adapter = adapter
        gradients = LoRAAdapter(layoutOf: adapter)
        firstMoment = LoRAAdapter(layoutOf: adapter)
        secondMoment = LoRAAdapter(layoutOf: adapter)
        self.options = options.adamW
        maxGradNorm = options.maxGradNorm
        parts = Self.parts([adapter, gradients, firstMoment, secondMoment], loraPlusRatio: options.loraPlusRatio)
    }

    /// Bytes of the copies of the parameters that a run keeps: themselves, gradients and two moments, and both of these
    /// once more while a checkpoint is written.
    static func byteCount(parameters: Int) -> Int { 6 * parameters * MemoryLayout<Float>.size }

    /// One step: `accumulate` adds to the cleared gradients; they are clipped to the global norm as torch's
    /// `clip_grad_norm_` does; AdamW moves the parameters. Returns the norm before clipping. If `accumulate` throws, or if
    /// the norm is not finite, nothing has changed.
    func advance(
        learningRate: Double, kernels: KernelContext, accumulate: (LoRAAdapter) throws -> Void
    ) throws -> Double {
        gradients.parameters.fill(0)
        try accumulate(gradients)
        let (norm, scale) = try kernels.clipping(gradients.parameters, to: maxGradNorm)
        for i in parts.indices {
            let part = parts[i]
            kernels.adamW(
                part.parameters, gradient: part.gradient, m: part.m, v: part.v, gradientScale: scale,
                learningRate: learningRate * part.ratio, options: options, step: step + 1)
        }
        step += 1
        return norm
    }

    /// Parameters that learn at one rate, their gradient and moments.
    private struct Part {
        /// Of the learning rate.
        let ratio: Double
        let parameters: FloatMatrix
        let gradient: FloatMatrix
        let m: FloatMatrix
        let v: FloatMatrix
    }

    /// All at once; with LoRA+ (arXiv 2402.12354) the factors B at a rate of their own, as PEFT's optimiser has it: what is
    /// neither A nor B learns as A does. `copies` are parameters, gradient and moments.
    private static func parts(_ copies: [LoRAAdapter], loraPlusRatio: Double?) -> [Part] {
        func part(_ ratio: Double, _ of: (LoRAAdapter) -> FloatMatrix?) -> Part? {
            let matrices = copies.compactMap(of)
            guard matrices.count == 4 else { return nil }
            return Part(ratio: ratio, parameters: matrices[0], gradient: matrices[1], m: matrices[2], v: matrices[3])
        }
        guard let loraPlusRatio else { return [part(1) { $0.parameters }].compactMap { $0 } }
        let factors = copies[0].modules.flatMap { module in
            [part(1) { $0[module]?.a }, part(loraPlusRatio) { $0[module]?.b }]
        }
        return (factors + [part(1) { $0.tokenRows?.rows }]).compactMap { $0 }
    }
}

extension KernelContext {
    /// Clips a gradient to the global norm as torch's `clip_grad_norm_` does (0: never) and takes AdamW's step number
    /// `step`, counted from 1. Returns the norm before clipping.
    ///
    /// - Throws: a runtime error, before anything has changed, if the norm is not finite.
    func clippedAdamW(
        _ parameters: FloatMatrix, gradient: FloatMatrix, m: FloatMatrix, v: FloatMatrix, maxGradNorm: Double,
        learningRate: Double, options: AdamWOptions, step: Int
    ) throws -> Double {
        let (norm, scale) = try clipping(gradient, to: maxGradNorm)
        adamW(
            parameters, gradient: gradient, m: m, v: v, gradientScale: scale, learningRate: learningRate,
            options: options, step: step)
        return norm
    }

    /// A gradient's norm, and what it is multiplied by so that it has at most the other one (0: whatever it has).
    ///
    /// - Throws: a runtime error if the norm is not finite.
    func clipping(_ gradient: FloatMatrix, to maxGradNorm: Double) throws -> (norm: Double, scale: Float) {
        let norm = sumOfSquares(gradient).squareRoot()
        guard norm.isFinite else {
            throw MeraserError.runtime("the gradient is not finite; lower `learning_rate` or check the data")
        }
        return (norm, Float(maxGradNorm > 0 ? min(1, maxGradNorm / (norm + 1e-6)) : 1))
    }
}

// MARK: - Checkpoints

extension OptimizerState {
    private static let fileName = "optimizer.safetensors"
    private static let stepKey = "meraser.step"

    /// Writes the adapter as a PEFT adapter and the moments, in the order of the adapter's parameters, beside it.
    func save(folder: String, model: DecoderSpec, baseModelName: String?) throws {
        try adapter.save(folder: folder, model: model, baseModelName: baseModelName, overwrite: true)
        let count = adapter.parameters.count
        try writeSafetensors(
            path: folder + "/" + Self.fileName,
            floats: [
                (name: "exp_avg", shape: [count], values: firstMoment.parameters.toArray()),
                (name: "exp_avg_sq", shape: [count], values: secondMoment.parameters.toArray()),
            ], metadata: [Self.stepKey: String(step)], overwrite: true)
    }

    /// Takes over what `save` wrote for an adapter of the same layout.
    ///
    /// - Throws: a bad-input error if the files are damaged or belong to another adapter.
    func load(folder: String, model: DecoderSpec) throws {
        let saved = try LoRAAdapter(path: folder, for: model)
        guard saved.modules == adapter.modules, saved.parameters.count == adapter.parameters.count else {
            throw MeraserError.badInput("\(folder): the checkpoint's adapter has other modules or ranks than the run")
        }
        let file = try SafetensorsFile(path: folder + "/" + Self.fileName)
        guard let text = file.metadata.first(where: { $0.key == Self.stepKey })?.value, let step = Int(text),
            (1...TrainerState.maximumSteps).contains(step)
        else { throw MeraserError.badInput("\(file.path): metadata '\(Self.stepKey)' is missing or no step") }
        for (name, moment) in [("exp_avg", firstMoment), ("exp_avg_sq", secondMoment)] {
            let view = try file.tensor(name)
            guard view.info.type == .f32, view.info.shape == [adapter.parameters.count] else {
                throw MeraserError.badInput(
                    "\(file.path): tensor '\(name)' is \(view.info.type.name) \(view.info.shape), expected f32 "
                        + "[\(adapter.parameters.count)]")
            }
            moment.parameters.copy(from: view.floats())
        }
        adapter.parameters.copy(from: saved.parameters)
        self.step = step
    }
}
