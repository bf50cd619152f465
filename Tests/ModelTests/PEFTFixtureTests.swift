import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

/// Adapters that PEFT itself wrote (tools/make_peft_fixture.py), with the logits that it computes in fp32, which differ
/// from those in fp64 by at most 9e-6.
@Suite struct PEFTFixtureTests {
    @Test("an adapter written by PEFT gives PEFT's logits", arguments: ["plain", "patterns"])
    func logits(name: String) throws {
        let folder = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/peft_adapter/\(name)")
        let golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
        let store = try openWeightStore(path: tinychatFolder().path)
        let model = try Transformer(store: store, kernels: try KernelContext(threads: 2, isa: nil))
        let adapter = try LoRAAdapter(folder: folder.path, for: model.spec)
        let session = InferenceSession(model: model, adapters: AdapterStack(frozen: [adapter]))
        var all: [Float] = []
        try session.forEachLogits(of: try session.hiddenStates(PackedBatch([golden.ints("ids")]))) {
            all += $1.toArray()
        }
        let vocabulary = model.spec.vocabSize
        let got = try golden.ints("positions").flatMap { all[Int($0) * vocabulary..<(Int($0) + 1) * vocabulary] }
        expectClose(got, try golden.floats("logits"), absolute: GoldenForwardTests.tolerance, name)
    }
}
