import Base
import Kernels
import Model
import Quant
import Tune

/// What `writeLogits` writes beside the logits.
public struct LogitsOptions: Sendable, Equatable {
    /// The residual stream in front of every layer and behind the last norm.
    public var hidden = false
    /// The loss and its gradient with respect to the topmost adapter.
    public var gradients = false
    /// Precision of their backward; nil: what the model has.
    public var backward: Compute?
    /// Replace a file that is there.
    public var overwrite = false

    /// Nothing beside the logits.
    public init() {}
}

/// What `writeLogits` has written.
public struct LogitsReport: Sendable, Equatable {
    /// Tokens of the text.
    public let tokens: Int
    /// Logits of a token.
    public let vocabulary: Int
    /// Hidden states: 0, or the number of layers and one.
    public let hiddenStates: Int
    /// Gradients: 0, or two for each adapted module.
    public let gradients: Int
    /// Mean negative log-likelihood of the tokens behind the first; nil without gradients.
    public let loss: Double?
}

extension AdaptedModel {
    /// Writes what the model with its adapters computes for a text as a safetensors file, for comparison with
    /// Transformers and PEFT, in their names:
    ///
    /// - `input_ids` [T], I64, and `logits` [T, V], F32 as everything below.
    /// - `hidden_states.0` … `hidden_states.N` [T, hidden]: the stream that enters layer i, the last one behind the
    ///   final norm, as with `output_hidden_states`.
    /// - `loss` [1], the mean over all tokens behind the first, as with `labels=input_ids`, and its gradient with
    ///   respect to the topmost adapter's factors (`base_model.model.PATH.lora_A.weight`, …), without dropout.
    ///
    /// Logits are computed and written some rows at a time; the file appears when it is whole.
    /// - Parameters:
    ///   - ids: the tokens, from position 0.
    ///   - path: the file to make.
    ///   - interrupt: looked at before every layer.
    /// - Throws: a usage error if the file exists, or for gradients without an adapter or of less than two tokens; a
    ///   bad-input error for ids outside of the vocabulary or more than fit into the context; a runtime error for
    ///   values that are not finite or a full disk; `interrupted`. Nothing is left behind.
    public func writeLogits(
        of ids: [Int32], to path: String, options: LogitsOptions = LogitsOptions(), interrupt: InterruptFlag? = nil
    ) throws -> LogitsReport {
        try AtomicFile.checkDestination(path, overwrite: options.overwrite)
        try check(ids)
        let spec = transformer.spec
        let trained = options.gradients ? try lossAndGradients(of: ids, options.backward, interrupt) : nil
        let states = options.hidden ? spec.numHiddenLayers + 1 : 0
        var tensors = [TensorDeclaration(name: "logits", type: .f32, shape: [ids.count, spec.vocabSize])]
        tensors += (0..<states).map {
            TensorDeclaration(name: Self.hiddenName($0), type: .f32, shape: [ids.count, spec.hiddenSize])
        }
        tensors += trained?.tensors.map { TensorDeclaration(name: $0.name, type: .f32, shape: $0.shape) } ?? []
        let writer = try SafetensorsWriter(
            path: path, tensors: tensors, integers: [("input_ids", ids.map(Int64.init))],
            metadata: ["compute": transformer.compute.rawValue], overwrite: options.overwrite)
        for tensor in trained?.tensors ?? [] { try tensor.values.withUnsafeBytes { try writer.write(tensor.name, $0) } }
        try writeForward(of: ids, to: writer, hidden: options.hidden, interrupt: interrupt)
        try writer.finish()
        return LogitsReport(
            tokens: ids.count, vocabulary: spec.vocabSize, hiddenStates: states,
            gradients: trained.map { $0.tensors.count - 1 } ?? 0, loss: trained?.loss)
    }

    private static func hiddenName(_ index: Int) -> String { "hidden_states.\(index)" }

    private func check(_ ids: [Int32]) throws {
        let (path, vocabulary) = (transformer.store.path, transformer.spec.vocabSize)
        guard !ids.isEmpty else { throw MeraserError.usage("the text has no tokens, expected one at least") }
        if let place = ids.firstIndex(where: { $0 < 0 || Int($0) >= vocabulary }) {
            throw MeraserError.badInput(
                "token \(ids[place]) at position \(place) is outside of the vocabulary of \(path), expected 0 to "
                    + "\(vocabulary - 1)")
        }
        try transformer.requireContext(of: ids.count)
    }

    /// Logits and, if wanted, hidden states.
    private func writeForward(
        of ids: [Int32], to writer: SafetensorsWriter, hidden: Bool, interrupt: InterruptFlag?
    ) throws {
        func write(_ name: String, _ x: FloatMatrix) throws {
            try x.withNumbers { try writer.write(name, UnsafeRawBufferPointer($0)) }
        }
        func checkInterrupt() throws {
            if interrupt?.isSet == true { throw MeraserError(.interrupted, "interrupted; nothing was written") }
        }
        let session = session()
        let last = try session.hiddenStates(PackedBatch([ids])) { layer, stream in
            try checkInterrupt()
            if hidden { try write(Self.hiddenName(layer), stream) }
        }
        if hidden { try write(Self.hiddenName(transformer.spec.numHiddenLayers), last) }
        try session.forEachLogits(of: last) { _, logits in
            try checkInterrupt()
            try write("logits", logits)
        }
    }

    /// The loss, and it with the gradients as tensors.
    private func lossAndGradients(
        of ids: [Int32], _ backward: Compute?, _ interrupt: InterruptFlag?
    ) throws -> (loss: Double, tensors: [(name: String, shape: [Int], values: [Float])]) {
        guard let trained = adapters.last else {
            throw MeraserError.usage("gradients are those of the topmost adapter, but there is none on the model")
        }
        guard ids.count > 1 else {
            throw MeraserError.usage("gradients need a text of two tokens at least: the first is no label")
        }
        // Layers keep their input alone, so that a long text fits; that changes no bit.
        let graph = TrainingGraph(
            model: try transformer.with(compute: transformer.compute, backward: backward ?? transformer.backward),
            frozen: Array(adapters.dropLast()), trained: trained, maximumTokens: ids.count,
            recompute: RecomputePlan(layers: transformer.spec.numHiddenLayers - trained.lowestLayer))
        graph.interrupt = interrupt
        let weight = 1 / Float(ids.count - 1)
        let batch = LabelledBatch(
            batch: PackedBatch([ids]), labels: ids.dropFirst() + [-1],
            weights: Array(repeating: weight, count: ids.count - 1) + [0], samples: ids.map { _ in 0 })
        let gradients = LoRAAdapter(layoutOf: trained)
        let loss = try graph.accumulate(batch, into: gradients)
        let factors = gradients.peftFactors(for: transformer.spec)
        let rows = gradients.peftTokenRows(for: transformer.spec).map { [$0.tensor(besideModules: !factors.isEmpty)] }
        let tensors = factors.flatMap(\.tensors) + (rows ?? [])
        return (loss, [(name: "loss", shape: [1], values: [Float(loss)])] + tensors)
    }
}
