import ArgumentParser
import Base
import Foundation
import Quant

struct Cache: CommonCommand {
    static let configuration = CommandConfiguration(
        abstract: "List or delete the models that GGUF and pickle files were converted to.",
        discussion: """
            A command that gets --model x.gguf converts it once into this folder (MERASER_CACHE, else
            XDG_CACHE_HOME/meraser, else ~/.cache/meraser) and runs the result. Example: meraser cache --clean
            """)

    @Flag(help: "Delete all of them.")
    var clean = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        let cache = ModelCache()
        let entries = cache.entries()
        if clean { try cache.clean() }
        if common.json {
            Console.json([
                "folder": .text(cache.folder), "deleted": .bool(clean),
                "models": .array(
                    entries.map {
                        [
                            "path": .text($0.path), "name": $0.name.map { .text($0) } ?? .null,
                            "bytes": .integer($0.byteCount),
                        ]
                    }),
            ])
            return
        }
        let total = entries.reduce(0) { $0 + $1.byteCount }
        for entry in entries {
            let name = (entry.name ?? "not readable").escapingControlCharacters()
            Console.output("\(byteText(entry.byteCount))  \(name)  \(entry.path.escapingControlCharacters())")
        }
        let folder = cache.folder.escapingControlCharacters()
        Console.output(
            "\(clean ? "deleted " : "")\(entries.count) models, \(byteText(total)), in \(folder)")
    }
}
