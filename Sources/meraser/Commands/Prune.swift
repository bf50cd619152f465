import ArgumentParser
import Base
import Kernels
import Merge
import Model
import Pipeline
import Quant
import Tune

struct Prune: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Remove whole attention heads and MLP channels, those that matter least.",
        discussion: """
            Scores: sums of magnitudes or squares of a part's weights, random ones, or taylor: the first-order change of \
            the loss on --data if the part goes. Heads that share keys and values go together. With --layers or --scope \
            global, layers keep different numbers of parts, which config.json cannot say: what goes is set to zero then.

            wanda takes single weights instead: in each row of every matrix the share --ratio with the smallest product of \
            magnitude and input on --data becomes zero (the paper: 0.5).
            Example: meraser prune --model tinychat.mqf --method magnitude_l2 --ratio 0.25 --out pruned
            """)

    @OptionGroup(title: "Model") var model: ModelOptions

    @Option(help: "magnitude_l1, magnitude_l2, random, taylor or wanda.")
    var method = PruneMethod.magnitudeL2

    @Option(help: "The share that goes: of heads and of channels; of each row's weights with wanda.")
    var ratio: Double

    @Option(help: "Where the lowest scores are looked for: in each layer, or global.")
    var scope = PruneOptions.Scope.layer

    @Option(help: "Only these layers, from 0, as 4-29.")
    var layers: LayerRange?

    @Option(help: "Parts to prune: all, attention or mlp.")
    var parts = PrunedParts.all

    @Option(help: "The calibration set of taylor and wanda: any dataset file.", completion: .file())
    var data: String?

    @Option(help: "At most that many of its rows (default: 64; wanda: 128).")
    var dataCount: Int?

    @OptionGroup var output: NewModelOptions

    @Flag(help: "Show what would go, write nothing.")
    var dryRun = false

    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    func validate() throws {
        if method.needsData != (data != nil) {
            throw ValidationError(
                "--data is what taylor and wanda calibrate with: give it with one of them, and only then")
        }
        if !method.isStructured, scope == .global {
            throw ValidationError("--scope global is for parts of layers; wanda takes the same share of every row")
        }
        if let dataCount {
            if data == nil { throw ValidationError("--data-count and --data need each other") }
            if dataCount < 1 { throw ValidationError("--data-count is \(dataCount), expected at least 1") }
        }
        if !model.adapter.isEmpty && method != .taylor {
            throw ValidationError(
                "adapters only take part in taylor's scores; fuse them first (meraser export --format hf)")
        }
    }

    var outputs: [Output] { dryRun ? [] : [Output(output.out)] }

    func inputs() throws -> [String] { model.inputs + [data].compactMap { $0 } }

    func run() throws {
        let interrupt = InterruptFlag.onSignals()
        let store = try openWeightStore(path: model.model)
        try store.verify()
        let spec = try DecoderSpec(of: store)
        var conversion = try output.conversion(common)
        conversion.dryRun = dryRun
        if method == .wanda { return try thin(conversion, interrupt) }
        try spec.requirePrunable(store.path)
        var options = PruneOptions()
        options.ratio = ratio
        options.scope = scope
        options.layers = layers?.range
        options.attention = parts != .mlp
        options.mlp = parts != .attention
        let plan = try PrunePlan(scores: try scores(store, spec, interrupt), options: options)
        let bar = common.progressBar("pruning", unit: .bytes)
        let report = try pruneModel(
            store, plan: plan, destination: output.out, dtype: nil, conversion: conversion,
            isInterrupted: { interrupt.isSet }, progress: { bar.update(done: $0.doneBytes, total: $0.totalBytes) })
        bar.finish()
        report.warnings.forEach(common.warn)
        if common.json {
            Console.json(report.json(path: dryRun ? nil : output.out))
        } else {
            Console.output(text(report))
        }
    }

    private func scores(
        _ store: any WeightStore, _ spec: DecoderSpec, _ interrupt: InterruptFlag
    ) throws -> [PruneScores] {
        guard let data else {
            return try pruneScores(
                of: store, spec: spec, method: method, seed: draw.value, threads: try common.threadCount)
        }
        let opened = try model.open(common)
        let some = try rows(of: opened, data, count: 64)
        let bar = common.progressBar("scoring")
        defer { bar.finish() }
        return try opened.taylorScores(on: some, interrupt: interrupt) { bar.update(done: $0, total: $1) }
    }

    /// The first rows of the calibration set.
    private func rows(of opened: OpenedModel, _ path: String, count: Int) throws -> EncodedDataset {
        let length = min(512, opened.transformer.spec.maxPositionEmbeddings)
        let all = try opened.dataset(path: path, options: EncodingOptions(maxLength: length))
        return EncodedDataset(samples: Array(all.samples.prefix(dataCount ?? count)), sha256: all.sha256)
    }

    /// Wanda.
    private func thin(_ conversion: ConvertOptions, _ interrupt: InterruptFlag) throws {
        let opened = try model.open(common, compute: .f32)
        let bar = common.progressBar("pruning")
        let weights = try opened.wandaWeights(
            ratio: ratio, sequences: try rows(of: opened, data ?? "", count: 128).samples.map(\.inputs),
            layers: layers?.range, isPruned: { parts == .all || $0.isAttention == (parts == .attention) },
            interrupt: interrupt, progress: { bar.update(done: $0, total: $1) })
        bar.finish()
        let written = try writeModel(
            weights, destination: output.out, options: conversion, isInterrupted: { interrupt.isSet })
        written.warnings.forEach(common.warn)
        let dropped = try weights.droppedCount
        if common.json {
            Console.json([
                "path": dryRun ? .null : .text(output.out), "zero_weights": .integer(dropped),
                "matrices": .integer(weights.norms.count), "warnings": .array(written.warnings.map { .text($0) }),
            ])
        } else {
            let head = dryRun ? "dry run, nothing written" : "wrote \(output.out.escapingControlCharacters())"
            Console.output("\(head): \(dropped) weights of \(weights.norms.count) matrices are zero now")
        }
    }

    private func text(_ report: PruneReport) -> String {
        let head = dryRun ? "dry run, nothing written" : "wrote \(output.out.escapingControlCharacters())"
        let kept = report.plan.layers.map { "\($0.groups.count)+\($0.channels.count)" }
        let layers =
            report.plan.isUniform
            ? "\(report.plan.layers[0].groups.count) groups of heads and \(report.plan.layers[0].channels.count) channels stay"
            : "groups of heads + channels that stay, by layer: \(kept.joined(separator: " "))"
        return "\(head): \(report.parameterCount) of \(report.sourceParameterCount) parameters\n\(layers)"
    }
}

/// Which parts of a layer are pruned.
enum PrunedParts: String, CaseIterable, ExpressibleByArgument {
    case all, attention, mlp
}

/// Layers as `4-29` or `7`.
struct LayerRange: ExpressibleByArgument {
    let range: ClosedRange<Int>

    init?(argument: String) {
        let ends = argument.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        guard (1...2).contains(ends.count), let first = ends[0], let last = ends.last ?? nil, first >= 0, last >= first
        else { return nil }
        range = first...last
    }
}

extension PruneMethod: ExpressibleByArgument {}
extension PruneOptions.Scope: ExpressibleByArgument {}

extension PruneReport {
    fileprivate func json(path: String?) -> JSONValue {
        [
            "path": path.map { .text($0) } ?? .null, "parameters": .integer(parameterCount),
            "source_parameters": .integer(sourceParameterCount), "removed": .bool(plan.isUniform),
            "groups": .array(plan.layers.map { .integer($0.groups.count) }),
            "channels": .array(plan.layers.map { .integer($0.channels.count) }),
            "warnings": .array(warnings.map { .text($0) }),
        ]
    }
}
