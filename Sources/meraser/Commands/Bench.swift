import ArgumentParser
import Kernels
import Logging
import Pipeline
import Quant

struct Bench: Command {
    static let configuration = CommandConfiguration(
        abstract: "Measure how fast a model runs on this machine.",
        discussion: """
            The tests are llama-bench's: pp is a prompt, tg generation from an empty context, tg128x32 that of 32 sequences \
            (llama-batched-bench); train is one LoRA step (r 8, q and v). Numbers may be lists: -p 128,512. 0 leaves a test \
            out. The machine's own peaks are measured beside it. --calibrate measures instead whether training is faster \
            in f32 or in bf16 on this CPU, and keeps the answer in the cache: what training computes in from then on \
            without --compute. Use a model of the size that you train, on a quiet machine.
            Example: meraser bench --model tinychat.mqf -p 128,512 -n 32 --batch 1,8 --train 512
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(
        name: .customShort("p"), help: "Tokens of a prompt (default: 512, or the model's context if it is shorter).")
    var prompts: NumberList?

    @Option(name: .customShort("n"), help: "Tokens to generate (default: 128, or as many as fit the context).")
    var generations: NumberList?

    @Option(help: "Sequences that are decoded together.")
    var batch = NumberList([])

    @Option(help: "Tokens of each prompt of --batch.")
    var batchPrompt = 64

    @Option(help: "Tokens that each sequence of --batch generates.")
    var batchGenerate = 128

    @Option(help: "Tokens of a training step.")
    var train = NumberList([])

    @Option(help: "Precision of the backward of a training step (default: what training chooses).")
    var backward: Compute?

    @Flag(help: "Measure whether training is faster in f32 or in bf16 here, and train so from now on.")
    var calibrate = false

    @Option(help: "Measurements of each test, after one that does not count.")
    var rounds = 3

    @Option(
        name: .shortAndLong, help: "Threads (default: the physical cores that this process may use).")
    var threads = NumberList([])

    @Flag(name: .long, help: "Print one JSON object on standard output instead of text.")
    var json = false

    @Option(help: "The seed of the random tokens.")
    var seed: UInt64 = 42

    @Flag(name: [.short, .long], help: "Say more on standard error.")
    var verbose = false

    @Flag(name: [.short, .long], help: "Say nothing on standard error but errors.")
    var quiet = false

    var log: Logger { standardErrorLogger(level: quiet ? .error : verbose ? .debug : .info) }

    func validate() throws {
        let lists = [
            ("-p", prompts ?? NumberList([]), 1 << 20), ("-n", generations ?? NumberList([]), 1 << 20),
            ("--batch", batch, 4096),
            ("--train", train, 1 << 20),
            ("--threads", threads, 1024),
        ]
        for (name, list, largest) in lists {
            if let bad = list.numbers.first(where: { !(0...largest).contains($0) }) {
                throw ValidationError("\(name) has \(bad), expected 0 to \(largest)")
            }
        }
        if calibrate {
            let useless =
                [("-p", prompts == nil), ("-n", generations == nil), ("--batch", batch.numbers.isEmpty)].first { !$0.1 }
            if let useless { throw ValidationError("\(useless.0) has no effect with --calibrate") }
            if !model.adapter.isEmpty || model.compute != nil || backward != nil {
                throw ValidationError("--adapter, --compute and --backward have no effect with --calibrate")
            }
            if train.positive.count > 1 || threads.positive.count > 1 {
                throw ValidationError("--calibrate takes one number of --train and one of --threads")
            }
        }
        if backward != nil && train.positive.isEmpty { throw ValidationError("--backward needs --train") }
        if train.numbers.contains(1) { throw ValidationError("--train has 1, a step needs 2 tokens or more") }
        for (name, value) in [("--batch-prompt", batchPrompt), ("--batch-generate", batchGenerate)] {
            if !(1...1 << 20).contains(value) { throw ValidationError("\(name) is \(value), expected 1 or more") }
        }
        if !(1...1000).contains(rounds) { throw ValidationError("--rounds is \(rounds), expected 1 to 1000") }
        if verbose && quiet { throw ValidationError("--verbose and --quiet exclude each other") }
    }

    func run() throws {
        var options = BenchOptions()
        options.prompts = prompts?.positive
        options.generations = generations?.positive
        options.batches = batch.positive
        options.batchPrompt = batchPrompt
        options.batchGeneration = batchGenerate
        options.trainings = train.positive
        options.backward = backward
        options.rounds = rounds
        options.seed = seed
        if calibrate { return try runCalibration() }
        let counts: [Int?] = threads.positive.isEmpty ? [nil] : threads.positive
        let contexts = try counts.map { try KernelContext.fromEnvironment(threads: $0) }
        let report = try Pipeline.bench(
            path: model.model, adapterPaths: model.adapter, compute: model.compute, contexts: contexts,
            options: options
        ) { log.info("\($0)") }
        if json { Console.json(report.json) } else { Console.output(report.text) }
    }

    private func runCalibration() throws {
        let cache = ModelCache()
        let kernels = try KernelContext.fromEnvironment(threads: threads.positive.first)
        let found = try calibrateTraining(
            path: model.model, kernels: kernels, tokens: train.positive.first ?? 512, rounds: rounds, seed: seed
        ) { log.info("\($0)") }
        try found.save(in: cache)
        if json { return Console.json(found.json) }
        Console.output(
            "\(found.line(kernels)): training computes in \(found.fastest.rawValue) from now on "
                + "(\(PrecisionCalibration.path(in: cache)))")
    }
}

/// Numbers with commas between them.
struct NumberList: ExpressibleByArgument {
    let numbers: [Int]

    init(_ numbers: [Int]) { self.numbers = numbers }

    init?(argument: String) {
        let numbers = argument.split(separator: ",", omittingEmptySubsequences: false).map { Int($0) }
        guard !numbers.contains(nil) else { return nil }
        self.numbers = numbers.compactMap { $0 }
    }

    /// Those that are not 0.
    var positive: [Int] { numbers.filter { $0 > 0 } }

    var defaultValueDescription: String { numbers.map(String.init).joined(separator: ",") }
}
