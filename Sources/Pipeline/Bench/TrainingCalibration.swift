import Kernels
import Model
import Quant
import Tune

/// Measures whether training is faster in f32 or in bf16 on this machine: LoRA steps of one and the other in turn, so that
/// what else runs disturbs both alike; the middle one of each counts.
///
/// - Parameters:
///   - tokens: tokens of a step.
///   - rounds: steps of each, after one that does not count.
///   - onProgress: called with what is coming.
/// - Throws: a usage error on a path without bf16, where there is nothing to choose; what opening the model throws.
public func calibrateTraining(
    path: String, kernels: KernelContext, tokens: Int, rounds: Int, seed: UInt64,
    onProgress: (String) -> Void = { _ in }
) throws -> PrecisionCalibration {
    try kernels.require(.bf16)
    let model = try AdaptedModel(path: path, kernels: kernels)
    model.warnings.forEach(onProgress)
    let text = randomTokens(tokens, of: model.transformer.spec, seed: seed)
    let clock = ContinuousClock()
    let speeds = try [Compute.f32, .bf16].map { compute in
        StepRehearsal(model: try model.transformer.with(compute: compute), frozen: [], tokens: text, seed: seed)
    }
    var seconds: [[Double]] = [[], []]
    for round in 0...rounds {
        onProgress("step \(round) of \(rounds) in f32 and in bf16")
        for (index, rehearsal) in speeds.enumerated() {
            let time = try clock.measure { try rehearsal.step() }.inSeconds
            if round > 0 { seconds[index].append(time) }
        }
    }
    let rates = seconds.map { Double(tokens) / middle($0) }
    return PrecisionCalibration(cpu: .current, f32: rates[0], bf16: rates[1])
}

extension PrecisionCalibration {
    /// What was measured, as a line.
    public func line(_ kernels: KernelContext) -> String {
        func speed(_ value: Double) -> String { Figures.number(value, 1) + " tok/s" }
        return
            "\(cpu), \(kernels.isaName), \(kernels.threads) threads: f32 \(speed(f32)), bf16 \(speed(bf16))"
    }
}

/// Random tokens; ids below 3 are left to special tokens where the vocabulary is large enough.
func randomTokens(_ count: Int, of spec: DecoderSpec, seed: UInt64) -> [Int32] {
    var random = SplitMix64(seed: seed)
    let vocabulary = UInt64(spec.vocabSize)
    let first: UInt64 = vocabulary > 8 ? 3 : 0
    return (0..<count).map { _ in Int32(first + random.next() % (vocabulary - first)) }
}
