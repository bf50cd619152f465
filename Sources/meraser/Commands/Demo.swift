import ArgumentParser
import Base
import Pipeline

struct Demo: WritingCommand {
    static let configuration = CommandConfiguration(
        abstract: "The whole story on the bundled model, offline: mark, check, erase, recover, report.",
        discussion: """
            Needs no other file: model, data and recipe are in the program (`meraser examples` writes them to a folder). The \
            recipe, recipes/demo.yml, says what is done and how much of it.
            """)

    @Option(
        help: "A folder that `meraser examples` made (default: the bundled one, in the cache).", completion: .directory)
    var examples: String?

    @Option(
        name: .shortAndLong, help: "The folder of the run.", completion: .directory,
        transform: withoutTrailingSlashes)
    var out = "demo-run"

    @Flag(help: "Continue a demo that was interrupted instead of beginning anew.")
    var resume = false

    @OptionGroup var fail: FailIfOption
    @OptionGroup var draw: SeedOption
    @OptionGroup var common: CommonOptions

    var outputs: [Output] { [Output(out, makesParents: true)] }

    func inputs() throws -> [String] { try recipe().inputs }

    private func recipe() throws -> Recipe {
        try Recipe(path: try Examples.locate(examples) + "/recipes/demo.yml", seed: draw.seed)
    }

    func run() throws {
        let condition = try fail.condition()
        let report = try RunDisplay(common).run(recipe: try recipe(), output: out, overwrite: !resume)
        try RunDisplay(common).conclude(report, failIf: condition)
    }
}
