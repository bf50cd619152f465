import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

/// PyTorch's figures (shared/reference/README.md), whose own noise is 4e-7 relative, 4e-6 a row.
@Suite struct PerplexityTests {
    static let heldOut = fixtureURL("heldout.jsonl").path

    @Test("sample: perplexity and every row agree with Transformers")
    func sample() throws {
        let tinychat = try Tinychat()
        let golden = try #require(try fixture("perplexity.json")["sample"])
        let report = try perplexity(
            of: try loadTextRows(path: Self.heldOut), session: tinychat.session, tokenizer: tinychat.tokenizer,
            options: PerplexityOptions(.sample, maxLength: 512, keepRows: true))
        let ppl = try golden.double("ppl", in: "golden")
        #expect(abs(report.ppl / ppl - 1) < 1e-5, "\(report.ppl), want \(ppl)")
        #expect(report.tokens == golden["tokens"]?.int)
        let rows = try golden.array("rows", in: "golden")
        try #require(report.rows?.count == rows.count)
        for (got, want) in zip(report.rows ?? [], rows) {
            #expect(got.tokens == want["tokens"]?.int)
            let nll = try want.double("nll", in: "golden")
            #expect(abs(got.nll / nll - 1) < 2e-5, "\(got.nll), want \(nll)")
        }
        #expect(report.standardError > 0 && report.standardError < report.ppl / 10)
    }

    @Test(
        "strided: the Hugging Face protocol on WikiText-2 agrees with Transformers",
        .enabled(if: sharedFolder() != nil, "the developers' shared folder is not here"))
    func strided() throws {
        let tinychat = try Tinychat()
        let golden = try #require(try fixture("perplexity.json")["strided"])
        let file = try #require(sharedFolder()).appendingPathComponent("data/wikitext2-test.txt")
        // Python's characters are code points.
        var text = String.UnicodeScalarView()
        text.append(contentsOf: try loadTextRows(path: file.path)[0].unicodeScalars.prefix(60_000))
        let report = try perplexity(
            of: [String(text)], session: tinychat.session, tokenizer: tinychat.tokenizer,
            options: PerplexityOptions(.strided, maxLength: 512, stride: 256))
        let ppl = try golden.double("ppl", in: "golden")
        #expect(report.tokens == golden["tokens"]?.int)
        #expect(abs(report.ppl / ppl - 1) < 1e-5, "\(report.ppl), want \(ppl)")
    }

    @Test("chunk: llama.cpp's protocol gives 54 windows of 127 tokens and the figure of Transformers")
    func chunk() throws {
        let tinychat = try Tinychat()
        let report = try perplexity(
            of: try loadTextRows(path: Self.heldOut), session: tinychat.session, tokenizer: tinychat.tokenizer,
            options: PerplexityOptions(.chunk, maxLength: 256, keepRows: true))
        #expect(report.rows?.count == 54 && report.tokens == 54 * 127)
        // peers.json: f32_ppl 11.3695.
        #expect(abs(report.ppl - 11.3695) < 0.00005, "\(report.ppl)")
    }

    @Test("grouping sequences differently changes nothing")
    func grouping() throws {
        let texts = Array(try loadTextRows(path: Self.heldOut).prefix(12))
        let options = PerplexityOptions(.sample, maxLength: 100, keepRows: true)
        let reports = try [16, 300, 4096].map { budget in
            let tinychat = try Tinychat(tokenBudget: budget)
            return try perplexity(
                of: texts, session: tinychat.session, tokenizer: tinychat.tokenizer, options: options)
        }
        #expect(reports[0] == reports[1] && reports[1] == reports[2])
    }

    @Test("a model has no divergence from itself")
    func selfDivergence() throws {
        let tinychat = try Tinychat()
        let report = try perplexity(
            of: Array(try loadTextRows(path: Self.heldOut).prefix(4)), session: tinychat.session,
            tokenizer: tinychat.tokenizer, options: PerplexityOptions(.sample), base: tinychat.another())
        let kl = try #require(report.kl)
        #expect(kl.mean == 0 && kl.median == 0 && kl.p99 == 0 && kl.max == 0)
        #expect(kl.sameTop == 1 && kl.ratio == 1 && kl.basePPL == report.ppl)
    }

    @Test("a perturbed model has a divergence; it is that of a sum over the vocabulary in the test")
    func divergence() throws {
        let tinychat = try Tinychat()
        let model = tinychat.session.model.spec
        // B is zero in a new adapter: fill both factors with noise.
        let adapter = LoRAAdapter(config: LoRAConfig(r: 4, loraAlpha: 4, loraDropout: 0), for: model)
        var random = SeededRandom(seed: 3)
        for i in 0..<adapter.parameters.count { adapter.parameters[0, i] = random.gaussian() * 0.05 }
        let changed = InferenceSession(model: tinychat.session.model, adapters: AdapterStack(frozen: [adapter]))
        let text = "### Instruction:\nWrite a short poem about the sea.\n\n### Response:\nThe sea is blue."
        let report = try perplexity(
            of: [text], session: changed, tokenizer: tinychat.tokenizer, options: PerplexityOptions(.sample),
            base: tinychat.session)

        let ids = [1] + tinychat.tokenizer.encode(text, addSpecialTokens: false)
        func probabilities(_ session: InferenceSession) throws -> [[Double]] {
            let hidden = try session.hiddenStates(PackedBatch([ids]))
            var rows: [[Double]] = []
            try session.forEachLogits(of: hidden) { range, logits in
                for row in 0..<range.count {
                    let weights = logits.withRow(row) { $0.map { exp(Double($0)) } }
                    let sum = weights.reduce(0, +)
                    rows.append(weights.map { $0 / sum })
                }
            }
            return rows
        }
        let base = try probabilities(tinychat.session)
        let other = try probabilities(changed)
        let kls = (0..<ids.count - 1).map { t in
            zip(base[t], other[t]).reduce(0) { $0 + $1.0 * log($1.0 / $1.1) }
        }
        let nll = (0..<ids.count - 1).reduce(0) { $0 - log(base[$1][Int(ids[$1 + 1])]) }
        let kl = try #require(report.kl)
        let mean = kls.reduce(0, +) / Double(kls.count)
        #expect(mean > 1e-4)
        #expect(abs(kl.mean / mean - 1) < 1e-9, "\(kl.mean), want \(mean)")
        #expect(abs(kl.max / (kls.max() ?? 0) - 1) < 1e-9)
        #expect(abs(log(kl.basePPL) / (nll / Double(kls.count)) - 1) < 1e-6)
        #expect(kl.median <= kl.p99 && kl.p99 <= kl.max && kl.sameTop <= 1)
        #expect(kl.ratio == report.ppl / kl.basePPL)
    }

    @Test("the result's members, in order")
    func shape() throws {
        let tinychat = try Tinychat()
        func report(_ keepRows: Bool, _ base: InferenceSession?) throws -> JSONValue {
            try perplexity(
                of: ["some text"], session: tinychat.session, tokenizer: tinychat.tokenizer,
                options: PerplexityOptions(.sample, keepRows: keepRows), base: base
            ).json
        }
        let plain = ["ppl", "nll", "tokens", "protocol", "max_length", "stderr"]
        #expect(keys(try report(false, nil)) == plain)
        let full = try report(true, tinychat.another())
        #expect(keys(full) == plain + ["kl", "rows"])
        #expect(full["protocol"]?.string == "sample")
        #expect(
            keys(full["kl"]) == [
                "mean", "stderr", "median", "p99", "max", "same_top", "base_ppl", "ppl_ratio",
            ])
    }

    @Test("windows have 512 tokens where nothing is said, or the context of the model that has the shorter one")
    func standardLength() throws {
        let long = [String(repeating: "one two three ", count: 300)]
        let tinychat = try Tinychat()
        func length(_ session: InferenceSession, base: InferenceSession? = nil) throws -> (Int, Int) {
            let report = try perplexity(
                of: long, session: session, tokenizer: tinychat.tokenizer, options: PerplexityOptions(), base: base)
            return (report.maxLength, report.tokens)
        }
        #expect(try length(tinychat.session) == (512, 511))
        try withTemporaryFolder { folder in
            for name in try FileManager.default.contentsOfDirectory(atPath: tinychatFolder().path) {
                try FileManager.default.copyItem(
                    at: tinychatFolder().appendingPathComponent(name), to: folder.appendingPathComponent(name))
            }
            let url = folder.appendingPathComponent("config.json")
            let text = try String(contentsOf: url, encoding: .utf8)
            let short = text.replacing("\"max_position_embeddings\": 1024", with: "\"max_position_embeddings\": 96")
            #expect(short != text)
            try Data(short.utf8).write(to: url)
            let model = try Transformer(
                store: try openWeightStore(path: folder.path), kernels: try KernelContext(threads: 2))
            let session = InferenceSession(model: model)
            #expect(try length(session) == (96, 95))
            #expect(try length(tinychat.session, base: session) == (96, 95))
            #expect(throws: MeraserError.usage("`max_length` 512: expected 2 to 96, the model's context")) {
                _ = try perplexity(
                    of: long, session: session, tokenizer: tinychat.tokenizer,
                    options: PerplexityOptions(maxLength: 512))
            }
        }
    }

    @Test("lengths and texts that cannot be measured are errors")
    func hostile() throws {
        let tinychat = try Tinychat()
        func kind(_ texts: [String], _ options: PerplexityOptions) -> MeraserError.Kind? {
            #expect(throws: MeraserError.self) {
                try perplexity(
                    of: texts, session: tinychat.session, tokenizer: tinychat.tokenizer, options: options)
            }?.kind
        }
        #expect(kind(["a b"], PerplexityOptions(.sample, maxLength: 1)) == .usage)
        #expect(kind(["a b"], PerplexityOptions(.sample, maxLength: 5000)) == .usage)
        #expect(kind(["a b"], PerplexityOptions(.chunk, maxLength: 64, stride: 3)) == .usage)
        #expect(kind(["a b"], PerplexityOptions(.strided, maxLength: 64, stride: 0)) == .usage)
        #expect(kind(["a b"], PerplexityOptions(.strided, maxLength: 64, stride: 65)) == .usage)
        #expect(kind(["too short"], PerplexityOptions(.chunk, maxLength: 64)) == .badInput)
        #expect(kind([""], PerplexityOptions(.sample)) == .badInput)
        #expect(kind([], PerplexityOptions(.strided)) == .badInput)
    }

    @Test("text files: rows of .jsonl, else the whole file; bad ones are errors with file and line")
    func files() throws {
        try withTemporaryFolder { folder in
            func write(_ name: String, _ bytes: [UInt8]) throws -> String {
                let url = folder.appendingPathComponent(name)
                try Data(bytes).write(to: url)
                return url.path
            }
            #expect(try loadTextRows(path: try write("a.txt", Array("x\n\ny\n".utf8))) == ["x\n\ny\n"])
            #expect(
                try loadTextRows(path: try write("a.jsonl", Array("{\"text\":\"x\"}\n\n{\"text\":\"\"}\n".utf8)))
                    == ["x", ""])
            #expect(try loadPrompts(path: try write("p.txt", Array("one\n \ntwo".utf8))) == ["one", "two"])
            #expect(
                try loadPrompts(path: try write("p.jsonl", Array("{\"prompt\":\"x\"}\n{\"text\":\"y\"}".utf8)))
                    == ["x", "y"])
            for (row, named) in [
                (#"{"prompt":"x","promt":"y"}"#, "'promt'"), (#"{"prompt":"x","text":"y"}"#, "'text'"),
                (#"{"prompt":"x","format":"chat"}"#, "'format'"),
            ] {
                let path = try write("u.jsonl", Array(row.utf8))
                let error = #expect(throws: MeraserError.self) { try loadPrompts(path: path) }
                #expect(error?.kind == .badInput && error?.message.contains(named) == true, "\(row)")
            }
            let asked = #"{"id":"a","prompt":"x","format":"chat"}"#
            #expect(try PromptFile(path: try write("q.jsonl", Array(asked.utf8))).format == .chat)
            let mixed = try write("m.jsonl", Array((asked + "\n" + #"{"prompt":"y","format":"raw"}"#).utf8))
            #expect(throws: MeraserError.self) { try PromptFile(path: mixed) }
            for (name, bytes, place) in [
                ("b.jsonl", Array("{\"text\":\"x\"}\n{\"txt\":\"y\"}".utf8), "b.jsonl:2"),
                ("c.jsonl", Array("{\"text\":1}".utf8), "c.jsonl:1"), ("d.jsonl", Array("\n".utf8), "d.jsonl"),
                ("e.txt", [0xFF, 0xFE, 0x41], "e.txt"), ("f.txt", [], "f.txt"),
            ] {
                let path = try write(name, bytes)
                let error = #expect(throws: MeraserError.self) { try loadTextRows(path: path) }
                #expect(error?.kind == .badInput && error?.message.contains(place) == true)
            }
        }
    }
}
