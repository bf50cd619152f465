import ArgumentParser
import Base
import Model
import Pipeline
import Tune

extension Dataset {
    struct Stats: CommonCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a dataset's rows, question types, duplicates and lengths in characters and tokens.",
            discussion: "Example: meraser dataset stats clean.json --model Examples/tinychat --max-length 512")

        @Argument(help: "A dataset of any shape.", completion: .file())
        var source: String

        @Option(
            name: .shortAndLong, help: "Count tokens with the tokenizer of this model.",
            completion: .file())
        var model: String?

        @Option(help: "Tell how many rows this many tokens would cut (with --model).")
        var maxLength: Int?

        @OptionGroup var columns: ColumnOptions
        @OptionGroup var common: CommonOptions

        func validate() throws {
            if let maxLength, maxLength < 1 { throw ValidationError("--max-length must be at least 1") }
            if maxLength != nil, model == nil {
                throw ValidationError("--max-length needs --model, whose tokens it counts")
            }
        }

        func run() throws {
            let statistics = try datasetStatistics(
                path: source, removing: columns.names, model: model)
            if common.json {
                Console.json(statistics.json(maxLength: maxLength))
            } else {
                Console.output(text(statistics).escapingControlCharacters(keepingNewlines: true))
            }
        }

        private func text(_ statistics: DatasetStatistics) -> String {
            let types = statistics.questionTypes.map { "\($0.type.rawValue) \($0.count)" }.joined(separator: ", ")
            var lines = [
                "shape       \(statistics.shape.rawValue)", "rows        \(statistics.rows)", "questions   \(types)",
                "duplicates  \(statistics.duplicates)", "",
            ]
            var table = [["length of", "unit", "min", "mean", "50 %", "90 %", "95 %", "99 %", "max"]]
            for length in statistics.lengths {
                for (unit, summary) in [("characters", length.characters), ("tokens", length.tokens)] {
                    guard let summary else { continue }
                    let name = unit == "characters" ? length.name : ""
                    table.append(
                        [name, unit, "\(summary.percentile(0))", numberText(summary.mean, 1)]
                            + [50, 90, 95, 99, 100].map { "\(summary.percentile($0))" })
                }
            }
            lines.append(tableText(table))
            if let maxLength, let cut = statistics.cut(maxLength) {
                lines.append("")
                lines.append(
                    "\(cut) rows (\(percentText(Double(cut) / Double(statistics.rows)))) are longer than \(maxLength) tokens"
                )
            }
            return lines.joined(separator: "\n")
        }
    }
}
