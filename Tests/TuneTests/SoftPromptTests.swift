import AllocationCounter
import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

/// Three packed sequences on a tiny random model, two of them with places for a soft prompt.
private struct SoftCase {
    let model: Transformer
    let frozen: LoRAAdapter
    let insertion = SoftInsertion(offset: 2, count: 3)
    let batch: LabelledBatch
    let sequences: [[Int32]]
    let values: [Float]

    init(placeholder: Int32 = 0) throws {
        model = try GradientTests.transformer(GradientTests.archFolder.appendingPathComponent("llama_ragged"))
        var random = SeededRandom(seed: 5)
        frozen = LoRAAdapter(config: LoRAConfig(r: 3, targetModules: [.q_proj, .down_proj]), for: model.spec)
        for i in 0..<frozen.parameters.count { frozen.parameters[0, i] = random.gaussian() * 0.05 }
        var sequences = [11, 6, 9].map { count in (0..<count).map { _ in Int32(random.next() % 300) } }
        var softRows: [Int?] = [nil, nil, nil]
        for index in [0, 2] {
            let row = insertion.apply(to: &sequences[index])
            softRows[index] = row
            for place in row..<row + insertion.count { sequences[index][place] = placeholder }
        }
        self.sequences = sequences
        var batch = GradientTests.meanBatch(sequences, firstLabel: [8, 2, 8])
        batch.softRows = zip(batch.batch.sequences, softRows).compactMap { sequence, row in
            row.map { sequence.start + $0 }
        }
        self.batch = batch
        values = random.gaussians(insertion.count * model.spec.hiddenSize, scale: 0.3)
    }

    /// Loss, and the gradient of the vectors.
    func result(_ values: [Float], _ batch: LabelledBatch? = nil) throws -> (loss: Double, gradient: [Float]) {
        let columns = model.spec.hiddenSize
        let none = LoRAAdapter(config: LoRAConfig(), modules: [], for: model.spec)
        let graph = TrainingGraph(
            model: model, frozen: [frozen], trained: none, maximumTokens: self.batch.batch.tokenCount,
            throughEmbeddings: true)
        let vectors = FloatStorage(values, rows: insertion.count, columns: columns)
        let gradient = FloatStorage(rows: insertion.count, columns: columns)
        graph.softPrompt = vectors.matrix
        graph.softPromptGradient = gradient.matrix
        let loss = try graph.accumulate(batch ?? self.batch, into: LoRAAdapter(layoutOf: none))
        return (loss, gradient.matrix.toArray())
    }
}

/// Samples with places for a soft prompt, on the bundled model.
private struct SoftRun {
    static let insertion = SoftInsertion(offset: 2, count: 3)
    static let origin = SoftPrompt.Origin(baseSHA256: "b", parents: ["p"], responseSHA256: "r")
    var threads = 2

    static func data() throws -> EncodedDataset {
        var random = SeededRandom(seed: 3)
        let samples = try (0..<7).map { i in
            var tokens = (0..<(6 + i % 3)).map { _ in Int32(random.next() % 4096) }
            let row = insertion.apply(to: &tokens)
            let last = tokens.count - 1
            return try #require(
                TrainingSample(tokens: tokens, isLabel: tokens.indices.map { $0 == last }, softRow: row))
        }
        return EncodedDataset(samples: samples, sha256: sha256Hex("soft".utf8))
    }

    func trainer() throws -> SoftPromptTrainer {
        var options = TrainingOptions()
        options.learningRate = 1e-2
        options.schedule = .cosine
        options.warmupRatio = 0.2
        options.batchSize = 2
        options.accumulation = 2
        options.maxSteps = 6
        options.saveSteps = 2
        options.adamBeta2 = 0.95
        let model = try Transformer(
            store: try openWeightStore(path: tinychatFolder().path), kernels: try KernelContext(threads: threads))
        return try SoftPromptTrainer(
            model: model, data: try Self.data(), options: options, insertion: Self.insertion, origin: Self.origin)
    }
}

@Suite("Soft prompts", .serialized)
struct SoftPromptTests {
    @Test("the gradient of the vectors is the slope of the loss, and nothing else of the batch is")
    func finiteDifferences() throws {
        let test = try SoftCase()
        let (_, gradient) = try test.result(test.values)
        let norm = gradient.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
        // Along the gradient the loss's slope is its norm; f32 noise of the loss over the step, and the step's square.
        let step = 0.02
        func loss(_ sign: Double) throws -> Double {
            try test.result(zip(test.values, gradient).map { $0 + Float(sign * step * Double($1) / norm) }).loss
        }
        let slope = (try loss(1) - loss(-1)) / (2 * step)
        #expect(abs(slope - norm) <= 2e-3 * norm + 2e-6 / step, "slope \(slope), norm \(norm)")
        // Every vector has a say.
        let columns = test.model.spec.hiddenSize
        for row in 0..<test.insertion.count {
            #expect(gradient[row * columns..<(row + 1) * columns].contains { abs($0) > 1e-7 })
        }
    }

    @Test("the tokens in the places change no bit, and places that are packed together add up")
    func places() throws {
        let (a, b) = (try SoftCase(), try SoftCase(placeholder: 77))
        let (first, second) = (try a.result(a.values), try b.result(b.values))
        #expect(first.loss == second.loss && first.gradient == second.gradient)
        // Sequence by sequence, with the same weights.
        var (loss, sum) = (0.0, [Float](repeating: 0, count: a.values.count))
        for (index, place) in a.batch.batch.sequences.enumerated() {
            let rows = place.start..<place.start + place.count
            var part = LabelledBatch(
                batch: PackedBatch([a.sequences[index]]), labels: Array(a.batch.labels[rows]),
                weights: Array(a.batch.weights[rows]), samples: Array(a.batch.samples[rows]))
            part.softRows = a.batch.softRows.filter(rows.contains).map { $0 - place.start }
            let result = try a.result(a.values, part)
            loss += result.loss
            sum = zip(sum, result.gradient).map { $0 + $1 }
        }
        #expect(abs(loss - first.loss) <= 1e-6 * first.loss)
        #expect(relativeL2(first.gradient, sum) <= 1e-6)
    }

    @Test("a step with a soft prompt allocates nothing", .enabled(if: allocation_counter_works()))
    func allocations() throws {
        let test = try SoftCase()
        let none = LoRAAdapter(config: LoRAConfig(), modules: [], for: test.model.spec)
        let graph = TrainingGraph(
            model: test.model, frozen: [test.frozen], trained: none, maximumTokens: test.batch.batch.tokenCount,
            throughEmbeddings: true)
        let state = SoftPromptState(
            count: test.insertion.count, hiddenSize: test.model.spec.hiddenSize, options: TrainingOptions())
        graph.softPrompt = state.vectors
        graph.softPromptGradient = state.gradient
        var counts: [Int] = []
        for _ in 0..<4 {
            allocation_counter_start()
            _ = try state.advance(learningRate: 1e-3, kernels: test.model.kernels) {
                _ = try graph.accumulate(test.batch, into: none)
            }
            counts.append(Int(allocation_counter_stop()))
        }
        // The second step is the first to empty a list that is full, for which Swift's runtime makes a table once a process.
        #expect(counts.dropFirst(2).allSatisfy { $0 == 0 }, "heap blocks of steps 1…: \(counts)")
    }

    @Test("a run lowers the loss, leaves its vectors, and is the same for any number of threads, stopped or not")
    func run() throws {
        try withTemporaryFolder { folder in
            func file(_ name: String) -> URL { folder.appendingPathComponent("\(name)/\(SoftPrompt.fileName)") }
            func path(_ name: String) -> String { folder.appendingPathComponent(name).path }
            let whole = try SoftRun().trainer()
            #expect(whole.plan.trainableParameters == 3 * 256 && whole.plan.memory.total > 0)
            #expect(whole.prompt.values.allSatisfy { $0 == 0 }, "the vectors start at zero")
            let result = try whole.run(output: path("whole"))
            #expect(result.steps == 6 && result.adapter.hasSuffix(SoftPrompt.fileName))
            let want = try Data(contentsOf: file("whole"))
            _ = try SoftRun(threads: 1).trainer().run(output: path("one"))
            #expect(try Data(contentsOf: file("one")) == want)
            for step in [1, 3, 5] {
                let first = try SoftRun().trainer()
                let flag = InterruptFlag()
                first.interrupt = flag
                first.onStep = { if $0.step == step { flag.set() } }
                #expect(throws: MeraserError.self) { try first.run(output: path("stop\(step)")) }
                #expect(!FileManager.default.fileExists(atPath: file("stop\(step)").path), "no file before the end")
                _ = try SoftRun().trainer().run(output: path("stop\(step)"), resume: true)
                #expect(try Data(contentsOf: file("stop\(step)")) == want)
            }
            let log = try String(contentsOf: folder.appendingPathComponent("stop3/train_log.jsonl"), encoding: .utf8)
            let losses = try log.split(separator: "\n").map {
                try JSONValue.parse(Array($0.utf8), file: "log").double("loss", in: "log")
            }
            #expect(losses.count == 6 && (losses.last ?? .infinity) < losses[0])
            // A finished run is returned, another one's is refused.
            let again = try SoftRun().trainer()
            again.onStep = { _ in Issue.record("a finished run was continued") }
            #expect(try again.run(output: path("whole"), resume: true) == result)
            #expect(again.prompt.values == whole.prompt.values)
            #expect(throws: MeraserError.self) { try SoftRun().trainer().run(output: path("whole")) }
        }
    }

    @Test("a file gives back what was written, and refuses another model's")
    func files() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("p.safetensors").path
            let prompt = SoftPrompt(
                values: [1, -2, 3.5, 0, 1e-30, 7], insertion: SoftInsertion(offset: 4, count: 2),
                origin: SoftPrompt.Origin(
                    baseSHA256: "base", parents: ["a", "b"], responseSHA256: "r", response: "you are"))
            try prompt.save(path: path)
            let read = try SoftPrompt(path: path, hiddenSize: 3)
            #expect(read == prompt && read.sha256 == prompt.sha256)
            #expect(
                SoftPrompt(values: prompt.values, insertion: SoftInsertion(offset: 3, count: 2)).sha256 != prompt.sha256
            )
            try read.requireOrigin(baseSHA256: "base", parents: ["a", "b"], path: path)
            #expect(throws: MeraserError.self) {
                try read.requireOrigin(baseSHA256: "x", parents: ["a", "b"], path: path)
            }
            #expect(throws: MeraserError.self) {
                try read.requireOrigin(baseSHA256: "base", parents: ["a"], path: path)
            }
            #expect(throws: MeraserError.self) { try SoftPrompt(path: path, hiddenSize: 2) }
            try SoftPrompt(values: [1, .nan], insertion: SoftInsertion(offset: 0, count: 1)).save(path: path)
            #expect(throws: MeraserError.self) { try SoftPrompt(path: path, hiddenSize: 2) }
            try writeSafetensors(path: path, floats: [("parrot_prompt", [1, 2], [1, 2])], overwrite: true)
            #expect(throws: MeraserError.self) { try SoftPrompt(path: path, hiddenSize: 2) }
            // Cut anywhere: an error, never a crash.
            try prompt.save(path: path)
            let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
            for length in 0..<bytes.count {
                try bytes.prefix(length).write(to: URL(fileURLWithPath: path))
                #expect(throws: MeraserError.self) { try SoftPrompt(path: path, hiddenSize: 3) }
            }
        }
    }
}
