import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

/// Adapters that PEFT itself wrote (tools/make_peft_fixture.py), with the logits that it computes in fp32, which differ
/// from those in fp64 by at most 9e-6.
@Suite struct PEFTFixtureTests {
    private static let fixtures = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/peft_adapter")

    @Test(
        "an adapter written by PEFT, and its GGUF file, give PEFT's logits",
        arguments: ["plain", "patterns", "plain/adapter.gguf"])
    func logits(name: String) throws {
        let path = Self.fixtures.appendingPathComponent(name)
        let folder = name.hasSuffix(".gguf") ? path.deletingLastPathComponent() : path
        let golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
        let store = try openWeightStore(path: tinychatFolder().path)
        let model = try Transformer(store: store, kernels: try KernelContext(threads: 2, isa: nil))
        let adapter = try LoRAAdapter(path: path.path, for: model.spec)
        let session = InferenceSession(model: model, adapters: AdapterStack(frozen: [adapter]))
        var all: [Float] = []
        try session.forEachLogits(of: try session.hiddenStates(PackedBatch([golden.ints("ids")]))) {
            all += $1.toArray()
        }
        let vocabulary = model.spec.vocabSize
        let got = try golden.ints("positions").flatMap { all[Int($0) * vocabulary..<(Int($0) + 1) * vocabulary] }
        expectClose(got, try golden.floats("logits"), absolute: GoldenForwardTests.tolerance, name)
    }

    @Test("the factors of a GGUF adapter are those of the PEFT folder that it was made of")
    func ggufFactors() throws {
        let store = try openWeightStore(path: tinychatFolder().path)
        let spec = try DecoderSpec(of: store)
        let peft = try AdapterFile(path: Self.fixtures.path + "/plain")
        let gguf = try AdapterFile(path: Self.fixtures.path + "/plain/adapter.gguf", for: spec)
        #expect(gguf.modules.map(\.path) == peft.modules.map(\.path))
        for (a, b) in zip(gguf.modules, peft.modules) {
            #expect(a.scale == b.scale)
            #expect(try a.a.floats() == b.a.floats())
            #expect(try a.b.floats() == b.b.floats(), "\(a.path)")
        }
    }
}
