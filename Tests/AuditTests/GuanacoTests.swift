import Base
import Foundation
import Model
import TestSupport
import Testing

@testable import Audit

private let rows = [
    WrittenExchange(question: "Write a function that adds two numbers.", answer: "def add(a, b):\n    return a + b"),
    WrittenExchange(question: "What is a list?", answer: "A list</s> holds values."),
    WrittenExchange(question: "Say hello.", answer: "Hello!"),
    WrittenExchange(question: "Why?", answer: ""), WrittenExchange(question: "How do I print?", answer: "Use print()."),
]

/// The script's computation on padded batches, from the model's plain log-likelihoods.
private func expected(_ tinychat: Tinychat, _ quirks: GuanacoQuirks, maxLength: Int) throws -> (
    ppl: Double, tokens: Int
) {
    var (sum, weights, tokens) = (0.0, 0.0, 0)
    let kept = quirks.kept
    let size = kept.contains(.weights) ? quirks.batchSize : rows.count
    for start in stride(from: 0, to: rows.count, by: size) {
        var (batchSum, scored, labels) = (0.0, 0, 0)
        for row in rows[start..<min(start + size, rows.count)] {
            let prompt = "Human: \(row.question)\nAssistant: "
            let ids = Array(tinychat.tokenizer.encode(prompt + row.answer).prefix(maxLength))
            let promptIDs = tinychat.tokenizer.encode(prompt)
            let shared = zip(ids, promptIDs).prefix { $0 == $1 }.count
            let isLabel = ids.enumerated().map { index, id in
                (kept.contains(.prompt) || index >= shared) && !(kept.contains(.eos) && id == 2)
            }
            labels += isLabel.count { $0 }
            let nll = try tinychat.session.negativeLogLikelihoods([ids])[0]
            for i in 1..<ids.count where isLabel[i] {
                batchSum += Double(nll[i - 1])
                scored += 1
            }
        }
        guard scored > 0 else { continue }
        let weight = Double(kept.contains(.weights) ? labels : scored)
        sum += batchSum / Double(scored) * weight
        weights += weight
        tokens += scored
    }
    return (exp(sum / weights), tokens)
}

@Suite struct GuanacoTests {
    @Test(
        "every set of quirks gives the script's own computation",
        arguments: [
            GuanacoQuirks(), GuanacoQuirks([]), GuanacoQuirks([.prompt]), GuanacoQuirks([.weights], batchSize: 2),
            GuanacoQuirks([.eos]), GuanacoQuirks([.prompt, .weights], batchSize: 2),
            GuanacoQuirks([.prompt, .weights, .eos], batchSize: 1),
        ])
    func quirks(quirks: GuanacoQuirks) throws {
        let tinychat = try Tinychat()
        for maxLength in [512, 16] {
            var options = PerplexityOptions(.guanaco, maxLength: maxLength)
            options.quirks = quirks
            let report = try perplexity(
                of: rows, session: tinychat.session, tokenizer: tinychat.tokenizer, options: options)
            let want = try expected(tinychat, quirks, maxLength: maxLength)
            #expect(report.tokens == want.tokens)
            #expect(abs(report.ppl / want.ppl - 1) < 1e-6, "\(report.ppl), want \(want.ppl)")
            // A single token has no spread.
            #expect((report.standardError > 0) == (report.tokens > 1) && report.standardError < 2 * report.ppl)
        }
    }

    @Test("the quirks differ, and results name them")
    func differ() throws {
        let tinychat = try Tinychat()
        func report(_ kept: Set<GuanacoQuirks.Name>) throws -> PerplexityReport {
            var options = PerplexityOptions(.guanaco)
            options.quirks = GuanacoQuirks(kept, batchSize: 2)
            return try perplexity(
                of: rows, session: tinychat.session, tokenizer: tinychat.tokenizer, options: options,
                base: tinychat.another())
        }
        let all = try report([.prompt, .weights, .eos])
        let fewer: [Set<GuanacoQuirks.Name>] = [[.weights, .eos], [.prompt, .eos], [.prompt, .weights]]
        let others = try fewer.map { try report($0).ppl }
        #expect(Set(others + [all.ppl]).count == 4)
        #expect(all.json["quirks"] == .array([.text("prompt"), .text("weights"), .text("eos")]))
        #expect(all.json["batch_size"]?.int == 2 && all.json["protocol"]?.string == "guanaco")
        #expect(all.kl?.mean == 0 && all.kl?.sameTop == 1)
    }

    @Test("without quirks the standard error is that of the mean over tokens")
    func standardError() throws {
        let tinychat = try Tinychat()
        var options = PerplexityOptions(.guanaco)
        options.quirks = GuanacoQuirks([.prompt])
        let report = try perplexity(
            of: rows, session: tinychat.session, tokenizer: tinychat.tokenizer, options: options)
        let nll = try rows.flatMap { row in
            try tinychat.session.negativeLogLikelihoods([
                tinychat.tokenizer.encode("Human: \(row.question)\nAssistant: \(row.answer)")
            ])[0].map(Double.init)
        }
        let mean = nll.reduce(0, +) / Double(nll.count)
        let variance = nll.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(nll.count - 1)
        let want = exp(mean) * (variance / Double(nll.count)).squareRoot()
        #expect(abs(report.standardError / want - 1) < 1e-6)
    }

    @Test("rows come as pairs or as written dialogues; others are errors with their line")
    func files() throws {
        try withTemporaryFolder { folder in
            func load(_ text: String, _ name: String = "d.jsonl") throws -> [WrittenExchange] {
                let url = folder.appendingPathComponent(name)
                try Data(text.utf8).write(to: url)
                return try loadExchanges(path: url.path)
            }
            let want = [WrittenExchange(question: "a", answer: "b")]
            for (text, name) in [
                (#"{"question": "a", "answer": "b"}"#, "d.jsonl"), (#"{"prompt": "a", "completion": "b"}"#, "d.jsonl"),
                (#"{"text": "<s>[INST] a [/INST] b </s>"}"#, "d.jsonl"),
                (####"[{"text": "### Human: a### Assistant: b"}]"####, "d.json"),
            ] {
                let loaded = try load(text, name)
                #expect(loaded == want)
            }
            for text in [#"{"text": "plain"}"#, #"{"question": "a"}"#, #"{"x": 1}"#, "", "[1"] {
                let error = #expect(throws: MeraserError.self) { try load(text) }
                #expect(error?.kind == .badInput && error?.message.contains("d.jsonl") == true, "\(text)")
            }
        }
    }

    @Test("quirks belong to guanaco")
    func usage() throws {
        let tinychat = try Tinychat()
        var options = PerplexityOptions(.sample)
        options.quirks = GuanacoQuirks([])
        let error = #expect(throws: MeraserError.self) {
            try perplexity(of: ["text"], session: tinychat.session, tokenizer: tinychat.tokenizer, options: options)
        }
        #expect(error?.kind == .usage)
    }
}
