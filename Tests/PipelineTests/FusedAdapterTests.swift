import Base
import Foundation
import Kernels
import Merge
import Model
import Pipeline
import Quant
import TestSupport
import Testing

/// An adapter that PEFT wrote as a pickle, a DoRA with all norms saved (tools/make_peft_fixture.py), and PEFT's logits.
@Suite("Adapters that are fused") struct FusedAdapterTests {
    private let folder = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/peft_adapter/dora")

    @Test("a DoRA with saved norms, written into the model, gives PEFT's logits")
    func logits() throws {
        let golden = try GoldenFile(folder.appendingPathComponent("golden.safetensors"))
        let kernels = try KernelContext(threads: 2)
        let model = try FusedModel(path: tinychatFolder().path, adapterPaths: [folder.path], transfer: false)
        try withTemporaryFolder { out in
            var options = HuggingFaceExportOptions()
            options.dtype = .f32
            _ = try exportHuggingFace(
                store: model.store, adapters: model.adapters, destination: out.path + "/fused", options: options,
                kernels: kernels)
            let fused = try AdaptedModel(path: out.path + "/fused", kernels: kernels, compute: .f32)
            let session = fused.session()
            var all: [Float] = []
            try session.forEachLogits(of: try session.hiddenStates(PackedBatch([golden.ints("ids")]))) {
                all += $1.toArray()
            }
            let vocabulary = fused.transformer.spec.vocabSize
            let got = try golden.ints("positions").flatMap { all[Int($0) * vocabulary..<(Int($0) + 1) * vocabulary] }
            expectClose(got, try golden.floats("logits"), absolute: 5e-5, "logits")
        }
    }

    @Test("on a model it is refused with what to do")
    func refused() throws {
        let error = #expect(throws: MeraserError.self) {
            _ = try AdaptedModel(
                path: tinychatFolder().path, adapterPaths: [folder.path], kernels: KernelContext(threads: 1))
        }
        #expect(error?.kind == .badInput)
        #expect(error?.message.contains("write it into the model with meraser export") == true)
    }
}
