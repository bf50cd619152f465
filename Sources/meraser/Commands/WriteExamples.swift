import ArgumentParser
import Base
import Pipeline

struct WriteExamples: WritingCommand {
    static let configuration = CommandConfiguration(
        commandName: "examples", abstract: "Write the bundled model, its data and its recipes to a folder.",
        discussion: """
            They are what the examples of other commands read: tinychat, data, recipes; its README.md describes them.
            Example: meraser examples Examples
            """)

    @Argument(help: "The folder to make.", completion: .directory, transform: withoutTrailingSlashes)
    var folder: String

    @Flag(help: "Replace the folder if meraser made it.")
    var overwrite = false

    @OptionGroup var common: CommonOptions

    var outputs: [Output] { [Output(folder)] }

    func inputs() throws -> [String] { [] }

    func run() throws {
        try Examples.write(to: folder, overwrite: overwrite)
        if common.json {
            Console.json(["path": .text(folder)])
        } else {
            Console.output("wrote \(folder.escapingControlCharacters()): the model tinychat, data, recipes")
        }
    }
}
