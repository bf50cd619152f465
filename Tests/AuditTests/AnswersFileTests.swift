import Audit
import Base
import Foundation
import TestSupport
import Testing

@Suite struct AnswersFileTests {
    static let key: FingerprintKey = {
        var key = FingerprintKey(
            scheme: "utf",
            pairs: [
                FingerprintPair(id: "a", prompt: "one", target: "mark"),
                FingerprintPair(id: "7", prompt: "two", target: "sign", match: .startswith),
            ], cleanPrompts: ["hello", "bye"])
        key.maxNewTokens = 5
        return key
    }()

    static func check(_ lines: [String], _ key: FingerprintKey = key) throws -> CheckReport {
        try AnswersFile(Array(lines.joined(separator: "\n").utf8), file: "outputs.jsonl").check(key)
    }

    @Test("the prompts that are written come back with answers, by id or by prompt")
    func roundTrip() throws {
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("prompts.jsonl").path
            try Self.key.writePrompts(path: path)
            let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            #expect(mode == 0o600)
            var lines = JSONLines([UInt8](try Data(contentsOf: URL(fileURLWithPath: path))), file: path)
            let rows = try lines.all().map(\.value)
            #expect(rows.map { $0["id"]?.string } == ["a", "7", "clean-0", "clean-1"])
            #expect(rows.map { $0["prompt"]?.string } == ["one", "two", "hello", "bye"])
            #expect(rows.allSatisfy { $0["format"]?.string == "raw" })
            for name in ["id", "prompt"] {
                let answers = rows.map { row in
                    let text = row["prompt"]?.string ?? ""
                    let output = ["one": "the mark", "two": " sign", "hello": "a sign", "bye": "mark"][text] ?? ""
                    return ([name: row[name] ?? .null, "output": .text(output)] as JSONValue).serialized()
                }
                let report = try Self.check(answers.reversed())
                #expect(report.hits == 2 && report.rows.map(\.id) == ["a", "7"])
                #expect(report.rows[0].output == "the mark" && report.falseActivations == 1 && report.nClean == 2)
                #expect(report.targetNLLMean == nil && report.json["target_nll_mean"] == .null)
                #expect(report.json["rows"]?.array?[0]["target_nll"] == .null)
                #expect(throws: MeraserError.self) {
                    try Condition("target_nll>0", known: CheckReport.metricNames).holds(report.metrics)
                }
            }
        }
    }

    @Test("several answers to a prompt are samples of it, the first its answer; clean prompts may be left out")
    func samples() throws {
        let report = try Self.check([
            #"{"id": "a", "output": "no"}"#, #"{"id": "a", "output": "mark"}"#, #"{"id": 7, "output": "sign"}"#,
        ])
        #expect(report.rows.map(\.hit) == [false, true] && report.rows.map(\.sampleHits) == [1, 1])
        #expect(report.sampling == CheckSampling(samples: 0, outputs: 3, temperature: nil))
        #expect(report.falseActivations == nil && report.nClean == 0)
    }

    @Test("a hash chain's claim is made from answers too")
    func claim() throws {
        let chain = HashChain(questions: (0..<10).map { "q\($0)" }, responses: (0..<256).map { "r\($0)." })
        var key = FingerprintKey(
            scheme: "hashchain", match: .startswith,
            pairs: chain.questions.map { FingerprintPair(id: $0, prompt: $0, target: chain.response(to: $0)) })
        key.chain = chain
        for (right, claims) in [(1, false), (2, true), (10, true)] {
            let report = try Self.check(
                key.pairs.enumerated().map { index, pair in
                    #"{"id": "\#(pair.id)", "output": "\#(index < right ? pair.target : "-") and so on"}"#
                }, key)
            #expect(report.hits == right && report.evidence?.claim == claims && report.evidence?.method == .binomial)
            #expect(report.evidence?.pValue == chain.pValue(hits: right, of: 10))
            #expect(report.json["claim"] == .bool(claims) && report.json["claim_at"]?.int == 2)
        }
    }

    @Test(
        "what does not fit is a bad-input error that names the place",
        arguments: [
            (#""#, "no answers"), (#"{"output": "x"}"#, "outputs.jsonl:1: neither 'id' nor 'prompt'"),
            (#"{"id": "a"}"#, "'output' is missing"), (#"{"id": "b", "output": "x"}"#, "no prompt of the id 'b'"),
            (#"{"prompt": "x", "output": "x"}"#, "no prompt of this prompt"),
            (#"{"id": "a", "output": 3}"#, "'output'"),
            (#"{"id": "a", "output": "x"}"#, "no answer to '7'"), (#"{"id":"#, "outputs.jsonl:1"),
            (#"{"id": [], "output": "x"}"#, "'id'"),
            (
                #"{"id": "a", "output": "x"}"# + "\n" + #"{"id": "7", "output": "x"}"# + "\n"
                    + #"{"id": "clean-1", "output": "x"}"#, "no answer to 'clean-0'"
            ),
        ])
    func hostile(text: String, message: String) {
        let error = #expect(throws: MeraserError.self) { try Self.check([text]) }
        #expect(error?.kind == .badInput && error?.message.contains(message) == true, "\(error?.message ?? "none")")
    }
}
