import ArgumentParser
import Base
import Kernels
import Pipeline
import Tune

struct Run: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a recipe: check, erase, check, recover, check, report.",
        discussion: """
            A run that was interrupted continues where it stopped when the same command is given again.
            Example: meraser run Examples/recipes/demo.yml --out demo-run
            """)

    @Argument(
        help: "The recipe, YAML; docs/reference/recipes.md describes it.",
        completion: .file(extensions: ["yml", "yaml"]))
    var recipe: String

    @Option(
        name: .shortAndLong, help: "The folder of the run.", completion: .directory,
        transform: withoutTrailingSlashes)
    var out: String

    @Flag(help: "Begin anew if there is a run in --out.")
    var overwrite = false

    @Flag(help: "Keep the recipe, triggers, targets and outputs out of records and report.")
    var redact = false

    @OptionGroup var fail: FailIfOption
    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    var outputs: [Output] { [Output(out, makesParents: true)] }

    func inputs() throws -> [String] { try Recipe(path: recipe, seed: draw.seed).inputs }

    func run() throws {
        let condition = try fail.condition()
        let report = try RunDisplay(common).run(
            recipe: try Recipe(path: recipe, seed: draw.seed), output: out, overwrite: overwrite, redact: redact)
        try RunDisplay(common).conclude(report, failIf: condition)
    }
}
