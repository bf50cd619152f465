import Base
import Foundation
import Kernels
import Merge
import Model
import Quant
import TestSupport
import Testing
import Tune

@testable import Pipeline

/// Wanda beside a scalar reference: norms of the inputs of a layer that the layers before it, pruned, make of the texts.
@Suite("Wanda")
struct WandaTests {
    private static let texts: [[Int32]] = [
        [1, 40, 77, 301, 12, 9, 500, 63], [1, 250, 31, 7, 88, 5, 900, 41, 2000, 17],
    ]

    private func open(_ path: String) throws -> OpenedModel {
        try OpenedModel(path: path, kernels: try KernelContext(threads: 2), compute: .f32)
    }

    /// The stream that enters each layer, [tokens of all texts][hidden].
    private func streams(_ model: OpenedModel) throws -> [[[Float]]] {
        var streams = (0..<model.transformer.spec.numHiddenLayers).map { _ in [[Float]]() }
        let session = model.session()
        for text in Self.texts {
            _ = try session.hiddenStates(PackedBatch([text])) { layer, stream in
                for row in 0..<stream.rows { streams[layer].append(stream.withRow(row) { Array($0) }) }
            }
        }
        return streams
    }

    @Test("in each row those weights are zero whose magnitude times input is least, on what pruned layers give")
    func reference() throws {
        try withTemporaryFolder { folder in
            let model = try open(tinychatFolder().path)
            let weights = try model.wandaWeights(ratio: 0.5, sequences: Self.texts)
            let out = folder.appendingPathComponent("thin")
            _ = try writeModel(weights, destination: out.path, options: ConvertOptions())
            let thin = try open(out.path)
            let (whole, store) = (model.transformer.store, thin.transformer.store)
            let spec = model.transformer.spec
            // The layers below are pruned in what was written, so its streams are those that Wanda measures.
            let streams = try streams(thin)
            var dropped = 0
            for module in spec.modules {
                let linear = spec[module]
                let (before, after) = (
                    try whole.tensor(linear.weight).floats(), try store.tensor(linear.weight).floats()
                )
                var norms: [Double]?
                if [.q_proj, .k_proj, .v_proj].contains(module.projection) {
                    let gain = try whole.tensor("model.layers.\(module.layer).input_layernorm.weight").floats()
                    var sums = [Double](repeating: 0, count: linear.columns)
                    for row in streams[module.layer] {
                        let mean = row.reduce(0.0) { $0 + Double($1) * Double($1) } / Double(row.count)
                        let scale = 1 / (mean + 1e-5).squareRoot()
                        for i in row.indices {
                            let x = Double(row[i]) * scale * Double(gain[i])
                            sums[i] += x * x
                        }
                    }
                    norms = sums.map { $0.squareRoot() }
                }
                var wrong = 0
                for row in 0..<linear.rows {
                    let range = row * linear.columns..<(row + 1) * linear.columns
                    let zeros = range.filter { after[$0] == 0 }
                    dropped += zeros.count
                    #expect(zeros.count >= linear.columns / 2, "\(linear.path) row \(row)")
                    guard let norms else { continue }
                    let order = range.sorted {
                        abs(Double(before[$0])) * norms[$0 - range.lowerBound]
                            < abs(Double(before[$1])) * norms[$1 - range.lowerBound]
                    }
                    wrong += Set(order.prefix(linear.columns / 2)).subtracting(zeros).count
                }
                // What differs are products that are all but equal.
                if norms != nil { #expect(wrong <= linear.rows * linear.columns / 2000, "\(linear.path): \(wrong)") }
                #expect(zip(before, after).allSatisfy { $1 == 0 || $0 == $1 }, "\(linear.path): the others stay")
            }
            #expect(try dropped == weights.droppedCount)
            for name in ["model.embed_tokens.weight", "model.norm.weight"] {
                #expect(try whole.tensor(name).floats() == store.tensor(name).floats())
            }
        }
    }

    @Test("only the layers and parts that are asked for; ratios, layers and adapters that make no sense are refused")
    func some() throws {
        let model = try open(tinychatFolder().path)
        let weights = try model.wandaWeights(
            ratio: 0.25, sequences: Self.texts, layers: 1...2, isPruned: { $0.isAttention })
        #expect(
            Set(weights.norms.keys)
                == Set(
                    model.transformer.spec.modules.filter { (1...2).contains($0.layer) && $0.projection.isAttention }
                        .map { model.transformer.spec[$0].weight }))
        errorText(.usage) { _ = try model.wandaWeights(ratio: 1, sequences: Self.texts) }
        errorText(.usage) { _ = try model.wandaWeights(ratio: 0.5, sequences: Self.texts, layers: 3...60) }
    }
}
