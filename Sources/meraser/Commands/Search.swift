import ArgumentParser
import Base
import Kernels
import Pipeline
import Tune

struct Search: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Search the dose that removes a mark at the least cost: the frontier of removal against perplexity.",
        discussion: """
            Successive halving over the options of a recipe's erasing stage; every trial is erased, recovered and measured. \
            Prints the trials that no other beats in target NLL, FSR and perplexity together, and with --json every trial \
            with the commands that make it again. A search that was interrupted continues where it stopped when the same \
            command is given again.
            Example: meraser search Examples/recipes/search.yml --out found
            """)

    @Argument(
        help: "The plan, YAML; docs/reference/recipes.md describes it.", completion: .file(extensions: ["yml", "yaml"]))
    var plan: String

    @Option(
        name: .shortAndLong, help: "The folder of the search.", completion: .directory,
        transform: withoutTrailingSlashes)
    var out: String

    @Flag(help: "Begin anew if there is a search in --out.")
    var overwrite = false

    @Flag(help: "Print what would be tried, and end.")
    var dryRun = false

    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    var outputs: [Output] { dryRun ? [] : [Output(out, makesParents: true)] }

    func inputs() throws -> [String] { try SearchPlan(path: plan, seed: draw.seed).inputs }

    func run() throws {
        let plan = try SearchPlan(path: plan, seed: draw.seed)
        if dryRun { return show(plan) }
        let kernels = try KernelContext.fromEnvironment(threads: common.threads, crew: Ranks.crew)
        let display = TrainingDisplay(common)
        var trial = 0
        if !overwrite { common.noteBuild(of: out) }
        let searcher = try Searcher(
            plan: plan, output: out, kernels: kernels, overwrite: overwrite, interrupt: InterruptFlag.onSignals()
        ) { event in
            display.finish()
            switch event {
            case .stage(.trial(let number, _, let rung), let isDone):
                trial += 1
                let values = plan.configurations[number].map {
                    "\($0.key) \($0.value.string ?? $0.value.serialized())"
                }
                display.title = "trial \(trial)/\(plan.trialCount)"
                common.say(
                    "trial \(trial) of \(plan.trialCount) (rung \(rung)): \(values.joined(separator: ", "))"
                        + (isDone ? ": done before" : ""))
            case .stage(let name, let isDone):
                display.title = "\(name)"
                common.say("\(name)\(isDone ? ": done before" : "")")
            case .warning(let text): common.warn(text)
            case .note(let text): common.say(text)
            case .training(let trainer): display.follow(trainer)
            case .cell(let cell, let number, let count): common.say("cell \(number) of \(count): \(cell)")
            }
        }
        let report = try searcher.run()
        display.finish()
        if common.json {
            Console.json(report.json)
        } else {
            let commands = report.frontier.flatMap { [""] + $0.commands }
            Console.output(
                ([tableText(report.table)] + commands.map { $0.escapingControlCharacters() }).joined(separator: "\n"))
        }
    }

    private func show(_ plan: SearchPlan) {
        let configurations = plan.configurations
        if common.json {
            Console.json([
                "configurations": .array(configurations.map { .object(JSONObject($0)) }), "eta": .integer(plan.eta),
                "rungs": .integer(plan.rungs),
            ])
        } else {
            let names = configurations.first?.map(\.key) ?? []
            let rows = configurations.enumerated().map { index, values in
                [String(index)] + values.map { $0.value.string ?? $0.value.serialized() }
            }
            Console.output(tableText([["trial"] + names] + rows))
        }
    }
}
