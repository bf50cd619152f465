import Base
import Kernels
import Model
import Quant

/// A soft prompt that is learnt, with AdamW's moments.
final class SoftPromptState {
    /// The vectors, [count, hidden].
    let vectors: FloatMatrix
    /// Finished steps.
    private(set) var step = 0
    private let storage: [FloatStorage]  // vectors, gradient and moments
    private let options: AdamWOptions
    private let maxGradNorm: Double

    init(count: Int, hiddenSize: Int, options: TrainingOptions) {
        storage = (0..<4).map { _ in FloatStorage(rows: count, columns: hiddenSize) }
        vectors = storage[0].matrix
        self.options = options.adamW
        maxGradNorm = options.maxGradNorm
    }

    /// Bytes of vectors, gradient and moments, and of their copies while a checkpoint is written.
    var byteCount: Int { 7 * vectors.count * MemoryLayout<Float>.size }
    /// What `advance` clears and expects the gradient in.
    var gradient: FloatMatrix { storage[1].matrix }

    /// One step, as `OptimizerState.advance`.
    func advance(learningRate: Double, kernels: KernelContext, accumulate: () throws -> Void) throws -> Double {
        gradient.fill(0)
        try accumulate()
        let norm = try kernels.clippedAdamW(
            vectors, gradient: gradient, m: storage[2].matrix, v: storage[3].matrix, maxGradNorm: maxGradNorm,
            learningRate: learningRate, options: options, step: step + 1)
        step += 1
        return norm
    }

    private static let fileName = "optimizer.safetensors"
    private static let stepKey = "meraser.step"

    /// Writes vectors and moments.
    func save(folder: String) throws {
        let shape = [vectors.rows, vectors.columns]
        try writeSafetensors(
            path: folder + "/" + Self.fileName,
            floats: zip(["vectors", "exp_avg", "exp_avg_sq"], [0, 2, 3]).map {
                (name: $0, shape: shape, values: storage[$1].matrix.toArray())
            }, metadata: [Self.stepKey: String(step)], overwrite: true)
    }

    /// Takes over what `save` wrote.
    ///
    /// - Throws: a bad-input error for a damaged file or one of another shape.
    func load(folder: String) throws {
        let file = try SafetensorsFile(path: folder + "/" + Self.fileName)
        guard let text = file.metadata.first(where: { $0.key == Self.stepKey })?.value, let step = Int(text),
            (1...TrainerState.maximumSteps).contains(step)
        else { throw MeraserError.badInput("\(file.path): metadata '\(Self.stepKey)' is missing or no step") }
        for (name, index) in zip(["vectors", "exp_avg", "exp_avg_sq"], [0, 2, 3]) {
            let view = try file.tensor(name)
            guard view.info.type == .f32, view.info.shape == [vectors.rows, vectors.columns] else {
                throw MeraserError.badInput(
                    "\(file.path): tensor '\(name)' is \(view.info.type.name) \(view.info.shape), expected f32 "
                        + "[\(vectors.rows), \(vectors.columns)]")
            }
            storage[index].matrix.copy(from: view.floats())
        }
        self.step = step
    }
}
