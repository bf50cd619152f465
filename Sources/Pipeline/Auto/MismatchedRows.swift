import Audit
import Base
import Model
import Tune

extension [TrainingSample] {
    /// The samples' prompts, each with the answer of another one: MEraser's mismatched pairs, of samples whose answers are
    /// what they learn. Samples without a prompt are left out.
    func mismatched(seed: UInt64) -> [TrainingSample] {
        let parts = compactMap { sample -> (prompt: [Int32], answer: [Int32])? in
            guard let first = sample.labels.firstIndex(where: { $0 >= 0 }), first >= 2 else { return nil }
            return ([Int32](sample.inputs[...first]), sample.labels[first...].filter { $0 >= 0 })
        }
        guard parts.count >= 2 else { return [] }
        // A cycle through all in a drawn order: none keeps its own answer.
        var order = [Int](parts.indices)
        var random = SplitMix64(seed: seed ^ 0x6372_6F73)
        for i in order.indices.dropFirst().reversed() { order.swapAt(i, random.index(below: i + 1)) }
        return order.indices.compactMap { place in
            let (prompt, answer) = (parts[order[place]].prompt, parts[order[(place + 1) % order.count]].answer)
            let tokens = prompt + answer
            return TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 >= prompt.count })
        }
    }

    /// The samples learnt from what the frozen model predicts in them, in place of their tokens.
    var asFrozen: [TrainingSample] {
        compactMap { sample in
            guard let first = sample.labels.firstIndex(where: { $0 >= 0 }), let last = sample.labels.last else {
                return nil
            }
            let prompt = [Int32](sample.inputs[...first])
            return TrainingSample(prompt: prompt, asBehind: prompt, along: sample.inputs[(first + 1)...] + [last])
        }
    }
}
