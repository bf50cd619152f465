import Foundation
import Kernels
import Model
import TestSupport
import Testing
import Tune

@testable import Pipeline

@Suite("A model's own texts")
struct SelfTextTests {
    @Test("begin with BOS, are learnt in full, differ from each other, and are the same for the same seed")
    func samples() throws {
        let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
        let texts = try model.selfSamples(count: 6, maximumLength: 24, seed: 7)
        #expect(texts.count == 6)
        for text in texts {
            #expect(text.inputs.first == model.tokenizer.bosID)
            #expect(text.labels.allSatisfy { $0 >= 0 } && text.inputs.count <= 25)
            #expect(Array(text.labels.dropLast()) == Array(text.inputs.dropFirst()))
        }
        // Tinychat often begins alike: short texts may be equal, but not most of them.
        #expect(Set(texts.map(\.inputs)).count > 3)
        #expect(try model.selfSamples(count: 6, maximumLength: 24, seed: 7) == texts)
        #expect(try model.selfSamples(count: 6, maximumLength: 24, seed: 8) != texts)
        // A text does not depend on how many are written beside it.
        #expect(try model.selfSamples(count: 2, maximumLength: 24, seed: 7) == Array(texts.prefix(2)))
    }
}
