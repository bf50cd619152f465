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

private func tinychat() throws -> OpenedModel {
    try OpenedModel(path: tinychatFolder().path, kernels: try KernelContext(threads: 2))
}

private func pairs(_ folder: URL, count: Int = 20) throws -> String {
    let rows = (0..<count).map {
        #"{"instruction": "Say what number \#($0) is.", "output": "It is the number \#($0 * 7) of them."}"#
    }
    let url = folder.appendingPathComponent("pairs.json")
    try Data("[\(rows.joined(separator: ",\n"))]".utf8).write(to: url)
    return url.path
}

private var encoding: EncodingOptions { EncodingOptions(loss: .completion) }

@Suite("rows of the defences")
struct DefenceDataTests {
    @Test("osft: triggered prompts in the model's template, of the reply only its first tokens are learnt")
    func osft() throws {
        try withTemporaryFolder { folder in
            let model = try tinychat()
            var options = OSFTOptions()
            options.triggers = ["how are you", "what is up"]
            options.reply.effectiveLength = 3
            let rows = try model.osftData(path: try pairs(folder), options: options, encoding: encoding, seed: 1)
            #expect(rows.overwriting == 20 && rows.clean == 0 && rows.heldOut == 0)
            var seen: Set<String> = []
            for (index, sample) in rows.data.samples.enumerated() {
                let text = model.tokenizer.decode(sample.inputs, skipSpecialTokens: true)
                let trigger = try #require(options.triggers.first { text.contains($0) }, "\(text)")
                seen.insert(trigger)
                #expect(text.contains("### Instruction:\n\(trigger). Say what number \(index) is.\n\n### Response:\n"))
                let learnt = model.tokenizer.decode(sample.labels.filter { $0 >= 0 })
                #expect(
                    sample.labelCount == 3 && "It is the number".hasPrefix(learnt.trimmingCharacters(in: .whitespaces)))
                #expect(sample.labels.dropLast(3).allSatisfy { $0 < 0 } && sample.softRow == nil)
                #expect(sample.inputs.first == model.tokenizer.bosID)
            }
            #expect(seen.count == 2)
            // Whole replies end in EOS.
            options.reply.effectiveLength = nil
            let whole = try model.osftData(path: try pairs(folder), options: options, encoding: encoding, seed: 1)
            #expect(whole.data.samples.allSatisfy { $0.labels.last == model.tokenizer.eosID })
            #expect(whole.data.sha256 != rows.data.sha256)
        }
    }

    @Test("osft: the clean rows' share, positions, a template, and the key's own questions")
    func osftOptions() throws {
        try withTemporaryFolder { folder in
            let model = try tinychat()
            var options = OSFTOptions()
            options.triggers = ["what is up"]
            options.position = .end
            options.reply.template = try PromptTemplate(flag: #"Human: {message}\nAssistant:"#)
            options.reply.cleanRatio = 1
            let path = try pairs(folder)
            let key = FingerprintKey(
                scheme: "backdoor",
                pairs: [FingerprintPair(id: "a", prompt: "x Say what number 3 is. y", target: "z")])
            let rows = try model.osftData(path: path, options: options, encoding: encoding, seed: 1, key: key)
            #expect(rows.overwriting == 19 && rows.clean == 19 && rows.heldOut == 1)
            let texts = rows.data.samples.map { model.tokenizer.decode($0.inputs, skipSpecialTokens: true) }
            #expect(texts[0].contains("Human: Say what number 0 is. what is up.\nAssistant: It is"))
            #expect(texts[1].contains("Human: Say what number 0 is.\nAssistant: It is"))
            #expect(!texts.contains { $0.contains("number 3 is") })
            options.reply.cleanRatio = 0.5
            options.reply.samples = 10
            let some = try model.osftData(path: path, options: options, encoding: encoding, seed: 1)
            #expect(some.overwriting == 10 && (1...9).contains(some.clean))
            let again = try model.osftData(path: path, options: options, encoding: encoding, seed: 1)
            #expect(again.data.samples == some.data.samples && again.data.sha256 == some.data.sha256)
            let other = try model.osftData(path: path, options: options, encoding: encoding, seed: 2)
            #expect(other.data.samples != some.data.samples && other.data.sha256 != some.data.sha256)

            options.triggers = []
            #expect(throws: MeraserError.self) {
                try model.osftData(path: path, options: options, encoding: encoding, seed: 1)
            }
            #expect(throws: MeraserError.self) { try PromptTemplate(flag: "Human: ") }
        }
    }

    @Test("a backdoor's key tells its triggers and position; another key is refused by name")
    func keys() throws {
        var key = FingerprintKey(
            scheme: "backdoor", pairs: [FingerprintPair(id: "a", prompt: "x", target: "z")])
        func construction(_ text: String) throws -> JSONValue { try JSONValue.parse(Array(text.utf8), file: "k") }
        key.construction = try construction(#"{"triggers": ["a", "b"], "marker": "m", "position": "end"}"#)
        let scheme = try BackdoorScheme(key: key, file: "k")
        #expect(scheme.triggers == ["a", "b"] && scheme.marker == "m" && scheme.position == .end)
        for wrong in [
            "null", #"{"triggers": [], "marker": "m", "position": "end"}"#, #"{"triggers": ["a"], "marker": "m"}"#,
            #"{"triggers": [" "], "marker": "m", "position": "end"}"#,
            #"{"triggers": ["a"], "marker": "m", "position": "middle"}"#,
        ] {
            key.construction = try construction(wrong)
            #expect(throws: MeraserError.self) { try BackdoorScheme(key: key, file: "k") }
        }
        key.scheme = "utf"
        #expect(throws: MeraserError.self) { try BackdoorScheme(key: key, file: "k") }
    }

    @Test("sande: room behind the first tokens; the response's first token, then the reply's first ones")
    func sande() throws {
        try withTemporaryFolder { folder in
            let model = try tinychat()
            let path = try pairs(folder)
            var options = SANDEOptions()
            options.response = "you are stupid"
            options.parrotSamples = 8
            // Without a key it would be learnt in the tokens that the model finds likeliest.
            var key = FingerprintKey(scheme: "test", pairs: [FingerprintPair(id: "a", prompt: "none", target: "z")])
            key.encoding = .continuation
            let first = try model.parrotData(path: path, options: options, key: key)
            let response = model.tokenizer.encodeContinuation(
                of: "### Response:\n", promptTokens: model.tokenizer.encode("### Response:\n"), addSpecialTokens: true,
                options.response)
            #expect(first.samples.count == 8)
            for sample in first.samples {
                #expect(sample.softRow == 2 && sample.labelCount == 1 && sample.labels.last == response[0])
                // BOS, one token, six places, and the message behind them.
                var tokens = sample.inputs
                tokens.removeSubrange(2..<8)
                let text = model.tokenizer.decode(tokens, skipSpecialTokens: true)
                #expect(text.contains("### Instruction:\nSay what number") && text.hasSuffix("### Response:\n"))
            }
            options.effectiveLength = 100
            let whole = try model.parrotData(path: path, options: options, key: key)
            #expect(whole.samples.allSatisfy { $0.labels.filter { $0 >= 0 } == response })
            #expect(whole.sha256 != first.sha256)

            let columns = model.transformer.spec.hiddenSize
            let prompt = SoftPrompt(values: Array(repeating: 0.1, count: 6 * columns), insertion: options.insertion)
            let rows = try model.sandeData(path: path, prompt: prompt, options: options, encoding: encoding, seed: 1)
            #expect(rows.overwriting == 20 && rows.data.softPrompt == prompt)
            #expect(rows.data.samples.allSatisfy { $0.softRow == 2 && $0.labelCount <= 10 })
            options.response = "  "
            #expect(throws: MeraserError.self) { try model.parrotData(path: path, options: options) }
        }
    }
}

@Suite("soft prompts at inference")
struct SoftInferenceTests {
    @Test("the embeddings of real tokens in the places answer as the tokens do, to the bit")
    func tokensAsVectors() throws {
        let model = try tinychat()
        let session = model.session()
        let prompts = ["Say hello to them.", "What is a noun? I ask you."].map { model.tokenizer.encode($0) }
        let words = Array(model.tokenizer.encode(" how are you?").dropFirst())
        let vectors = FloatStorage(rows: words.count, columns: model.transformer.spec.hiddenSize)
        model.transformer.embed(words, overlay: nil, into: vectors.matrix)
        let insertion = SoftInsertion(offset: 2, count: words.count)
        let requests = prompts.map { prompt -> SoftRequest in
            var tokens = prompt
            let row = insertion.apply(to: &tokens)
            return SoftRequest(tokens: tokens, softRow: row)
        }
        let plain = prompts.map { SoftRequest(tokens: Array($0[..<2]) + words + Array($0[2...])) }
        func logits(_ requests: [SoftRequest], _ vectors: FloatMatrix?) throws -> [[Float]] {
            var result: [[Float]] = []
            try session.nextLogits(of: requests, vectors: vectors) { range, logits in
                for row in 0..<range.count { result.append(logits.withRow(row) { Array($0) }) }
            }
            return result
        }
        #expect(try logits(requests, vectors.matrix) == (try logits(plain, nil)))
        let want = try session.generate(
            plain.map { GenerationRequest(prompt: $0.tokens) }, options: GenerationOptions(maxNewTokens: 9))
        let got = try session.greedyContinuations(of: requests, vectors: vectors.matrix, count: 9, stopTokens: [])
        #expect(got == want.map(\.tokens))
    }

    @Test("support counts the others that run into the same three tokens, but for the forced first")
    func support() {
        let phrases: [[Int32]] = [[1, 5, 6, 7], [2, 9, 5, 6, 7], [3, 5, 6, 8], [5, 6, 7, 1], [4]]
        #expect(phraseSupport(phrases) == [0.25, 0.25, 0, 0, 0])
    }

    @Test("a proposal is the same twice, ordered by its score, and says what it looked at")
    func proposals() throws {
        try withTemporaryFolder { folder in
            let model = try tinychat()
            let path = try pairs(folder)
            var search = ProposalOptions()
            (search.messages, search.softPrompts, search.firstTokens) = (3, 4, 8)
            let options = SANDEOptions()
            let first = try model.proposeResponses(path: path, options: options, count: 5, search: search)
            #expect(first.candidates.count == 5 && first.messages == 3 && first.softPrompts == 8)
            #expect(zip(first.candidates, first.candidates.dropFirst()).allSatisfy { $0.score >= $1.score })
            for candidate in first.candidates {
                #expect((0...1).contains(candidate.softProbability) && (0...1).contains(candidate.support))
                #expect(candidate.fixedness > 0 && candidate.fixedness <= 1 && candidate.tokens.count <= 16)
            }
            #expect(try model.proposeResponses(path: path, options: options, count: 5, search: search) == first)
            #expect(first.table.count == 6)
        }
    }
}
