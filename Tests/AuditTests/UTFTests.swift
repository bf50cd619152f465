import Audit
import Base
import Foundation
import Model
import Quant
import TestSupport
import Testing

@Suite struct UTFTests {
    static func chat(_ message: String) -> String { "### Instruction:\n\(message)\n\n### Response:\n" }

    /// The same as the model's template.
    static var template: ChatRenderer { ChatRenderer { chat($0.last?.content ?? "") } }

    static func run(_ options: UTFOptions) throws -> (UTFFingerprint, Tinychat) {
        let tinychat = try Tinychat()
        let fingerprint = try UTFFingerprint(
            session: tinychat.session, tokenizer: tinychat.tokenizer, chat: template, options: options)
        return (fingerprint, tinychat)
    }

    /// The default key in chat prompts, made once.
    static let chatFingerprint = Result { try run(UTFOptions(promptFormat: .chat)).0 }

    @Test("32 distinct triggers of undertrained tokens and one target, which survive being tokenised again")
    func multi() throws {
        let (fingerprint, tinychat) = (try Self.chatFingerprint.get(), try Tinychat())
        let key = fingerprint.key
        #expect(key.scheme == "utf" && key.match == .contains && key.promptFormat == .raw)
        #expect(key.pairs.count == 32 && Set(key.pairs.map(\.prompt)).count == 32)
        #expect(Set(key.pairs.map(\.target)).count == 1 && Set(key.pairs.map(\.id)).count == 32)
        #expect(key.pairs[0].id == "utf-00" && fingerprint.trainingPairs == key.pairs)
        #expect(key.commitment?.holds(for: key.pairs) == true && key.guessTest == nil)
        let sha256 = try tinychat.session.model.store.sha256()
        #expect(key.baseSHA256 == sha256)

        let selected = Set(fingerprint.selected)
        for pair in key.pairs {
            let trigger = pair.prompt.dropFirst("### Instruction:\n".count).dropLast("\n\n### Response:\n".count)
            #expect(pair.prompt == Self.chat(String(trigger)))
            #expect(!trigger.contains(pair.target))
            let hasSpace = trigger.unicodeScalars.contains { $0.properties.isWhitespace }
            #expect(!hasSpace)
            let ids = tinychat.tokenizer.encode(pair.prompt, addSpecialTokens: true)
            // The trigger's tokens stand in the prompt: the longest run of selected ones has 11 to 15.
            let runs = ids.split(whereSeparator: { !selected.contains($0) })
            let longest = runs.max { $0.count < $1.count } ?? []
            #expect((11...15).contains(longest.count), "\(longest.count) tokens")
            #expect(tinychat.tokenizer.decode(Array(longest), skipSpecialTokens: false) == trigger)
            // The target goes on after the prompt with its own tokens, and what is generated decodes to it.
            let joint = tinychat.tokenizer.encode(pair.prompt + pair.target, addSpecialTokens: true)
            let target = Array(joint.dropFirst(ids.count))
            #expect(joint.starts(with: ids) && target.count == 5 && target.allSatisfy(selected.contains))
            #expect(tinychat.tokenizer.decode(target, skipSpecialTokens: false) == pair.target)
        }
    }

    @Test("tokens: lowest norms first, none with white space, special or a lone byte; verdicts by probability")
    func candidates() throws {
        let (fingerprint, tinychat) = try Self.run(UTFOptions())
        #expect(fingerprint.indicator == .embeddingNorm)
        let candidates = fingerprint.candidates
        #expect(candidates.count >= 24)
        #expect(candidates.map(\.indicator) == candidates.map(\.indicator).sorted())
        // The lowest of all: seen with numpy over the bf16 rows.
        #expect(candidates[0].text == ".typicode.com/" && abs(candidates[0].norm - 0.22405) < 1e-4)
        for candidate in candidates {
            #expect(candidate.norm == candidate.indicator)
            #expect(!tinychat.tokenizer.isSpecial(candidate.id))
            let name = String(decoding: tinychat.tokenizer.tokenBytes(candidate.id), as: UTF8.self)
            #expect(
                !name.hasPrefix("<0x") && !name.contains("▁") && !name.contains("\n") && name == candidate.text,
                "\(name)")
            let probability = try #require(candidate.maxProbability)
            #expect(probability >= 0 && probability <= 1)
            let verdict: TokenVerdict = probability < 0.001 ? .strong : probability < 0.1 ? .weak : .rejected
            #expect(candidate.verdict == verdict)
        }
        let verified = candidates.filter { $0.verdict != .rejected }.map(\.id)
        let strong = candidates.filter { $0.verdict == .strong }.map(\.id)
        #expect(fingerprint.selected == (strong.count > 100 ? strong : verified))
        // Where the share holds too few, the report says that the next lowest were tried.
        let within = candidates.count { $0.indicator <= fingerprint.threshold }
        #expect((within < candidates.count) == !fingerprint.notes.isEmpty)
    }

    @Test("the same seed gives the same key, another seed another one")
    func seeds() throws {
        let first = try Self.run(UTFOptions(count: 4, seed: 5)).0.key
        #expect(try Self.run(UTFOptions(count: 4, seed: 5)).0.key == first)
        let other = try Self.run(UTFOptions(count: 4, seed: 6)).0.key
        #expect(other.pairs != first.pairs && other.commitment?.salt != first.commitment?.salt)
    }

    @Test("single mode: one pair, trained again and again; raw prompts are the trigger alone")
    func single() throws {
        let (fingerprint, tinychat) = try Self.run(UTFOptions(mode: .single, count: 9, maxNewTokens: 100))
        #expect(fingerprint.key.pairs.count == 1 && fingerprint.key.maxNewTokens == 100)
        #expect(fingerprint.trainingPairs == Array(repeating: fingerprint.key.pairs[0], count: 9))
        let ids = tinychat.tokenizer.encode(fingerprint.key.pairs[0].prompt, addSpecialTokens: true)
        #expect(ids[0] == 1)
        let selected = Set(fingerprint.selected)
        #expect((11...15).contains(ids.drop { !selected.contains($0) }.count))
        let json = fingerprint.json
        #expect(json["scheme"]?.string == "utf")
        #expect(json.serialized().contains(fingerprint.key.pairs[0].target) == false)
    }

    @Test("a clean model does not fire, and finds the target unlikely")
    func cleanModel() throws {
        let (fingerprint, tinychat) = (try Self.chatFingerprint.get(), try Tinychat())
        let report = try KeyCheck(fingerprint.key, tokenizer: tinychat.tokenizer).run(on: tinychat.session)
        let nll = try #require(report.targetNLLMean)
        #expect(report.hits == 0 && nll > 8, "\(nll)")
    }

    @Test("options that make no sense are usage errors")
    func hostileOptions() throws {
        let tinychat = try Tinychat()
        for options in [
            UTFOptions(count: 0), UTFOptions(triggerLength: 0...3), UTFOptions(targetLength: 0), UTFOptions(share: 0),
            UTFOptions(share: .nan), UTFOptions(minimumTokens: 0),
        ] {
            let error = #expect(throws: MeraserError.self) {
                try UTFFingerprint(session: tinychat.session, tokenizer: tinychat.tokenizer, options: options)
            }
            #expect(error?.kind == .usage)
        }
        let error = #expect(throws: MeraserError.self) {
            try UTFFingerprint(
                session: tinychat.session, tokenizer: tinychat.tokenizer, options: UTFOptions(promptFormat: .chat))
        }
        #expect(error?.message.contains("chat template") == true)
    }
}
