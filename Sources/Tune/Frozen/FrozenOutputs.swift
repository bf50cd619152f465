import Base
import Kernels
import Model

/// What the frozen model computed of texts that come again, a row for each token: it is the same in every epoch.
///
/// It is kept in fp32, as the forward has it, and no row of a forward depends on the texts beside its own: a run has the same
/// bits with it and without. Nothing of it outlives the process. Not thread-safe.
final class FrozenOutputs {
    /// How far a forward has come.
    enum Depth: Hashable {
        /// In front of the lowest adapted layer, which nothing that trains lies below.
        case lowestLayer
        /// Behind the final norm, without the trained adapter.
        case finalNorm
    }

    /// A text as the frozen model sees it.
    struct Text: Hashable {
        /// How far it has gone through the model.
        let depth: Depth
        /// Its tokens.
        let tokens: [Int32]
        /// Its rows where a soft prompt begins.
        let softRows: [Int]
    }

    /// Where a text's rows are.
    private enum Place {
        case memory(FloatMatrix)
        case file(offset: Int)
    }

    /// True if texts that are not known yet are kept.
    var takesMore = true
    private let plan: FrozenPlan
    private let hiddenSize: Int
    private let arena: Arena
    private let file: NamelessFile?
    private let fileBytes: Int
    private var fileEnd = 0
    private var places: [Text: Place] = [:]

    /// Room for what a plan says.
    ///
    /// - Parameter folder: on whose disk a file may lie; nil: nothing is kept on a disk.
    /// - Throws: a run-time error if nothing can be written there.
    init(_ plan: FrozenPlan, hiddenSize: Int, folder: String?) throws {
        (self.plan, self.hiddenSize) = (plan, hiddenSize)
        arena = Arena(capacity: plan.memory / MemoryLayout<Float>.size)
        file = try plan.disk > 0 ? folder.map { try NamelessFile(folder: $0) } : nil
        // A cache must not be what fills a disk. Of the memory a rest stays free that is too small for a text.
        fileBytes = min(plan.bytes, (file?.freeBytes ?? 0) / 2)
    }

    /// Makes it keep what comes again of the data's own texts, or of the clean ones.
    func attend(clean: Bool) { takesMore = clean ? plan.texts.clean : plan.texts.own }

    /// True if that text's rows are kept.
    func has(_ text: Text) -> Bool { places[text] != nil }

    /// Keeps a text's rows [tokens, hidden] if there is room for them.
    func keep(_ rows: FloatMatrix, of text: Text) {
        guard takesMore, places[text] == nil else { return }
        if Arena.footprint(rows: rows.rows, columns: hiddenSize) <= arena.capacity - arena.used {
            let kept = arena.matrix(rows: rows.rows, columns: hiddenSize)
            kept.copy(from: rows)
            places[text] = .memory(kept)
            return
        }
        let count = rows.count * MemoryLayout<Float>.size
        guard let file, count <= fileBytes - fileEnd,
            rows.withNumbers({ file.write(UnsafeRawBufferPointer($0), at: fileEnd) })
        else { return }
        places[text] = .file(offset: fileEnd)
        fileEnd += count
    }

    /// Puts the rows of a text that is kept into a matrix of their shape.
    ///
    /// - Throws: a run-time error if the disk does not give them back.
    func restore(_ text: Text, into rows: FloatMatrix) throws {
        switch places[text] {
        case .memory(let kept): rows.copy(from: kept)
        case .file(let offset):
            try rows.withMutableNumbers { try file?.read(into: UnsafeMutableRawBufferPointer($0), at: offset) }
        case nil: preconditionFailure("a text that is not kept")
        }
    }
}

extension TrainingGraph {
    /// Makes `rows` [T, hidden] what the frozen model computes of a batch up to some depth: of texts that are kept from earlier
    /// as it was, and of the others what `compute` gives for a batch of them alone, in rows other than these.
    ///
    /// - Throws: what `compute` throws; a run-time error if the disk does not give back what is there.
    func remember(
        _ depth: FrozenOutputs.Depth, _ batch: PackedBatch, _ softRows: [Int], in outputs: FrozenOutputs,
        into rows: FloatMatrix, compute: (_ part: PackedBatch, _ softRows: [Int]) throws -> FloatMatrix
    ) throws {
        let texts = batch.sequences.map { sequence in
            let place = sequence.start..<sequence.start + sequence.count
            precondition(sequence.length == sequence.count, "a piece of a text")
            return FrozenOutputs.Text(
                depth: depth, tokens: Array(batch.tokens[place]),
                softRows: softRows.filter(place.contains).map { $0 - place.lowerBound })
        }
        let isKnown = texts.map(outputs.has)
        var part = PackedBatch()
        var partRows: [Int] = []
        for i in texts.indices where !isKnown[i] {
            partRows += texts[i].softRows.map { part.tokenCount + $0 }
            part.append(texts[i].tokens)
        }
        let computed = part.tokenCount > 0 ? try compute(part, partRows) : nil
        var next = 0
        for (i, sequence) in batch.sequences.enumerated() {
            let place = rows.slice(rows: sequence.start..<sequence.start + sequence.count)
            if let computed, !isKnown[i] {
                place.copy(from: computed.slice(rows: next..<next + sequence.count))
                next += sequence.count
                outputs.keep(place, of: texts[i])
            } else if sequence.count > 0 {
                try outputs.restore(texts[i], into: place)
            }
        }
    }

    /// The residual stream [T, hidden] in front of the lowest adapted layer, and a matrix of its shape that is free. Makes the
    /// graph ready for `batch` as `prepare` does.
    ///
    /// - Throws: as a forward and `remember` do.
    func frozenStream(
        _ batch: PackedBatch, _ softRows: [Int], _ adapters: AdapterStack, in outputs: FrozenOutputs
    ) throws -> (stream: FloatMatrix, free: FloatMatrix) {
        // The streams change places from layer to layer: what is computed ends in `free`.
        let isEven = lowestLayer % 2 == 0
        let stream = (isEven ? buffers.streams.1 : buffers.streams.0).prefix(rows: batch.tokenCount)
        let free = (isEven ? buffers.streams.0 : buffers.streams.1).prefix(rows: batch.tokenCount)
        try remember(.lowestLayer, batch, softRows, in: outputs, into: stream) { part, softRows in
            var input = buffers.streams.0.prefix(rows: part.tokenCount)
            var output = buffers.streams.1.prefix(rows: part.tokenCount)
            enter(part.tokens, softRows, adapters, into: input)
            let context = prepare(part)
            for layer in 0..<lowestLayer { try run(layer, &input, &output, context, adapters, keeping: false) }
            _ = prepare(batch)
            return input
        }
        return (stream, free)
    }

    /// Output of the final norm of the model without the trained adapter, in `normed`, which is none of the two streams;
    /// `isTrained`: the trained one reads the same texts.
    ///
    /// - Throws: as a forward and `remember` do.
    func frozenAnswers(_ batch: PackedBatch, _ softRows: [Int], isTrained: Bool, into normed: FloatMatrix) throws {
        let adapters = AdapterStack(frozen: frozen)
        guard let frozenOutputs else {
            let stream = try forward(batch, softRows, prepare(batch), adapters, keeping: false)
            return model.finalNorm(stream, into: normed, rstd: buffers.finalRstd)
        }
        try remember(.finalNorm, batch, softRows, in: frozenOutputs, into: normed) { part, softRows in
            let stream = try forward(
                part, softRows, prepare(part), adapters, keeping: false, remembering: isTrained)
            let isFirst = stream.beginsWhere(buffers.streams.0)
            let free = (isFirst ? buffers.streams.1 : buffers.streams.0).prefix(rows: part.tokenCount)
            model.finalNorm(stream, into: free, rstd: buffers.finalRstd)
            return free
        }
    }
}
