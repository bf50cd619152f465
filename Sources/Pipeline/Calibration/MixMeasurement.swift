import Base
import Kernels
import Model
import Quant
import Tune

/// Measures on calibration texts what each type would cost each matrix, and chooses the mix under a budget.
///
/// The share of a matrix is half of the mean over tokens of Σ over its outputs (gradient · error)²: the squared gradients come
/// from one backward pass (`OutputSensitivity`), the squared errors of each type from rounding with feedback on the inputs
/// (`FeedbackFactor`). Shares are taken to add up. The embedding's rows, and a head's, count by how often their tokens come.
struct MixMeasurement {
    let model: Transformer
    let sequences: [[Int32]]
    let check: () throws -> Void

    /// The types that are weighed, where a matrix makes whole tiles of them.
    static let types: [TensorType] = [.iq4_nl, .q4_k, .q4_1, .q5_k, .q6_k, .q8_0]
    /// Tokens of the backward pass at most.
    private static let gradientTokens = 4096

    /// The mix for tensors of which `plan` lists all; those named in `fixed`, vectors, and matrices without tiles keep their
    /// planned types.
    ///
    /// - Throws: a usage error for a number of bits that no mix has, which names the range; what the passes throw.
    func mix(bits: Double, plan: [TensorDeclaration], fixed: Set<String>) throws -> TypeMix {
        let free = plan.filter { tensor in
            tensor.shape.count == 2 && !fixed.contains(tensor.name) && !Self.types(tensor.shape[1]).isEmpty
        }
        let weights = plan.reduce(0) { $0 + $1.shape.reduce(1, *) }
        func bytes(_ tensor: TensorDeclaration, _ type: TensorType) -> Int {
            type.byteCount(rows: tensor.shape.count == 2 ? tensor.shape[0] : 1, columns: tensor.shape.last ?? 1) ?? 0
        }
        let freeNames = Set(free.map(\.name))
        let others = plan.filter { !freeNames.contains($0.name) }.reduce(0) { $0 + bytes($1, $1.type) }
        func bitsOf(_ bytes: Int) -> Double { Double(8 * (others + bytes)) / Double(max(weights, 1)) }
        let sizes = free.map { tensor in Self.types(tensor.shape[1]).map { bytes(tensor, $0) } }
        let least = bitsOf(sizes.reduce(0) { $0 + ($1.min() ?? 0) })
        let most = bitsOf(sizes.reduce(0) { $0 + ($1.max() ?? 0) })
        guard bits >= least, bits <= most else {
            throw MeraserError.usage(
                "`bits` \(Figures.number(bits, 3)): expected \(Figures.number((least * 1000).rounded(.up) / 1000, 3)) to "
                    + "\(Figures.number((most * 1000).rounded(.down) / 1000, 3)) for this model")
        }
        let losses = try losses(of: freeNames)
        let options = free.map { tensor in
            Self.types(tensor.shape[1]).enumerated().map { index, type in
                MixOption(type: type, byteCount: bytes(tensor, type), loss: losses[tensor.name]?[index] ?? 0)
            }
        }
        // What rounding takes off the least number of bits is given back.
        let smallest = sizes.reduce(0) { $0 + ($1.min() ?? 0) }
        let budget = max((Int(whole: bits * Double(weights) / 8) ?? 0) - others, smallest)
        guard let chosen = choices(options, budget: budget) else {
            preconditionFailure("\(bits) bits are less than \(least)")
        }
        return TypeMix(
            types: zip(free, chosen).reduce(into: [:]) { $0[$1.0.name] = $1.1.type },
            bits: bitsOf(chosen.reduce(0) { $0 + $1.byteCount }),
            expectedLoss: chosen.reduce(0) { $0 + $1.loss })
    }

    private static func types(_ columns: Int) -> [TensorType] { types.filter { columns % $0.tileColumns == 0 } }

    /// Of each of these matrices the loss by each type that it can have.
    private func losses(of names: Set<String>) throws -> [String: [Double]] {
        let (squares, tokens) = try gradients()
        let (spec, kernels) = (model.spec, model.kernels)
        var losses: [String: [Double]] = [:]
        func weigh(_ name: String, _ factor: FeedbackFactor, columns: Int, scale: Double, rows: [Double]) throws {
            losses[name] = try Self.types(columns).map { type in
                let errors = try factor.quantize(model.store, name, type, kernels, check: check).errors
                return zip(errors, rows).reduce(0) { $0 + Double($1.0) * $1.1 } * scale / 2
            }
        }
        let stream = CalibrationStream(model, sequences: sequences)
        for layer in spec.layers.indices {
            var moments: [(projections: [Projection], sums: InputMoments)] = []
            try stream.run(layer, of: model, advances: true, check: check) { projections, x in
                if !moments.contains(where: { $0.projections == projections }) {
                    moments.append((projections, InputMoments(columns: x.columns)))
                }
                moments.first { $0.projections == projections }?.sums.add(x, kernels)
            }
            while let (projections, sums) = moments.popLast() {
                let (columns, scale) = (sums.columns, sums.meanSquare)
                let factor = sums.factored(damping: CalibratedSource.damping, kernels)
                for projection in projections {
                    let module = ModuleKey(layer: layer, projection: projection)
                    let name = spec[module].weight
                    guard names.contains(name), let rows = squares.squares[module] else { continue }
                    try weigh(name, factor, columns: columns, scale: scale / Double(tokens), rows: rows)
                }
            }
        }
        let frequencies = frequencies()
        let inputs = InputMoments(columns: spec.hiddenSize)
        try stream.forEachHeadInput(model) {
            try check()
            inputs.add($0, kernels)
        }
        let headScale = inputs.meanSquare
        if names.contains(spec.head.linear.weight), !spec.head.isTied {
            try weigh(
                spec.head.linear.weight, inputs.factored(damping: CalibratedSource.damping, kernels),
                columns: spec.hiddenSize, scale: headScale, rows: frequencies)
        }
        if names.contains(spec.embedding.weight) {
            let scale = Double(spec.embedding.scale ?? 1)
            let mean = squares.embedding.reduce(0, +) / Double(spec.hiddenSize) / Double(tokens) * scale * scale
            try weigh(
                spec.embedding.weight, InputMoments(columns: spec.hiddenSize).factored(damping: 1, kernels),
                columns: spec.hiddenSize, scale: mean + (spec.head.isTied ? headScale : 0), rows: frequencies)
        }
        return losses
    }

    /// How often each token comes in the texts, every token at least once.
    private func frequencies() -> [Double] {
        var counts = [Double](repeating: 1, count: model.spec.vocabSize)
        for sequence in sequences {
            for token in sequence where counts.indices.contains(Int(token)) { counts[Int(token)] += 1 }
        }
        let sum = counts.reduce(0, +)
        return counts.map { $0 / sum }
    }

    /// The squared gradients of the texts' loss, and of how many tokens.
    private func gradients() throws -> (OutputSensitivity, tokens: Int) {
        // An adapter that adds nothing: the graph is made for one.
        let idle = LoRAAdapter(
            config: LoRAConfig(r: 1, loraAlpha: 1, loraDropout: 0, targetModules: [.q_proj]), for: model.spec)
        let longest = sequences.reduce(0) { max($0, $1.count) }
        let graph = TrainingGraph(
            model: model, frozen: [], trained: idle, maximumTokens: longest, throughEmbeddings: true)
        let (sensitivity, unused) = (OutputSensitivity(), LoRAAdapter(layoutOf: idle))
        graph.sensitivity = sensitivity
        let step = max(1, sequences.reduce(0) { $0 + $1.count } / Self.gradientTokens)
        var tokens = 0
        for index in stride(from: 0, to: sequences.count, by: step) where sequences[index].count > 1 {
            try check()
            let sequence = sequences[index]
            let labels = Array(sequence.dropFirst()) + [-1]
            _ = try graph.accumulate(
                LabelledBatch(
                    batch: PackedBatch([sequence]), labels: labels, weights: labels.map { $0 >= 0 ? 1 : 0 },
                    samples: sequence.map { _ in 0 }), into: unused)
            tokens += sequence.count
        }
        return (sensitivity, max(tokens, 1))
    }
}
