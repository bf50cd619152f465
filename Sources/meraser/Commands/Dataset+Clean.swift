import ArgumentParser
import Base
import Pipeline
import Tune

extension Dataset {
    struct Clean: WritingCommand {
        static let configuration = CommandConfiguration(
            abstract: "Bring rows of any shape into MEraser's clean shape: id, question, answer; every question once.",
            discussion: """
                Rows without a question and an answer, empty ones, ones of the wrong length and duplicates go: those that \
                are the same to the letter, and those whose question is the same but for case, blanks, punctuation around \
                it and Unicode form. Of conversations and written dialogues the first exchange counts.
                Example: meraser dataset clean chats.jsonl --max-answer 2000 --out clean.json
                """)

        @Argument(
            help: "A dataset of any shape (docs/reference/text.md).",
            completion: .file())
        var source: String

        @Option(help: "Fewest characters of a question.")
        var minQuestion = 1

        @Option(help: "Most characters of a question (default: any number).")
        var maxQuestion: Int?

        @Option(help: "Fewest characters of an answer.")
        var minAnswer = 1

        @Option(help: "Most characters of an answer (default: any number).")
        var maxAnswer: Int?

        @OptionGroup var columns: ColumnOptions
        @OptionGroup(title: "Output") var output: DatasetOutput
        @OptionGroup var common: CommonOptions

        func validate() throws {
            for (name, low, high) in [("question", minQuestion, maxQuestion), ("answer", minAnswer, maxAnswer)]
            where low < 1 || low > high ?? .max {
                throw ValidationError("--min-\(name) \(low): expected 1 to --max-\(name)")
            }
        }

        var outputs: [Output] { [Output(output.out)] }

        func inputs() throws -> [String] { [source] }

        func run() throws {
            let cleaned = try CleanedDataset(
                path: source, removing: columns.names,
                options: CleaningOptions(
                    questionLength: minQuestion...(maxQuestion ?? .max),
                    answerLength: minAnswer...(maxAnswer ?? .max)))
            try writeRows(cleaned.json, to: output.out, overwrite: output.overwrite)
            if common.json {
                let members = cleaned.summary.object?.members.map { (key: $0.key.string, value: $0.value) } ?? []
                Console.json(.object(JSONObject([("path", .text(output.out))] + members)))
            } else {
                Console.output(
                    "wrote \(output.out.escapingControlCharacters()): \(cleaned.pairs.count) of \(cleaned.rows) rows\n"
                        + "left out: \(cleaned.incomplete) without question and answer, \(cleaned.empty) empty, "
                        + "\(cleaned.wrongLength) of the wrong length, \(cleaned.exactDuplicates) exact duplicates, "
                        + "\(cleaned.questionDuplicates) with a question of another row")
            }
        }
    }
}
