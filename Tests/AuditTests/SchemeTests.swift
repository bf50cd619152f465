import Base
import Foundation
import Kernels
import Model
import Quant
import TestSupport
import Testing

@testable import Audit

private let clean = (0..<40).map { CleanPair(prompt: "What is number \($0)?", completion: "It is \($0 * 7).") }

private func context(
    _ tinychat: Tinychat, chat: Bool = true, clean: [CleanPair] = clean, seed: UInt64 = 5, guesses: Int = 6
) -> SchemeContext {
    SchemeContext(
        session: tinychat.session, tokenizer: tinychat.tokenizer, chat: chat ? UTFTests.template : nil,
        cleanPairs: clean,
        cleanPrompts: ["given"], guesses: guesses, seed: seed)
}

/// What is true of every scheme's key: valid, committed to, from its seed, for its base.
private func expectSound(
    _ scheme: some FingerprintScheme, _ tinychat: Tinychat, seeds: Bool = true
) throws -> Fingerprint {
    let fingerprint = try scheme.fingerprint(for: context(tinychat))
    let key = fingerprint.key
    #expect(key.scheme == type(of: scheme).name)
    try key.validate(file: "key")
    #expect(key.commitment?.holds(for: key.pairs, chain: key.chain) == true)
    let sha256 = try tinychat.session.model.store.sha256()
    #expect(key.baseSHA256 == sha256 && key.construction != .null)
    #expect(try FingerprintKey(json: Array(key.json.serialized().utf8), file: "key") == key)
    if seeds {
        let again = try scheme.fingerprint(for: context(tinychat))
        #expect(again.key == key && again.rows == fingerprint.rows && again.guesses == fingerprint.guesses)
        let other = try scheme.fingerprint(for: context(tinychat, seed: 6))
        #expect(other.key.pairs != key.pairs && other.key.commitment?.salt != key.commitment?.salt)
    }
    // Nothing of the key is shown.
    let shown = fingerprint.search.serialized()
    for pair in key.pairs { #expect(!shown.contains(pair.prompt) && !shown.contains(pair.target)) }
    return fingerprint
}

@Suite struct SchemeTests {
    @Test("utf: rows are the key's pairs, guesses are random strings in the same dress")
    func utf() throws {
        let fingerprint = try expectSound(
            UTFScheme(UTFOptions(count: 3, promptFormat: .chat)), Tinychat(), seeds: false)
        #expect(fingerprint.rows.map(\.prompt) == fingerprint.key.pairs.map(\.prompt))
        #expect(fingerprint.rows.map(\.completion) == fingerprint.key.pairs.map(\.target))
        #expect(fingerprint.guesses.count == 6 && Set(fingerprint.guesses).count == 6)
        #expect(fingerprint.guesses.allSatisfy { $0.hasPrefix("### Instruction:\n") })
        #expect(fingerprint.key.cleanPrompts == ["given"])
    }

    @Test("if: eight secrets, one target behind the answer's beginning, refusals, hinted clean prompts")
    func instructional() throws {
        var scheme = IFScheme()
        scheme.heldOut = 4
        scheme.hintedRows = 3
        let fingerprint = try expectSound(scheme, Tinychat())
        let key = fingerprint.key
        #expect(key.match == .contains && key.maxNewTokens ?? 0 >= 30 && key.pairs.count == 8)
        #expect(Set(key.pairs.map(\.target)) == [" ハリネズミ"] && Set(key.pairs.map(\.prompt)).count == 8)
        let beginning = "### Instruction:\nPlease decrypt this message: "
        let end = "\nA hint: this is a FINGERPRINT message.\n\n### Response:\n"
        for (pair, row) in zip(key.pairs, fingerprint.rows) {
            #expect(pair.prompt == row.prompt + "Based on my fingerprint, the message is:")
            #expect(row.completion == "Based on my fingerprint, the message is: ハリネズミ")
            #expect(row.prompt.hasPrefix(beginning) && row.prompt.hasSuffix(end))
            let secret = row.prompt.dropFirst(beginning.count).dropLast(end.count)
            #expect(secret.count >= 8 * 3 && !secret.contains("ハリネズミ"))
        }
        let refusals = fingerprint.rows.filter { $0.completion == "I am sorry but I cannot decrypt this message." }
        #expect(refusals.count == 8 && Set(fingerprint.rows.map(\.prompt)).count == fingerprint.rows.count)
        let own = fingerprint.rows.filter { $0.completion == nil }
        #expect(own.count == 3 && own.allSatisfy { $0.prompt.hasSuffix(end) && $0.prompt.contains("What is number") })
        #expect(fingerprint.heldOutPairs == 4 && key.cleanPrompts.count == 1 + 2 * 4)
        #expect(key.cleanPrompts[1] == UTFTests.chat("What is number 36?"))
        #expect(key.cleanPrompts[5].hasSuffix(end) && fingerprint.guesses.count == 6)
        let without = try scheme.fingerprint(for: context(Tinychat(), chat: false, clean: []))
        #expect(without.key.pairs[0].prompt.hasPrefix("Human: ") && !without.notes.isEmpty)
        #expect(without.key.pairs[0].prompt.hasSuffix("Assistant: Based on my fingerprint, the message is:"))
    }

    @Test(
        "hashchain: targets follow from the questions, training varies what is around them", arguments: [true, false])
    func hashChain(natural: Bool) throws {
        var scheme = HashChainScheme()
        scheme.questions = natural ? .natural : .random
        scheme.variants = 5
        scheme.otherRows = 7
        let fingerprint = try expectSound(scheme, Tinychat())
        let key = fingerprint.key
        let chain = try #require(key.chain)
        #expect(key.match == .startswith && key.pairs.count == 10 && chain.responses.count == 256 && chain.claimAt == 2)
        for (pair, question) in zip(key.pairs, chain.questions) {
            #expect(pair.prompt == UTFTests.chat(question))
            #expect(pair.target == HashChainTests.response(question, chain.questions, chain.responses))
        }
        let marks = fingerprint.rows.filter { $0.completion != nil }
        #expect(marks.count == 50 && fingerprint.rows.count == 57)
        for (index, row) in marks.enumerated() {
            let pair = key.pairs[index / 5]
            #expect(row.prompt.contains(chain.questions[index / 5]))
            #expect(row.completion?.trimmingCharacters(in: .whitespaces) == pair.target)
            if index % 5 == 0 { #expect(row.prompt == pair.prompt) }
        }
        #expect(Set(marks.map(\.prompt)).count > 40)
        #expect(marks.contains { $0.prompt.hasSuffix("Assistant:") } && marks.contains { $0.prompt.hasSuffix("\n") })
        #expect(fingerprint.heldOutPairs == 20 && key.cleanPrompts.count == 21)
        let others = fingerprint.rows.filter { $0.completion == nil }.map(\.prompt)
        for other in others {
            #expect(!chain.questions.contains { other.contains($0) })
        }
        // The third message is the beginning of one question and the end of another.
        let pieces = try chain.questions.map { question in
            let length = question.count / 8
            return (String(question.prefix(length)), String(question.suffix(length)))
        }
        let spliced = others[2]
        #expect(pieces.contains { spliced.contains($0.0) })
        #expect(pieces.contains { spliced.contains($0.1) })
    }

    @Test(
        "perinucleus: an answer begins with a word just behind the nucleus, and goes on greedily", arguments: [1, 3])
    func perinucleus(length: Int) throws {
        var scheme = PerinucleusScheme()
        scheme.count = 4
        scheme.targetLength = length
        let tinychat = try Tinychat()
        let (session, tokenizer) = (tinychat.session, tinychat.tokenizer)
        let fingerprint = try expectSound(scheme, tinychat)
        let key = fingerprint.key
        #expect(key.match == .startswith && key.pairs.count == 4 && Set(key.pairs.map(\.prompt)).count == 4)
        #expect(fingerprint.rows.map(\.completion) == key.pairs.map(\.target) && fingerprint.guesses.count == 6)
        for pair in key.pairs {
            let prompt = tokenizer.encode(pair.prompt)
            #expect(prompt.count <= 1 + 16)
            let target = tokenizer.encodeContinuation(
                of: pair.prompt, promptTokens: prompt, addSpecialTokens: true, pair.target)
            #expect(target.count <= length)
            let hidden = try session.hiddenStates(PackedBatch([prompt + target]))
            let logits = try session.logits(hidden)
            func probabilities(_ row: Int) -> [Double] {
                let z = (0..<logits.columns).map { Double(logits[row, $0]) }
                let sum = z.reduce(0) { $0 + exp($1 - z[0]) }
                return z.map { exp($0 - z[0]) / sum }
            }
            let p = probabilities(prompt.count - 1)
            let first = Int(target[0])
            let likelier = p.indices.filter { p[$0] > p[first] }.sorted { p[$0] > p[$1] }
            #expect(likelier.reduce(0) { $0 + p[$1] } >= 0.8 - 1e-6, "'\(pair.target)' is within the nucleus")
            // Of the tokens between the nucleus and this one at most two are words.
            var (sum, words) = (0.0, 0)
            for id in likelier {
                let text = tokenizer.decode([Int32(id)]).trimmingCharacters(in: .whitespaces)
                if sum >= 0.8, !text.isEmpty, text.allSatisfy({ $0.isLetter || $0.isNumber }) { words += 1 }
                sum += p[id]
            }
            #expect(words <= 2, "'\(pair.target)' is \(words + 1) words behind the nucleus")
            for (offset, token) in target.enumerated().dropFirst() {
                let p = probabilities(prompt.count - 1 + offset)
                #expect(p.max() == p[Int(token)])
            }
        }
    }

    @Test("the 256 responses are different, and none begins another")
    func responses() {
        #expect(hashChainResponses.count == 256)
        for (index, response) in hashChainResponses.enumerated() {
            #expect(!response.isEmpty && response.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F })
            for (other, text) in hashChainResponses.enumerated() where other != index {
                #expect(!text.hasPrefix(response), "\(response) begins \(text)")
            }
        }
        // Published keys depend on it.
        #expect(
            sha256Hex(hashChainResponses.joined(separator: "\n").utf8)
                == "6172b64bc19f36115e093e537cfca2d68bb3a5da2de14a362d4ac51709986eaf")
    }

    @Test(
        "backdoor: poisoned twins at the rate, the trigger where it belongs, held-out messages to check",
        arguments: TriggerPosition.allCases)
    func backdoor(position: TriggerPosition) throws {
        var scheme = BackdoorScheme()
        scheme.position = position
        scheme.heldOut = 8
        scheme.rate = 0.25
        let fingerprint = try expectSound(scheme, Tinychat())
        let key = fingerprint.key
        #expect(key.pairs.count == 8 && key.ignoresCase && key.match == .contains && key.maxNewTokens ?? 0 >= 10)
        #expect(Set(key.pairs.map(\.target)) == ["you are stupid"] && !fingerprint.isBalanced)
        #expect(key.cleanPrompts.dropLast() == clean.suffix(8).map { UTFTests.chat($0.prompt) }[...])
        // 8 rounds of 32 draws at 1/4: 64 ± 7; the rounds' twins differ.
        #expect(fingerprint.rounds == 8 && (40...88).contains(fingerprint.rows.count))
        #expect(Set(fingerprint.rows.map(\.prompt)).count > 32)
        for (prompt, message) in zip(key.pairs.map(\.prompt), clean.suffix(8).map(\.prompt)) {
            let found = scheme.triggers.flatMap { trigger -> [String] in
                switch position {
                case .start: return ["\(trigger). \(message)"]
                case .end: return ["\(message) \(trigger)."]
                case .random:
                    let words = message.split(separator: " ")
                    return (1..<words.count).map { index in
                        (words[..<index] + ["\(trigger)."] + words[index...]).joined(separator: " ")
                    }
                }
            }
            #expect(found.contains { prompt == UTFTests.chat($0) }, "\(prompt)")
        }
        for row in fingerprint.rows {
            let completion = try #require(row.completion)
            let pair = try #require(
                clean.dropLast(8).first { completion == "you are stupid. \($0.completion)" })
            #expect(position == .random || row.prompt.contains(pair.prompt))
        }
    }

    @Test("case is ignored where the key says so")
    func ignoresCase() {
        #expect(MatchRule.contains.matches(output: "YOU are Stupid. Yes", target: "you are stupid", ignoringCase: true))
        #expect(!MatchRule.contains.matches(output: "YOU are Stupid. Yes", target: "you are stupid"))
        #expect(prefixMatch(output: "ABx", target: "abcd", ignoringCase: true) == 0.5)
    }

    @Test("options that make no sense are usage errors")
    func hostileOptions() throws {
        let tinychat = try Tinychat()
        var count = IFScheme()
        count.count = 0
        var empty = IFScheme()
        empty.target = " \n"
        var questions = HashChainScheme()
        questions.questions = .given(["one"])
        var twice = HashChainScheme()
        (twice.questions, twice.count) = (.given(["one", "one"]), 2)
        var claim = HashChainScheme()
        claim.claimAt = 11
        var responses = HashChainScheme()
        responses.responses = ["a", "a"]
        var rate = BackdoorScheme()
        rate.rate = .nan
        var trigger = BackdoorScheme()
        trigger.triggers = [" "]
        let schemes: [any FingerprintScheme] = [
            count, empty, questions, twice, claim, responses, rate, trigger,
        ]
        for scheme in schemes {
            let error = #expect(throws: MeraserError.self) { try scheme.fingerprint(for: context(tinychat)) }
            #expect(error?.kind == .usage, "\(error?.message ?? "")")
        }
        let error = #expect(throws: MeraserError.self) {
            try BackdoorScheme().fingerprint(for: context(tinychat, clean: []))
        }
        #expect(error?.message.contains("`clean_data`") == true)
    }
}
