import ArgumentParser
import Pipeline
import Quant

struct Dataset: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make datasets.", subcommands: [Mismatch.self])
}

extension Dataset {
    struct Mismatch: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Cross questions with answers to questions of another type, as MEraser's erasing pairs.",
            discussion:
                "Example: meraser dataset mismatch Examples/data/erase_source.json --count 300 --out mismatched.json")

        @Argument(help: "Matching pairs: question/answer, prompt/completion or alpaca rows.", completion: .file())
        var source: String

        @Option(help: "Pairs to make (default: as many as the source has).")
        var count: Int?

        @Option(help: "The .json file to make.", completion: .file(extensions: ["json"]))
        var out: String

        @Flag(help: "Replace --out if it exists.")
        var overwrite = false

        @OptionGroup var common: CommonOptions

        func validate() throws {
            if let count, !(1...1_000_000).contains(count) { throw ValidationError("--count must be 1 to 1000000") }
        }

        func run() throws {
            let pairs = try writeMismatchedPairs(
                source: source, count: count, seed: common.seed ?? 42, output: out, overwrite: overwrite)
            if common.json {
                Console.json(["path": .text(out), "pairs": .integer(pairs)])
            } else {
                Console.output("wrote \(out.escapingControlCharacters()): \(pairs) mismatched pairs")
            }
        }
    }
}
