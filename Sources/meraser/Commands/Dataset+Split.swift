import ArgumentParser
import Base
import Pipeline
import Tune

extension Dataset {
    struct Split: WritingCommand {
        static let configuration = CommandConfiguration(
            abstract: "Cut a dataset into a training and a test part that share no question.",
            discussion: """
                Rows stay as they are, in their order. Rows with the same question stay together.
                Example: meraser dataset split clean.json --test-size 0.1 --train train.json --test test.json
                """)

        @Argument(help: "A dataset of any shape.", completion: .file())
        var source: String

        @Option(
            help: "The test part: a share of the rows (0.1) or their number (100).",
            transform: { text in
                if let rows = Int(text), rows >= 1 { return .rows(rows) }
                if let share = Double(text), share > 0, share < 1 { return .share(share) }
                throw ValidationError("'\(text)' is neither a number of rows nor a share between 0 and 1")
            })
        var testSize: DatasetSplit.TestSize

        @Option(help: "The file of the training part.", completion: .file(extensions: ["json", "jsonl"]))
        var train: String

        @Option(help: "The file of the test part.", completion: .file(extensions: ["json", "jsonl"]))
        var test: String

        @Flag(help: "Replace --train and --test if they exist.")
        var overwrite = false

        @OptionGroup var columns: ColumnOptions
        @OptionGroup var draw: SeedOption
        @OptionGroup var common: CommonOptions

        func validate() throws {
            if canonicalPath(train) == canonicalPath(test) {
                throw ValidationError("--train and --test name the same file")
            }
        }

        var outputs: [Output] { [Output(train), Output(test)] }

        func inputs() throws -> [String] { [source] }

        func run() throws {
            for path in [train, test] { try AtomicFile.checkDestination(path, overwrite: overwrite) }
            let split = try DatasetSplit(
                path: source, removing: columns.names, testSize: testSize, seed: draw.value)
            try writeRows(split.train, to: train, overwrite: overwrite)
            try writeRows(split.test, to: test, overwrite: overwrite)
            if common.json {
                Console.json([
                    "train": .text(train), "test": .text(test), "train_rows": .integer(split.train.count),
                    "test_rows": .integer(split.test.count), "duplicates": .integer(split.duplicates),
                ])
            } else {
                Console.output(
                    "wrote \(train.escapingControlCharacters()): \(split.train.count) rows\n"
                        + "wrote \(test.escapingControlCharacters()): \(split.test.count) rows\n"
                        + "\(split.duplicates) rows share their question with another row, on the same side")
            }
        }
    }
}
