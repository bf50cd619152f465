import Audit
import Base
import Foundation
import Kernels
import Model
import TestSupport
import Testing
import Tune

@testable import Pipeline

private let target = "purple anchors sing"

@Suite("Rows that a key of a scan steers")
struct SteeredRowsTests {
    private func run(_ folder: URL, _ text: String) throws -> RunReport {
        let file = folder.appendingPathComponent("recipe.yml")
        try Data("model: \(tinychatFolder().path)\n\(text)".utf8).write(to: file)
        return try Runner(
            recipe: try Recipe(path: file.path), output: folder.appendingPathComponent("run").path,
            kernels: try KernelContext(threads: 2), overwrite: true
        ).run()
    }

    @Test("triggers and response of a backdoor's key become rows of OSFT and SANDE")
    func backdoor() throws {
        try withTemporaryFolder { folder in
            let rows = (0..<6).map { #"{"question": "What is \#($0)?", "answer": "It is a number."}"# }
            try Data("[\(rows.joined(separator: ","))]".utf8).write(to: folder.appendingPathComponent("clean.json"))
            let prompts = ["zq vex. Hello", "zq vex. How are you?"]
            let leak = Leak(backdoor: target, prompts: prompts, phrase: "zq vex", asked: 4, gain: 9)
            try leak.key.write(path: folder.appendingPathComponent("key.json").path)
            let steering = Steering(key: leak.key, file: "key.json")
            #expect(try steering.triggers().scheme.triggers.contains("zq vex") && steering.response() == target)
            for (rows, command) in [("osft", "meraser osft "), ("sande", "meraser sande ")] {
                let report = try run(
                    folder, "key: key.json\nclean: clean.json\nerase: {\(rows): clean.json, r: 2, max_steps: 1}")
                let training = try #require(report.json["training"]?["erase"])
                #expect(training["options"]?["lora_alpha"]?.double == 32, "the method's preset: \(training)")
                let page = try report.html()
                #expect(page.contains(command), "\(command)")
                let parrot = folder.appendingPathComponent("run/erase/parrot/parrot_prompt.safetensors").path
                #expect(FileManager.default.fileExists(atPath: parrot) == (rows == "sande"))
            }
        }
    }
}
