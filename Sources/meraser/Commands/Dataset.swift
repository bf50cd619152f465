import ArgumentParser
import Base
import Pipeline

struct Dataset: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make, clean, split and measure datasets.",
        subcommands: [Mismatch.self, Clean.self, Split.self, Stats.self])
}

extension Dataset {
    struct Mismatch: WritingCommand {
        static let configuration = CommandConfiguration(
            abstract: "Cross questions with answers to questions of another type, as MEraser's erasing pairs.",
            discussion: """
                Types are what, how, why and other, by English and Chinese words.
                Example: meraser dataset mismatch Examples/data/erase_source.json --count 300 --out mismatched.json
                """)

        @Argument(
            help: "Matching pairs, rows of any shape that has a question and an answer (docs/reference/text.md).",
            completion: .file())
        var source: String

        @Option(help: "Pairs to make (default: as many as the source has).")
        var count: Int?

        @Option(
            help: "Leave out rows whose question or answer is in this dataset: the clean set of the recovery.",
            completion: .file())
        var exclude: String?

        @OptionGroup var columns: ColumnOptions
        @OptionGroup(title: "Output") var output: DatasetOutput
        @OptionGroup var draw: SeedOption
        @OptionGroup var common: CommonOptions

        func validate() throws {
            if let count, !(1...1_000_000).contains(count) { throw ValidationError("--count must be 1 to 1000000") }
        }

        var outputs: [Output] { [Output(output.out)] }

        func inputs() throws -> [String] { [source, exclude].compactMap { $0 } }

        func run() throws {
            let made = try writeMismatchedPairs(
                source: source, removing: columns.names, exclude: exclude, count: count, seed: draw.value,
                output: output.out,
                overwrite: output.overwrite)
            if common.json {
                Console.json(
                    ["path": .text(output.out), "pairs": .integer(made.pairs), "excluded": .integer(made.excluded)])
            } else {
                let excluded = exclude == nil ? "" : "; \(made.excluded) rows of the source left out"
                Console.output(
                    "wrote \(output.out.escapingControlCharacters()): \(made.pairs) mismatched pairs\(excluded)")
            }
        }
    }
}
