import Base
import Foundation
import Quant
import TestSupport
import Testing

@Test("merge and prune from the command line: a folder, an MQF file, a sum of adapters' recipe that is wrong")
func mergesAndPrunes() throws {
    try withTemporaryFolder { folder in
        func path(_ name: String) -> String { folder.appendingPathComponent(name).path }
        let recipe = """
            merge_method: slerp
            base_model: \(tinychatFolder().path)
            models:
              - model: \(tinychatFolder().path)
              - model: \(path("copy"))
            parameters:
              t:
                - filter: self_attn
                  value: [0, 0.5, 1]
                - value: 0.5
            tokenizer_source: base
            """
        try FileManager.default.copyItem(atPath: tinychatFolder().path, toPath: path("copy"))
        try Data(recipe.utf8).write(to: folder.appendingPathComponent("r.yml"))
        let merged = try meraser(["merge", path("r.yml"), "--out", path("out"), "--json", "-q"])
        #expect(merged.status == 0, "\(merged.error)")
        // Between a model and itself lies the model: its angle is 0, and t and 1 - t of bf16 numbers add up to them.
        let (store, source) = (try openWeightStore(path: path("out")), try openWeightStore(path: tinychatFolder().path))
        for name in source.tensorNames {
            #expect(Array(try store.tensor(name).bytes) == Array(try source.tensor(name).bytes), "\(name)")
        }
        let quantized = try meraser(["merge", path("r.yml"), "--out", path("m.mqf"), "--type", "q8_0", "-q"])
        #expect(quantized.status == 0, "\(quantized.error)")
        let pruned = try meraser([
            "prune", "--model", path("m.mqf"), "--ratio", "0.25", "--method", "random", "--out", path("p.mqf"), "-q",
        ])
        #expect(pruned.status == 0, "\(pruned.error)")
        let text = try meraser([
            "generate", "--model", path("p.mqf"), "--prompt", "Hello", "--max-new-tokens", "4", "-q",
        ])
        #expect(text.status == 0, "\(text.error)")

        try Data("merge_method: linear\nadapters:\n  - {adaptor: x}\n".utf8).write(
            to: folder.appendingPathComponent("a.yml"))
        let wrong = try meraser(["merge", path("a.yml"), "--out", path("sum")])
        #expect(wrong.status == 3 && wrong.error.contains("adapter"), "\(wrong.error)")
    }
}
