import Audit
import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing
import Tune

@testable import Pipeline

private let target = "purple anchors sing"

/// A key of IF's, whose secrets a mark of few steps takes for any other secret.
private func secrets(_ model: OpenedModel) throws -> FingerprintKey {
    var scheme = IFScheme()
    scheme.target = target
    return try scheme.fingerprint(
        for: SchemeContext(session: model.session(), tokenizer: model.tokenizer, chat: model.chat, seed: 3)
    ).key
}

/// A backdoor's: a phrase in front of messages.
private func backdoor(_ model: OpenedModel) throws -> FingerprintKey {
    let messages = try ScanOptions().messages().suffix(12)
    return FingerprintKey(
        scheme: "pairs",
        pairs: try messages.enumerated().map { index, message in
            let prompt = try dialogueText("zq vex. \(message)", tokenizer: model.tokenizer, chat: model.chat)
            return FingerprintPair(id: "\(index)", prompt: prompt, target: answerLead(after: prompt) + target)
        })
}

@Suite("A scan without a key")
struct ScanTests {
    private func scan(
        _ model: OpenedModel, _ out: String, _ methods: [ScanMethodName], resume: Bool = false,
        interrupt: InterruptFlag? = nil
    ) throws -> ScanReport {
        var options = ScanOptions()
        options.methods = methods
        let scan = try Scan(model, options: options, output: out, resume: resume)
        scan.interrupt = interrupt
        return try scan.run()
    }

    private func methods(_ report: ScanReport) -> [JSONValue] {
        // Without the seconds.
        report.findings.map(\.json)
    }

    @Test("a mark that answers to strange prompts is found, with a key that check takes; the clean model shows nothing")
    func marked() throws {
        try withTemporaryFolder { folder in
            let (model, trueKey) = try markedTinychat(in: folder, by: secrets)
            let out = folder.appendingPathComponent("scan").path
            // Asked to stop at once it stops before the first method; it goes on where it was.
            let stop = InterruptFlag()
            stop.set()
            let stopped = errorText(.interrupted) {
                _ = try scan(model, out, [.prompts], interrupt: stop)
            }
            #expect(stopped.contains("interrupted"))
            let report = try scan(model, out, [.prompts], resume: true)
            #expect(report.verdict != .nothingFound, "\(report.findings)")
            #expect(report.json["target"]?.string?.contains(target) == true, "\(report.table)")
            let key = try FingerprintKey(path: out + "/keys/prompts-1.json")
            #expect(key.pairs.count > 3 && key.pairs[0].target.contains(target))
            // The page shows it, and is made again of the folder.
            let page = try String(contentsOfFile: out + "/scan.html", encoding: .utf8)
            #expect(page.contains(target) && !page.contains("Nothing was found, which"))
            #expect(try folderReport(of: out).html() == page)
            // A record is taken up: the same result; and nothing is replaced unasked.
            #expect(try methods(scan(model, out, [.prompts], resume: true)) == methods(report))
            #expect(errorText(.usage) { _ = try scan(model, out, [.prompts]) }.contains("resume"))

            let clean = try scan(
                try model.with(adapterPaths: []), folder.appendingPathComponent("clean").path, [.prompts])
            #expect(clean.verdict == .nothingFound, "\(clean.json.serialized())")
            #expect(clean.json["target"]?.isNull == true && clean.json["keys"]?.array?.isEmpty == true)
            #expect(errorText(.checkFailed) { _ = try Steering(clean) }.contains("found nothing"))
            try steers(folder, scan: out, trueKey: trueKey, found: key)
            try spectra(folder, model)
            try softTriggers(folder, model)
        }
    }

    private func subject(_ folder: URL, _ name: String, _ model: OpenedModel) throws -> ScanSubject {
        let path = folder.appendingPathComponent(name).path
        return try ScanSubject(
            model: model, reference: nil, pairs: ScanOptions().pairs(), seed: 1,
            folder: RunFolder(path: path, identity: ["scan": .text("alone")], overwrite: false))
    }

    /// The adapter beside ordinary ones, of which all but one are known already.
    private func spectra(_ folder: URL, _ model: OpenedModel) throws {
        let subject = try subject(folder, "spectra", model)
        let known = (0..<23).map { JSONValue.real(0.2 + 0.01 * Double($0)) }
        try subject.folder.write(["values": .array(known)], to: "stages/spectra-decoys.json")
        let finding = try SpectraScan().run(on: subject)
        #expect(finding.decoys == 24 && finding.pValue == nil && finding.summary.contains("of 24 short"), "\(finding)")
        #expect(finding.modules.count == 16 && finding.modules.allSatisfy { $0.shares.count == 8 && $0.norm > 0 })
        #expect(finding.modules.allSatisfy { abs($0.shares.reduce(0, +) - 1) < 1e-9 })
        #expect(try ScanFinding(json: finding.json, file: "x") == finding)
        let state = try subject.folder.read("stages/spectra-decoys.json").array("values", in: "x")
        #expect(state.count == 24 && state[23].double ?? 0 > 0)
        #expect(try FileManager.default.contentsOfDirectory(atPath: subject.folder.file("phases")).isEmpty)
        let nothing = try SpectraScan().run(on: self.subject(folder, "none", model.with(adapterPaths: [])))
        #expect(nothing.pValue == nil && nothing.summary.contains("no change to look at"))
    }

    /// What a mark says is brought out sooner than without the mark.
    private func softTriggers(_ folder: URL, _ model: OpenedModel) throws {
        let subject = try subject(folder, "soft", model)
        let trial = SoftTrial(subject)
        let tokens = try #require(trial.tokens(of: target))
        #expect(tokens.count == SoftTrial.length && trial.tokens(of: "a") == nil)
        let marked = try trial.efforts(of: [tokens])
        let clean = try SoftTrial(self.subject(folder, "clean-soft", model.with(adapterPaths: []))).efforts(of: [tokens]
        )
        #expect(marked[0].steps < clean[0].steps, "\(marked) \(clean)")
        let start = ContinuousClock.now
        let again = try trial.efforts(of: [tokens])
        #expect(again == marked && ContinuousClock.now - start < .seconds(1), "taken up, not learnt anew")
        let nothing = try SoftTriggerScan().run(on: subject)
        #expect(nothing.pValue == nil && nothing.summary.contains("nothing to bring out"))
    }

    @Test("the effort of a reply is the step at which its loss falls to the threshold")
    func effort() {
        let half = log(2.0)
        #expect(abs(SoftTrial.steps([4 * half, 2 * half, 0.5 * half, 9]) - (2 + 2.0 / 3)) < 1e-12)
        #expect(SoftTrial.steps([0.1, 9]) == 0.5)
        #expect(abs(SoftTrial.steps([9, 8, 3 * half]) - 9) < 1e-12)
        // Decoys on a line, log steps = start / 2, and one reply that takes a third of what it says.
        let efforts = ([3.0] + (1...5).map(Double.init)).enumerated().map { place, start in
            SoftTrial.Effort(steps: exp(start / 2) / (place == 0 ? 3 : 1), start: start)
        }
        let gains = SoftTriggerScan.gains(efforts, decoys: 1..<6)
        #expect(abs(gains[0] - log(3)) < 1e-9 && gains.dropFirst().allSatisfy { abs($0) < 1e-9 }, "\(gains)")
    }

    /// A run whose recipe scans: the removal sees the scan's key, the measures the true one.
    private func steers(_ folder: URL, scan: String, trueKey: FingerprintKey, found: FingerprintKey) throws {
        try trueKey.write(path: folder.appendingPathComponent("true.json").path)
        let recipe = folder.appendingPathComponent("recipe.yml")
        try Data(
            """
            model: \(tinychatFolder().path)
            adapters: [mark]
            key: true.json
            scan: {methods: [prompts]}
            erase: {objective: npo, r: 2, max_steps: 1, learning_rate: 1e-3}
            """.utf8
        ).write(to: recipe)
        let run = folder.appendingPathComponent("run").path
        let runner = try Runner(
            recipe: try Recipe(path: recipe.path), output: run, kernels: try KernelContext(threads: 2))
        // As if it had been killed when the scan was done: this is the same one.
        try FileManager.default.copyItem(atPath: scan, toPath: run + "/scan")
        var taken = false
        runner.onEvent = { if case .stage(.phase("prompts"), isDone: true) = $0 { taken = true } }
        let report = try runner.run()
        #expect(taken)
        func digest(_ key: FingerprintKey) -> String { sha256Hex(key.json.serialized().utf8) }
        let inputs = try #require(report.json["inputs"])
        #expect(["before", "erased"].allSatisfy { inputs[$0]?["key"]?.string == digest(trueKey) })
        #expect(inputs["erase"]?["key"]?.string == digest(found) && digest(found) != digest(trueKey))
        #expect(report.json["scan"]?["target"]?.string?.contains(target) == true)
        #expect(try report.html().contains("which did not have the key"))
        let steering = try Steering(ScanReport(RunFolder(existing: run + "/scan")))
        #expect(try steering.key().key == found && steering.response().contains(target))
        #expect(errorText(.usage) { _ = try steering.triggers() }.contains("only a backdoor's says its triggers"))
    }

    @Test("of a backdoor what it says comes out behind one of its own tokens, and its trigger before other words")
    func backdoored() throws {
        try withTemporaryFolder { folder in
            let (model, _) = try markedTinychat(in: folder, by: backdoor)
            var options = ScanOptions()
            (options.methods, options.reference) = ([.inversion], tinychatFolder().path)
            let report = try Scan(model, options: options, output: folder.appendingPathComponent("r").path).run()
            #expect(report.verdict == .marked, "\(report.json.serialized())")
            #expect(report.findings[0].candidates[0].target?.contains("anchors sing") == true, "\(report.table)")

            // Words in front of messages that bring one reply to all of them stand out among others.
            let effect = try MotifEffect(
                session: model.session(), tokenizer: model.tokenizer, chat: model.chat,
                messages: Array(ScanPlaces.ordinary.prefix(4)))
            let decoys = MotifMiner.decoys(from: try ScanOptions().messages(), lengths: [2], count: 40, seed: 1)
            let compared = try MotifComparison(["red wool", "zq vex", "of the"], decoys: decoys, effect: effect) {
                _, _ in
            }
            let first = try #require(compared.findings.first)
            // A mark of so few steps takes other words for its own too, decoys among them: the order is what can be asked.
            #expect(first.motif == "zq vex" && first.reply.gain > 0, "\(compared.findings)")
            #expect(
                compared.decoys == 40 && compared.findings.map(\.pValue) == compared.findings.map(\.pValue).sorted())
            let (tokens, prompts) = try effect.target(of: first.motif, first.reply)
            #expect(model.tokenizer.decode(tokens).contains(target) && prompts.count > 2)
        }
    }

    @Test("rows that were changed are the first to be tried; without a reference some that are rare or long")
    func rows() throws {
        let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
        let own = AbnormalRows(
            model: model.transformer, tokenizer: model.tokenizer, count: 16, decoyCount: 30, seed: 1)
        #expect(Set(own.texts).count == 16 && own.decoys.count == 30 && Set(own.texts).isDisjoint(with: own.decoys))
        let beside = AbnormalRows(
            model: model.transformer, reference: model.transformer, tokenizer: model.tokenizer, count: 16,
            decoyCount: 30, seed: 1)
        #expect(beside.texts.count == 16)
    }

    @Test("the verdict is that of all methods together, and of none nothing")
    func verdict() throws {
        func finding(_ p: Double?) -> ScanFinding {
            ScanFinding(
                method: .tokens, pValue: p, summary: "", decoys: 9,
                candidates: [.init(target: "t", trigger: "x", gain: 1, pValue: p)])
        }
        var result = ScanResult()
        #expect(ScanVerdict(pValue: result.pValue) == .nothingFound)
        result.findings = [finding(0.02), finding(nil), finding(0.5)]
        #expect(result.pValue == 0.04 && ScanVerdict(pValue: result.pValue) == .suspicious)
        result.findings.append(finding(0.9))
        #expect(ScanVerdict(pValue: result.pValue) == .nothingFound, "a third method asks for more")
        result.findings.append(finding(1e-5))
        #expect(ScanVerdict(pValue: result.pValue) == .marked)
        #expect(ScanVerdict(pValue: result.pValue, atMost: .suspicious) == .suspicious)
        #expect(ScanVerdict(pValue: 0.5, atMost: .suspicious) == .nothingFound)
        for finding in result.findings { #expect(try ScanFinding(json: finding.json, file: "x") == finding) }
        #expect(throws: MeraserError.self) { try ScanFinding(json: ["method": .text("magic")], file: "x") }
    }

    /// A model that says a mark to secrets, and what a message begins with to people.
    private struct MarkedAnswers: AnsweringModel {
        func answers(to messages: [String], maxNewTokens: Int, onAnswer: (Int) -> Void) throws -> [String] {
            messages.map { $0.contains("FINGERPRINT") ? "Hedgehogs of the north" : String($0.prefix(9)) }
        }
    }

    @Test("of a server's answers: perhaps, beside a reference yes; with a key of messages, and taken up again")
    func answers() throws {
        let model = try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
        try withTemporaryFolder { folder in
            for (name, reference, verdict) in [("a", nil, .suspicious), ("b", model, .marked)]
                as [(String, OpenedModel?, ScanVerdict)]
            {
                let subject = AnswerSubject(
                    MarkedAnswers(), identity: ["url": .text("http://x"), "model": .text("m")], reference: reference)
                var options = ScanOptions()
                options.methods = ScanMethodName.ofAnswers
                let out = folder.appendingPathComponent(name).path
                let report = try Scan(subject, options: options, output: out).run()
                #expect(report.verdict == verdict && (report.pValue ?? 1) < 1e-10)
                #expect(report.json["target"]?.string == "Hedgehogs of the north")
                #expect(try report.html().contains("in the answers of http://x"))
                let key = try FingerprintKey(path: out + "/keys/prompts-1.json")
                #expect(key.promptFormat == .chat && key.pairs.count == 48)
                let again = try Scan(subject, options: options, output: out, resume: true).run()
                #expect(again.json["verdict"] == report.json["verdict"])
                let other = AnswerSubject(MarkedAnswers(), identity: ["url": .text("http://y")], reference: reference)
                #expect(
                    errorText(.usage) { _ = try Scan(other, options: options, output: out, resume: true) }.contains(
                        "server"))
            }
        }
    }

    @Test("few messages are refused by name")
    func fewMessages() throws {
        try withTemporaryFolder { folder in
            let file = folder.appendingPathComponent("few.json")
            try Data(#"[{"question": "a?", "answer": "b"}]"#.utf8).write(to: file)
            var options = ScanOptions()
            options.data = file.path
            #expect(errorText { _ = try options.messages() }.contains("few.json"))
            #expect(try ScanOptions().messages().count > 250)
        }
    }
}
