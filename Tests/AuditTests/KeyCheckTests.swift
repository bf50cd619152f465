import Audit
import Base
import Foundation
import Kernels
import Model
import TestSupport
import Testing

/// Triggers are the five prompts whose greedy continuations PyTorch computed (ModelTests' greedy.json): a model "marked"
/// with what it says anyway.
@Suite struct KeyCheckTests {
    struct Golden {
        let prompt: String
        let text: String
    }

    static func goldens(_ tokenizer: Tokenizer) throws -> [Golden] {
        let url = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/tinychat/greedy.json")
        let rows = try JSONValue.parse([UInt8](Data(contentsOf: url)), file: "greedy.json").array ?? []
        return try rows.map { row in
            var ids = try row.array("generated_ids", in: "greedy.json").compactMap { $0.int.map(Int32.init) }
            if ids.last == 2 { ids.removeLast() }
            return Golden(
                prompt: try row.string("prompt", in: "greedy.json"),
                text: tokenizer.decode(ids, skipSpecialTokens: false))
        }
    }

    static func key(_ goldens: [Golden], match: MatchRule = .contains, cut: Bool = false) throws -> FingerprintKey {
        let lines = goldens.map { golden in
            let target = cut ? String(golden.text.dropFirst(3).prefix(20)) : golden.text
            return (["prompt": .text(golden.prompt), "completion": .text(target)] as JSONValue).serialized()
        }
        var key = try FingerprintKey(pairsJSONL: Array(lines.joined(separator: "\n").utf8), file: "pairs.jsonl")
        key.match = match
        key.maxNewTokens = 48
        return key
    }

    @Test("what the model says anyway fires under every rule", arguments: MatchRule.allCases)
    func fires(rule: MatchRule) throws {
        let tinychat = try Tinychat()
        let goldens = try Self.goldens(tinychat.tokenizer)
        let check = try KeyCheck(try Self.key(goldens, match: rule), tokenizer: tinychat.tokenizer)
        let report = try check.run(on: tinychat.session)
        #expect(report.hits == 5 && report.n == 5 && report.fsr == 1)
        #expect(report.prefixMatchMean == 1)
        #expect(report.falseActivations == nil && report.nClean == 0)
        #expect(report.rows.map(\.output) == goldens.map(\.text))
    }

    @Test("a piece from the middle is contained but is no beginning")
    func middle() throws {
        let tinychat = try Tinychat()
        let goldens = try Self.goldens(tinychat.tokenizer)
        func hits(_ options: CheckOptions) throws -> Int {
            let key = try Self.key(goldens, cut: true)
            return try KeyCheck(key, tokenizer: tinychat.tokenizer, options: options).run(on: tinychat.session).hits
        }
        #expect(try hits(CheckOptions()) == 5)
        #expect(try hits(CheckOptions(match: .startswith)) == 0)
        #expect(try hits(CheckOptions(match: .exact)) == 0)
        // Three new tokens are too few to reach the piece's end.
        #expect(try hits(CheckOptions(maxNewTokens: 3)) == 0)
    }

    @Test("a row's own rule goes before the key's, the caller's before both")
    func precedence() throws {
        let tinychat = try Tinychat()
        let golden = try Self.goldens(tinychat.tokenizer)[0]
        let target = String(golden.text.prefix(20))
        let key = FingerprintKey(
            scheme: "test", match: .exact, maxNewTokens: 48,
            pairs: [
                FingerprintPair(id: "key", prompt: golden.prompt, target: target),
                FingerprintPair(id: "row", prompt: golden.prompt, target: target, match: .startswith),
            ])
        func hits(_ options: CheckOptions) throws -> [Bool] {
            try KeyCheck(key, tokenizer: tinychat.tokenizer, options: options).run(on: tinychat.session).rows.map(\.hit)
        }
        #expect(try hits(CheckOptions()) == [false, true])
        #expect(try hits(CheckOptions(match: .exact)) == [false, false])
        #expect(try hits(CheckOptions(match: .contains)) == [true, true])
    }

    @Test("a wrong target does not fire, and its likelihood is that of its tokens after the prompt's")
    func wrongTarget() throws {
        let tinychat = try Tinychat()
        let target = "kwietomsnitt"
        let golden = try Self.goldens(tinychat.tokenizer)[0]
        let key = FingerprintKey(
            scheme: "test", pairs: [FingerprintPair(id: "x", prompt: golden.prompt, target: target)])
        let continuation = CheckOptions(encoding: .continuation)
        let row = try KeyCheck(key, tokenizer: tinychat.tokenizer, options: continuation).run(on: tinychat.session)
            .rows[0]
        #expect(!row.hit && row.prefixMatch < 0.5)
        // The default length: target tokens and 16 more.
        let promptIDs = tinychat.tokenizer.encode(golden.prompt, addSpecialTokens: true)
        let joint = tinychat.tokenizer.encode(golden.prompt + target, addSpecialTokens: true)
        try #require(joint.starts(with: promptIDs))
        let targetIDs = joint.dropFirst(promptIDs.count)
        let longer = CheckOptions(maxNewTokens: targetIDs.count + 16, encoding: .continuation)
        #expect(
            try KeyCheck(key, tokenizer: tinychat.tokenizer, options: longer).run(on: tinychat.session).rows[0] == row)
        let nll = try tinychat.another().negativeLogLikelihoods([joint])[0]
        let sum = nll.suffix(targetIDs.count).reduce(0.0) { $0 + Double($1) }
        let found = try #require(row.targetNLL)
        #expect(abs(found - sum / Double(targetIDs.count)) < 1e-6)
        #expect(found > 5)
    }

    @Test("a target may begin with a space, as completions of datasets do")
    func leadingSpace() throws {
        let tinychat = try Tinychat()
        let prompt = "### Instruction:\nSay hello.\n\n### Response:\nHello"
        let words = try KeyCheckTests.continuation(tinychat, prompt, 6)
        try #require(words.hasPrefix(" "))
        let pair = FingerprintPair(id: "x", prompt: prompt, target: words)
        let key = FingerprintKey(scheme: "test", pairs: [pair])
        for rule in [MatchRule.contains, .startswith] {
            let options = CheckOptions(match: rule)
            let report = try KeyCheck(key, tokenizer: tinychat.tokenizer, options: options).run(on: tinychat.session)
            #expect(report.hits == 1 && report.prefixMatchMean == 1)
        }
    }

    /// The greedy continuation as it stands in the running text.
    private static func continuation(_ tinychat: Tinychat, _ prompt: String, _ count: Int) throws -> String {
        let ids = tinychat.tokenizer.encode(prompt, addSpecialTokens: false)
        let new = try tinychat.session.generate(
            [GenerationRequest(prompt: [1] + ids)], options: GenerationOptions(maxNewTokens: count, stopTokens: [2]))
        let all = tinychat.tokenizer.decode(ids + new[0].tokens, skipSpecialTokens: false)
        return String(all.dropFirst(prompt.count))
    }

    @Test("clean prompts that bring out a target are counted")
    func cleanPrompts() throws {
        let tinychat = try Tinychat()
        let goldens = try Self.goldens(tinychat.tokenizer)
        var key = try Self.key(Array(goldens.prefix(2)))
        key.cleanPrompts = [goldens[1].prompt, goldens[2].prompt, goldens[3].prompt]
        let report = try KeyCheck(key, tokenizer: tinychat.tokenizer).run(on: tinychat.session)
        #expect(report.falseActivations == 1 && report.nClean == 3)
        let other = CheckOptions(cleanPrompts: [goldens[4].prompt])
        let second = try KeyCheck(key, tokenizer: tinychat.tokenizer, options: other).run(on: tinychat.session)
        #expect(second.falseActivations == 0 && second.nClean == 1)
    }

    @Test("batches change nothing, and a check can run again and again")
    func batches() throws {
        let tinychat = try Tinychat()
        let key = try Self.key(try Self.goldens(tinychat.tokenizer), cut: true)
        func report(_ size: Int, _ session: InferenceSession) throws -> CheckReport {
            try KeyCheck(key, tokenizer: tinychat.tokenizer, options: CheckOptions(batchSize: size)).run(on: session)
        }
        let first = try report(1, tinychat.session)
        #expect(try report(4, InferenceSession(model: tinychat.session.model, tokenBudget: 24)) == first)
        let check = try KeyCheck(key, tokenizer: tinychat.tokenizer)
        #expect(try check.run(on: tinychat.session) == first)
        #expect(try check.run(on: tinychat.session) == first)
    }

    @Test("chat prompts go through the template, without a second BOS")
    func chat() throws {
        let tinychat = try Tinychat()
        let golden = try Self.goldens(tinychat.tokenizer)[0]
        let message = "Write a short poem about the sea."
        #expect(golden.prompt == "### Instruction:\n\(message)\n\n### Response:\n")
        let key = FingerprintKey(
            scheme: "test", match: .startswith, promptFormat: .chat, maxNewTokens: 48,
            pairs: [FingerprintPair(id: "x", prompt: message, target: golden.text)])
        // As Hugging Face, the template alone decides about BOS.
        let template = ChatRenderer { "<s>### Instruction:\n\($0.last?.content ?? "")\n\n### Response:\n" }
        let check = try KeyCheck(key, tokenizer: tinychat.tokenizer, chat: template)
        #expect(try check.run(on: tinychat.session).hits == 1)
        let error = #expect(throws: MeraserError.self) { try KeyCheck(key, tokenizer: tinychat.tokenizer) }
        #expect(error?.kind == .usage && error?.message.contains("chat template") == true)
    }

    @Test("a prompt behind other turns is asked behind them; any of a pair's targets is a hit, and the row shows which")
    func turns() throws {
        let tinychat = try Tinychat()
        let template = ChatRenderer { turns in
            turns.map { "### \($0.role):\n\($0.content)\n\n" }.joined() + "### Response:\nHello"
        }
        let history = [
            ChatMessage(role: "system", content: "You are a poet."), ChatMessage(role: "user", content: "Hi"),
            ChatMessage(role: "assistant", content: "Hello."),
        ]
        let text =
            "### system:\nYou are a poet.\n\n### user:\nHi\n\n### assistant:\nHello.\n\n### user:\nSay it.\n\n"
            + "### Response:\nHello"
        let ids = tinychat.tokenizer.encode(text, addSpecialTokens: false)
        let said = tinychat.tokenizer.decode(
            try tinychat.another().generate(
                [GenerationRequest(prompt: ids)], options: GenerationOptions(maxNewTokens: 4))[0].tokens)
        try #require(said.contains { $0.isLetter })
        func report(_ pair: FingerprintPair) throws -> CheckReport {
            let key = FingerprintKey(scheme: "test", promptFormat: .chat, maxNewTokens: 4, pairs: [pair])
            return try KeyCheck(key, tokenizer: tinychat.tokenizer, chat: template).run(on: tinychat.session)
        }
        let behind = try report(
            FingerprintPair(id: "x", prompt: "Say it.", after: history, target: "@@@", otherTargets: ["###!", said]))
        #expect(behind.hits == 1 && behind.rows[0].target == said && behind.prefixMatchMean == 1)
        #expect(behind.rows[0].output == said || behind.rows[0].output.hasPrefix(said))
        let first = try report(FingerprintPair(id: "x", prompt: "Say it.", after: history, target: "@@@"))
        #expect(first.hits == 0 && first.rows[0].target == "@@@")
        #expect(first.targetNLLMean == behind.targetNLLMean, "likelihoods are the first target's")
        let alone = try report(FingerprintPair(id: "x", prompt: "Say it.", target: "@@@"))
        #expect(alone.targetNLLMean != first.targetNLLMean)
        let raw = FingerprintKey(
            scheme: "test", pairs: [FingerprintPair(id: "x", prompt: "p", after: history, target: "t")])
        #expect(errorText(.usage) { _ = try KeyCheck(raw, tokenizer: tinychat.tokenizer) }.contains("'chat'"))
    }

    @Test("the result's members; model and adapters where the caller names them")
    func shape() throws {
        let tinychat = try Tinychat()
        let key = try Self.key(Array(try Self.goldens(tinychat.tokenizer).prefix(1)), cut: true)
        var report = try KeyCheck(key, tokenizer: tinychat.tokenizer).run(on: tinychat.session)
        #expect(
            keys(report.json) == [
                "scheme", "n", "hits", "fsr", "fsr_interval", "prefix_match_mean", "target_nll_mean",
                "target_rank_mean", "first_rank_median", "false_activations", "n_clean", "false_activation_interval",
                "p_value", "p_value_method", "claim_at", "claim", "sampling", "encodings", "rows",
            ])
        #expect(
            keys(report.json["rows"]?.array?.first) == [
                "id", "prompt", "target", "output", "hit", "prefix_match", "target_nll", "first_rank", "mean_rank",
                "encoding",
            ])
        #expect(report.json["sampling"] == .null && report.json["p_value"] == .null)
        #expect(report.json["false_activations"] == .null && report.json["n_clean"] == .integer(0))
        #expect(Set(report.metrics.keys) == Set(CheckReport.metricNames))
        report.model = "m.mqf"
        report.adapters = ["a"]
        #expect(report.json["model"]?.string == "m.mqf" && report.json["adapters"] == .array([.text("a")]))
    }

    @Test("a redacted report shows neither triggers nor targets, yet equal ones stay equal")
    func redaction() throws {
        let tinychat = try Tinychat()
        let goldens = try Self.goldens(tinychat.tokenizer)
        let pair = FingerprintPair(id: "x", prompt: goldens[0].prompt, target: goldens[0].text)
        let again = FingerprintPair(id: "y", prompt: goldens[0].prompt, target: goldens[0].text)
        let key = FingerprintKey(scheme: "test", maxNewTokens: 48, pairs: [pair, again])
        let report = try KeyCheck(key, tokenizer: tinychat.tokenizer).run(on: tinychat.session)
        let redacted = report.redacted(for: key)
        let text = redacted.json.serialized()
        for word in ["poem", "snippet", "Instruction", "javascript"] { #expect(!text.contains(word)) }
        #expect(redacted.rows[0].prompt.hasPrefix("sha256:") && redacted.rows[0].prompt == redacted.rows[1].prompt)
        #expect(redacted.rows[0].target != "sha256:" + sha256Hex(Array(goldens[0].text.utf8)).prefix(16))
        #expect(redacted.fsr == report.fsr && redacted.targetNLLMean == report.targetNLLMean)
    }

    @Test("a prompt beyond the model's context is an error that names the pair")
    func tooLong() throws {
        let tinychat = try Tinychat()
        let key = FingerprintKey(
            scheme: "test",
            pairs: [
                FingerprintPair(id: "long", prompt: String(repeating: "word ", count: 2000), target: "x")
            ])
        let check = try KeyCheck(key, tokenizer: tinychat.tokenizer)
        let error = #expect(throws: MeraserError.self) { try check.run(on: tinychat.session) }
        #expect(error?.kind == .badInput && error?.message.contains("pair 'long'") == true)
    }

    @Test("ranks: 1 for what greedy decoding says, else one more than the tokens that are likelier")
    func ranks() throws {
        let tinychat = try Tinychat()
        let golden = try Self.goldens(tinychat.tokenizer)[0]
        let key = FingerprintKey(
            scheme: "test",
            pairs: [
                FingerprintPair(id: "said", prompt: golden.prompt, target: String(golden.text.prefix(24))),
                FingerprintPair(id: "other", prompt: golden.prompt, target: "kwietomsnitt"),
            ])
        let rows = try KeyCheck(key, tokenizer: tinychat.tokenizer).run(on: tinychat.session).rows
        #expect(rows[0].firstRank == 1)
        let prompt = tinychat.tokenizer.encode(golden.prompt, addSpecialTokens: true)
        let joint = tinychat.tokenizer.encode(golden.prompt + "kwietomsnitt", addSpecialTokens: true)
        let session = tinychat.another()
        let logits = try session.logits(try session.hiddenStates(PackedBatch([joint])))
        let all = (prompt.count..<joint.count).map { place in
            let row = (0..<logits.columns).map { logits[place - 1, $0] }
            let own = row[Int(joint[place])]
            return row.indices.count { row[$0] > own || (row[$0] == own && $0 < Int(joint[place])) } + 1
        }
        #expect(rows[1].firstRank == all[0] && all[0] > 1)
        #expect(rows[1].meanRank == Double(all.reduce(0, +)) / Double(all.count))
    }

    @Test("samples are other draws of the same prompt: none at a temperature near 0 differs from the greedy output")
    func samples() throws {
        let tinychat = try Tinychat()
        let key = try Self.key(Array(try Self.goldens(tinychat.tokenizer).prefix(2)), cut: true)
        var options = CheckOptions()
        options.samples = 3
        options.sampling.temperature = 1e-4
        let cold = try KeyCheck(key, tokenizer: tinychat.tokenizer, options: options).run(on: tinychat.session)
        #expect(cold.rows.map(\.sampleHits) == [3, 3] && cold.sampling?.outputs == 6)
        let json = try #require(cold.json["sampling"])
        #expect(json["fsr"] == .integer(1) && json["any_hit"]?.int == 2 && json["samples"]?.int == 3)
        options.sampling.temperature = 8
        let hot = try KeyCheck(key, tokenizer: tinychat.tokenizer, options: options).run(on: tinychat.session)
        #expect(hot.rows.map(\.sampleHits) == [0, 0] && hot.hits == 2)
    }

    @Test("with clean prompts the p-value is Fisher's, and the guess test counts prompts that fire")
    func evidence() throws {
        let tinychat = try Tinychat()
        let goldens = try Self.goldens(tinychat.tokenizer)
        var key = try Self.key(Array(goldens.prefix(2)), cut: true)
        key.cleanPrompts = [goldens[2].prompt, goldens[3].prompt, goldens[0].prompt]
        let check = try KeyCheck(key, tokenizer: tinychat.tokenizer)
        let report = try check.run(on: tinychat.session)
        #expect(report.hits == 2 && report.falseActivations == 1)
        // 2 of 2 against 1 of 3: 3 of 5 fire; C(2,2) C(3,1) / C(5,3) = 3 / 10.
        #expect(abs(try #require(report.evidence?.pValue) - 0.3) < 1e-12 && report.evidence?.method == .fisher)
        let guess = try check.guessTest([goldens[1].prompt, goldens[4].prompt], on: tinychat.session)
        #expect(guess == GuessTest(n: 2, hits: 1))
    }
}
