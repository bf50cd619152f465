import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Pipeline

/// How far int8 is from f32 on whole models: what the kernels' tests cannot see, since it hangs on real activations.
@Suite("int8 beside f32")
struct Int8DivergenceTests {
    /// Logits of a text, a row for each token.
    private func logits(_ path: String, _ compute: Compute, _ text: String) throws -> [[Float]] {
        let model = try OpenedModel(path: path, kernels: try KernelContext(threads: 2), compute: compute)
        let session = model.session()
        let tokens = Array(model.tokenizer.encode(text).prefix(192))
        let matrix = try session.logits(try session.hiddenStates(PackedBatch([tokens])))
        let values = matrix.toArray()
        return (0..<matrix.rows).map { Array(values[($0 * matrix.columns)..<(($0 + 1) * matrix.columns)]) }
    }

    /// Mean of KL(p ‖ q) over the rows, in double precision.
    private func divergence(_ p: [[Float]], _ q: [[Float]]) -> Double {
        func logs(_ row: [Float]) -> [Double] {
            let largest = Double(row.max() ?? 0)
            let total = row.reduce(0.0) { $0 + exp(Double($1) - largest) }
            return row.map { Double($0) - largest - log(total) }
        }
        let sum = zip(p, q).reduce(0.0) { sum, rows in
            let (a, b) = (logs(rows.0), logs(rows.1))
            return sum + zip(a, b).reduce(0.0) { $0 + exp($1.0) * ($1.0 - $1.1) }
        }
        return sum / Double(p.count)
    }

    /// With one digit for every column it was 0.00021 (q8_0) and 0.00020 (q4_0).
    @Test("int8 adds little to what quantized weights cost", arguments: [TensorType.q8_0, .q4_0])
    func tinychat(type: TensorType) throws {
        let data = packageRoot().appendingPathComponent("Examples/data/heldout.jsonl")
        let text = try String(contentsOf: data, encoding: .utf8)
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("m.mqf").path
            var options = ConvertOptions()
            options.type = type
            options.threads = 2
            _ = try convert(source: tinychatFolder().path, destination: path, options: options)
            let added = divergence(try logits(path, .f32, text), try logits(path, .int8, text))
            #expect(added > 0 && added < (type == .q8_0 ? 0.00015 : 0.00017), "\(type.name): \(added)")
        }
    }
}
