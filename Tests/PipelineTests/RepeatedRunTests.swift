import Base
import Foundation
import TestSupport
import Testing

@testable import Pipeline

@Suite("A run beside its report")
struct RepeatedRunTests {
    private func report(_ sample: SampleRun, in folder: URL, _ name: String) throws -> RunReport {
        let run = folder.appendingPathComponent(name)
        try sample.write(to: run)
        return try RunReport.rewrite(folder: run.path)
    }

    @Test("the same figures differ in nothing, whatever they took")
    func same() throws {
        try withTemporaryFolder { folder in
            let report = try report(SampleRun(), in: folder, "a")
            let recorded = try RepeatedRun(report: report.htmlPath.replacingOccurrences(of: ".html", with: ".json"))
            let (values, differences) = recorded.compared(with: report)
            #expect(values > 50 && differences.isEmpty, "\(values) values: \(differences)")
            #expect(recorded.file.hasSuffix("a/report.json"))
            #expect(try RepeatedRun(report: folder.appendingPathComponent("a").path).file == recorded.file)
        }
    }

    @Test("another figure is named with both values, and so is what only one of them has")
    func different() throws {
        try withTemporaryFolder { folder in
            var sample = SampleRun()
            _ = try report(sample, in: folder, "a")
            sample.stages[2].figures.hits = 1
            sample.erasing[1].loss = 3.5
            sample.stages.removeLast()
            let other = try report(sample, in: folder, "b")
            let recorded = try RepeatedRun(report: folder.appendingPathComponent("a").path)
            let lines = recorded.compared(with: other).differences.map(\.line)
            #expect(lines.contains("stages.erased.check.hits: '0' in the report, now '1'"), "\(lines)")
            #expect(lines.contains("training.erase.steps.1.loss: '3.25' in the report, now '3.5'"), "\(lines)")
            #expect(lines.contains { $0.hasPrefix("stages.recovered.") && $0.hasSuffix("now nothing") }, "\(lines)")
        }
    }

    @Test("a file that is no report is refused in one line")
    func refused() throws {
        try withTemporaryFolder { folder in
            for (text, wanted) in [
                ("{}", "run"), ("[", "report.json"),
                (#"{"run": {"recipe": "a", "model": "m", "isa": "x", "seed": -1}}"#, "'run.seed' is negative"),
            ] {
                let path = try write(Array(text.utf8), to: folder, "report.json")
                #expect(errorText { _ = try RepeatedRun(report: path) }.contains(wanted), "\(text)")
            }
        }
    }
}
