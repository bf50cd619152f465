import Base
import Foundation
import Kernels
import Quant
import TestSupport
import Testing

@testable import Pipeline

private func smallOptions() -> BenchOptions {
    var options = BenchOptions()
    options.prompts = [5, 9]
    options.generations = [3]
    options.batches = [2]
    options.batchPrompt = 4
    options.batchGeneration = 2
    options.trainings = [6]
    options.rounds = 2
    return options
}

@Test("a benchmark reports every test for every number of threads, as JSON and as a table")
func benchReport() throws {
    let contexts = try [1, 2].map { try KernelContext(threads: $0) }
    let report = try bench(
        path: tinychatFolder().path, compute: .f32, contexts: contexts, options: smallOptions())
    let names = ["pp5", "pp9", "tg3", "tg2x2", "train6"]
    let json = try JSONValue.parse(Array(report.json.serialized().utf8), file: "report")
    for key in ["model", "type", "isa", "compute"] { #expect(json[key]?.string?.isEmpty == false, "\(key)") }
    #expect(json["parameters"]?.int == 6_524_160 && json["threads"]?.int == 2)
    let bytes = try #require(json["bytes"]?.int)
    #expect(bytes > 6_524_160)
    for key in ["f32_gflops", "read_gb_per_s"] {
        let value = try #require(json["peaks"]?[key]?.double)
        #expect(value > 0, "\(key)")
    }
    #expect(json["peaks"]?["int8_gops"] != nil && json["peaks"]?["bf16_gflops"] != nil)
    let results = try #require(json["results"]?.array)
    #expect(results.compactMap { $0["test"]?.string } == names + names)
    #expect(results.compactMap { $0["threads"]?.int } == [1, 1, 1, 1, 1, 2, 2, 2, 2, 2])
    for result in results {
        let rounds = try #require(result["tokens_per_second"]?.array).compactMap(\.double)
        #expect(rounds.count == 2 && rounds.allSatisfy { $0 > 0 && $0.isFinite })
        #expect(result["median"]?.double == (rounds[0] + rounds[1]) / 2)
        let share = try #require(result["share_of_peak"]?.double)
        #expect(share > 0)
        let rss = try #require(result["peak_rss_bytes"]?.int)
        #expect(rss > 1 << 20)
    }
    let lines = report.text.split(separator: "\n", omittingEmptySubsequences: false)
    #expect(lines[0] == "| model | size | params | backend | threads | test | t/s | peak RSS |")
    #expect(lines[2...11].allSatisfy { $0.hasPrefix("| tinychat ") && $0.filter { $0 == "|" }.count == 9 })
    #expect(lines.filter { $0.hasPrefix("measured peak of ") }.count == 2)
}

@Test("a benchmark that asks for nothing fits the model's context; what is asked for and does not is refused by name")
func benchContext() throws {
    #expect(try BenchOptions().tests(context: 2048).map(\.name) == ["pp512", "tg128"])
    #expect(try BenchOptions().tests(context: 100).map(\.name) == ["pp100", "tg99"])
    var options = BenchOptions()
    options.prompts = [101]
    #expect(throws: MeraserError.usage("pp101 takes 101 positions, the model's context has 100")) {
        try options.tests(context: 100)
    }
    options = smallOptions()
    #expect(throws: MeraserError.usage("tg2x2 takes 6 positions, the model's context has 5")) {
        options.prompts = []
        _ = try options.tests(context: 5)
    }
}

@Test("the limit of a test is the slower of arithmetic and reading")
func benchLimits() throws {
    try withTemporaryFolder { folder in
        let path = folder.appendingPathComponent("m.mqf").path
        var options = ConvertOptions()
        options.type = .q8_0
        _ = try convert(source: tinychatFolder().path, destination: path, options: options)
        let store = try openWeightStore(path: path)
        let work = try ModelWork(store, spec: try DecoderSpec(of: store))
        #expect(work.type == "q8_0" && work.parameters == 6_524_160)
        func matrices(_ isIncluded: (String) -> Bool) throws -> [TensorInfo] {
            try store.tensorNames.filter(isIncluded).map { try store.tensor($0).info }.filter { $0.shape.count == 2 }
        }
        let body = try matrices { $0.hasPrefix("model.layers.") }
        let head = try matrices { $0 == "lm_head.weight" }
        #expect(head.count == 1)
        let lowest = try matrices { ["q", "k", "v"].map { "model.layers.0.self_attn.\($0)_proj.weight" }.contains($0) }
        #expect(lowest.count == 3)
        func weights(_ tensors: [TensorInfo]) -> Double { Double(tensors.reduce(0) { $0 + $1.elementCount }) }
        let bytes = Double((body + head).reduce(0) { $0 + $1.byteCount })

        func limit(_ test: BenchTest, _ peak: MachinePeak, backward: Compute = .bf16) -> BenchLimit {
            BenchLimit(test, work: work, compute: .int8, backward: backward, peak: peak)
        }
        let peak = MachinePeak(int8: 1e12, bf16: 1e11, f32: 1e10, readBytes: 1e10)
        let prompt = limit(.prompt(1000), peak)
        #expect(prompt.name == "int8 peak")
        expectClose(try #require(prompt.seconds), (2000 * weights(body) + 2 * weights(head)) / 1e12)
        let generation = limit(.generation(7), peak)
        #expect(generation.name == "read bandwidth")
        expectClose(try #require(generation.seconds), 7 * bytes / 1e10)
        let batch = limit(.batch(4096, tokens: 3), peak)
        #expect(batch.name == "int8 peak")
        expectClose(try #require(batch.seconds), 3 * 8192 * (weights(body) + weights(head)) / 1e12)
        let training = limit(.training(1001), peak)
        #expect(training.name == "int8 + bf16 peak")
        let forward = (2002 * weights(body) + 2000 * weights(head)) / 1e12
        let backward = (2002 * (weights(body) - weights(lowest)) + 2000 * weights(head)) / 1e11
        expectClose(try #require(training.seconds), forward + backward)
        #expect(limit(.prompt(1000), MachinePeak(f32: 1e10, readBytes: 1e10)).seconds == nil)
    }
}

private func expectClose(_ value: Double, _ want: Double, sourceLocation: SourceLocation = #_sourceLocation) {
    #expect(abs(value / want - 1) < 1e-12, "\(value), expected \(want)", sourceLocation: sourceLocation)
}
