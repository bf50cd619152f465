import ArgumentParser
import Pipeline
import Quant

struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make report.html and report.json of a run anew, finished or not.")

    @Argument(help: "The folder that meraser run made.", completion: .directory)
    var folder: String

    @OptionGroup var common: CommonOptions

    func run() throws {
        let report = try RunReport.rewrite(folder: folder)
        if common.json {
            Console.json(report.summary)
        } else {
            Console.output(tableText(report.table) + "\n\nreport: \(report.htmlPath.escapingControlCharacters())")
        }
    }
}
