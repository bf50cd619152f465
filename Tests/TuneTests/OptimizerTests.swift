import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

@Suite("AdamW with clipping")
struct OptimizerTests {
    private static let config = """
        {"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
         "num_attention_heads": 2, "vocab_size": 16}
        """

    @Test("steps follow torch's formulas for clip_grad_norm_ and AdamW", arguments: [0.0, 0.1], [0.0, 0.3])
    func formulas(weightDecay: Double, maxNorm: Double) throws {
        let model = try DecoderSpec(json: Array(Self.config.utf8), file: "config.json")
        let adapter = LoRAAdapter(config: LoRAConfig(r: 2), for: model)
        var random = SeededRandom(seed: 4)
        let count = adapter.parameters.count
        for i in 0..<count { adapter.parameters[0, i] = random.gaussian() }
        var options = TrainingOptions()
        options.weightDecay = weightDecay
        options.maxGradNorm = maxNorm
        let state = OptimizerState(adapter: adapter, options: options)
        let kernels = try KernelContext(threads: 2)

        // The same in double.
        var theta = adapter.parameters.toArray().map(Double.init)
        var m = [Double](repeating: 0, count: count)
        var v = m
        for step in 1...5 {
            let gradient = random.gaussians(count, scale: 0.05)
            let rate = 1e-2 / Double(step)
            let norm = try state.advance(learningRate: rate, kernels: kernels) { into in
                for i in 0..<count { into.parameters[0, i] += gradient[i] }
            }
            let wantNorm = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
            #expect(abs(norm - wantNorm) <= 1e-12 * wantNorm)
            let clip = maxNorm > 0 ? min(1, maxNorm / (wantNorm + 1e-6)) : 1
            for i in 0..<count {
                let g = clip * Double(gradient[i])
                theta[i] -= rate * weightDecay * theta[i]
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g * g
                let mHat = m[i] / (1 - pow(0.9, Double(step)))
                let vHat = v[i] / (1 - pow(0.999, Double(step)))
                theta[i] -= rate * mHat / (vHat.squareRoot() + 1e-8)
            }
            // fp32 rounding of parameters of size 1 and of moments: a few units in the last place a step.
            expectClose(
                adapter.parameters.toArray(), theta.map { Float($0) }, absolute: 5e-7 * Double(step), "step \(step)")
        }
        #expect(state.step == 5)
    }

    @Test("a step that fails, or whose gradient is not finite, changes nothing")
    func failedStep() throws {
        let model = try DecoderSpec(json: Array(Self.config.utf8), file: "config.json")
        let adapter = LoRAAdapter(config: LoRAConfig(r: 2), for: model)
        adapter.initialize(seed: 1)
        let state = OptimizerState(adapter: adapter, options: TrainingOptions())
        let before = adapter.parameters.toArray()
        let kernels = try KernelContext(threads: 1)
        #expect(throws: MeraserError.self) {
            _ = try state.advance(learningRate: 1, kernels: kernels) { $0.parameters[0, 3] = .nan }
        }
        #expect(throws: MeraserError.self) {
            _ = try state.advance(learningRate: 1, kernels: kernels) { gradients in
                gradients.parameters.fill(1)
                throw MeraserError(.interrupted, "interrupted")
            }
        }
        #expect(state.step == 0)
        #expect(adapter.parameters.toArray() == before)
    }
}
