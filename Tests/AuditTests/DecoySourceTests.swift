import Base
import Foundation
import Model
import TestSupport
import Testing

@testable import Audit

@Suite("decoys of each kind")
struct DecoySourceTests {
    private let tinychat: Tinychat
    private let chat = ChatRenderer { "### Instruction:\n\($0.last?.content ?? "")\n\n### Response:\n" }

    init() throws { tinychat = try Tinychat() }

    private func fingerprint(_ scheme: some FingerprintScheme) throws -> FingerprintKey {
        try scheme.fingerprint(
            for: SchemeContext(
                session: tinychat.session, tokenizer: tinychat.tokenizer, chat: chat,
                cleanPairs: (0..<12).map { CleanPair(prompt: "Say what number \($0) is.", completion: "A number.") },
                cleanPrompts: [], seed: 5)
        ).key
    }

    private func source(_ key: FingerprintKey, seed: UInt64 = 1) throws -> any DecoySource {
        try DecoyContext(
            key: key, format: key.promptFormat, tokenizer: tinychat.tokenizer, chat: chat, seed: seed
        ).source()
    }

    /// What a pool must be, whatever the kind.
    private func pool(_ key: FingerprintKey, _ kind: DecoyKind, count: Int = 60) throws -> DecoyPool {
        var first = try source(key)
        #expect(first.kind == kind)
        let pool = try DecoyPool(&first, units: count, targets: count, seed: 1)
        #expect(pool.units.count == count && pool.targets.allSatisfy { $0.count == count })
        let prompts = pool.units.map { $0.prompts[0] }
        #expect(Set(prompts).count == count && Set(prompts).isDisjoint(with: key.pairs.map(\.prompt)))
        #expect(pool.units.allSatisfy { $0.prompts.count == $0.shuffled.count })
        // The same seed, the same decoys; another one, others.
        var again = try source(key)
        let same = try DecoyPool(&again, units: count, targets: count, seed: 1)
        #expect(same.units == pool.units && same.targets == pool.targets)
        var other = try source(key, seed: 2)
        let different = try DecoyPool(&other, units: count, targets: count, seed: 1)
        #expect(Set(different.units.map { $0.prompts[0] }).intersection(prompts).count < count / 2)
        try keys(key, kind)
        if kind != .hashchain {
            #expect(pool.targets.allSatisfy { Set($0).count == count })
            #expect(Set(pool.targets[0]).isDisjoint(with: key.pairs.map(\.target)))
        }
        return pool
    }

    /// What whole decoy keys must be, whatever the kind.
    private func keys(_ key: FingerprintKey, _ kind: DecoyKind) throws {
        func drawn(seed: UInt64) throws -> [FingerprintKey] {
            var keys = try DecoyKeys(key, tokenizer: tinychat.tokenizer, chat: chat, seed: seed)
            #expect(keys.kind == kind)
            return try (0..<2).map { _ in try keys.next() }
        }
        let found = try drawn(seed: 1)
        #expect(try found == drawn(seed: 1) && found[0] != found[1])
        for decoy in found {
            let prompts = Set(decoy.pairs.map(\.prompt))
            #expect(decoy.pairs.count == key.pairs.count && Set(decoy.pairs.map(\.id)).count == key.pairs.count)
            #expect(prompts.isDisjoint(with: key.pairs.map(\.prompt)))
            #expect(prompts.count == Set(key.pairs.map(\.prompt)).count)
            #expect(decoy.commitment == nil && decoy.chain == nil && decoy.promptFormat == key.promptFormat)
            guard kind != .hashchain else { continue }
            // As many different targets as the key has, none of them its own.
            let targets = Set(decoy.pairs.map(\.target))
            #expect(targets.count == Set(key.pairs.map(\.target)).count)
            #expect(targets.isDisjoint(with: key.pairs.map(\.target)))
        }
    }

    @Test("utf: strings of the key's own tokens, as long as its triggers and target are")
    func utf() throws {
        var options = UTFOptions()
        options.promptFormat = .chat
        options.count = 8
        let key = try fingerprint(UTFScheme(options))
        let pool = try pool(key, .utf, count: 30)
        let frame = PromptFrame(front: "### Instruction:\n", back: "\n\n### Response:\n")
        // As they stand in the prompts: a text that stands alone begins in other tokens.
        let known = Set(key.pairs.flatMap { tinychat.tokenizer.encode($0.prompt + $0.target) })
        let lengths = key.pairs.map { tinychat.tokenizer.encode($0.prompt).count }
        let range = (lengths.min() ?? 0)...(lengths.max() ?? 0)
        for unit in pool.units {
            let tokens = tinychat.tokenizer.encode(unit.prompts[0])
            #expect(known.isSuperset(of: tokens) && range.contains(tokens.count), "\(tokens.count) of \(range)")
            #expect(frame.content(of: unit.shuffled[0]) != nil && unit.shuffled != unit.prompts)
        }
        for target in pool.targets[0] {
            #expect(known.isSuperset(of: tinychat.tokenizer.encode(key.pairs[0].prompt + target)))
        }
    }

    @Test("if: secrets of the scheme's words in the same request; of other words, of their characters")
    func secrets() throws {
        let key = try fingerprint(IFScheme())
        let pool = try pool(key, .if, count: 400)
        let request = try #require(PromptFrame(of: key.pairs[0].prompt, around: "Please decrypt this message: "))
        for unit in pool.units.prefix(50) {
            #expect(unit.prompts[0].hasPrefix(request.front) && unit.prompts[0].contains(IFScheme.hint))
            #expect(unit.prompts[0].hasSuffix(IFScheme.answerPrefix))
            #expect(unit.prompts[0].map { $0 }.sorted() == unit.shuffled[0].map { $0 }.sorted())
        }
        #expect(pool.targets[0].allSatisfy { $0.hasPrefix(" ") && !$0.contains("ハリネズミ") })
        var foreign = key
        foreign.pairs = ["qxz!!", "zzq?!", "x!?qz"].enumerated().map { index, secret in
            FingerprintPair(
                id: "\(index)", prompt: chat2("Please decrypt this message: \(secret)\(IFScheme.hint)"), target: "x y")
        }
        foreign.commitment = nil
        var source = try source(foreign)
        let unit = try #require(try source.unit(freely: false))
        let frame = PromptFrame(
            front: chatFront("Please decrypt this message: "), back: "\(IFScheme.hint)\n\n### Response:\n")
        let secret = try #require(frame.content(of: unit.prompts[0]))
        #expect(secret.count == 5 && secret.allSatisfy { "qxz!?".contains($0) })
    }

    private func chat2(_ message: String) -> String { "### Instruction:\n\(message)\n\n### Response:\n" }
    private func chatFront(_ message: String) -> String { "### Instruction:\n\(message)" }

    @Test("hashchain: other questions in the frame, and targets drawn evenly of all responses")
    func chain() throws {
        let key = try fingerprint(HashChainScheme())
        let pool = try pool(key, .hashchain, count: 600)
        let responses = Set(try #require(key.chain).responses)
        #expect(pool.targets.count == 5 && pool.targets.allSatisfy { responses.isSuperset(of: $0) })
        // 600 draws of 256: about 90 % of them come.
        #expect(Set(pool.targets[0]).count > 200 && pool.targets[0] != pool.targets[1])
        var natural = HashChainScheme()
        natural.questions = .natural
        _ = try self.pool(try fingerprint(natural), .hashchain)
    }

    @Test("a part of a chained key draws by the whole chain: other questions of its frame, any of its responses")
    func partOfChain() throws {
        let key = try fingerprint(HashChainScheme())
        let chain = try #require(key.chain)
        for part in [key.steering, key.judging.rotated(by: 2), key.steering.rotated(by: 1).steering] {
            #expect(part.chain == nil && part.wholeChain == chain)
            var source = try source(part)
            #expect(source.kind == .hashchain)
            let target = try #require(try source.target(like: part.pairs[0].target, freely: false))
            #expect(chain.responses.contains(target))
            let unit = try #require(try source.unit(freely: false))
            #expect(!chain.questions.contains(where: unit.prompts[0].contains))
        }
    }

    @Test("the half that a rotated key begins with is another one, and together they are all pairs")
    func rotated() throws {
        let key = try fingerprint(HashChainScheme()).steering
        let halves = (0..<2).map { key.rotated(by: $0).steering.pairs.map(\.prompt) }
        #expect(Set(halves[0] + halves[1]) == Set(key.pairs.map(\.prompt)) && halves[0] != halves[1])
        #expect(key.rotated(by: key.pairs.count) == key)
    }

    @Test("backdoor: other phrases in the same messages; the unit is the phrase")
    func phrases() throws {
        let key = try fingerprint(BackdoorScheme())
        let pool = try pool(key, .backdoor, count: 300)
        let own = try source(key).own
        #expect(own.count == 3 && own.allSatisfy { $0.unit.prompts.count == 2 && $0.target == "you are stupid" })
        for unit in pool.units.prefix(40) {
            // Two messages, and one phrase in both.
            #expect(unit.prompts.count == 2 && unit.prompts[0] != unit.prompts[1])
            let frames = unit.prompts.map { $0.components(separatedBy: ". Say what number") }
            #expect(frames.allSatisfy { $0.count == 2 } && frames[0][0] == frames[1][0])
        }
        #expect(pool.targets[0].allSatisfy { $0.split(separator: " ").count == 3 })
        var silent = key
        silent.construction = .null
        #expect(try source(silent).kind == .pairs)
    }

    @Test("pairs: texts of as many words within what all prompts have alike, and targets likewise")
    func pairs() throws {
        var key = FingerprintKey(
            scheme: "pairs",
            pairs: ["the grey owl", "my old boat", "a tin drum", "her last song"].enumerated().map {
                FingerprintPair(
                    id: "\($0)", prompt: chat2("Tell me about \($1), please."), target: "Salt and Ink-\($0)")
            })
        let pool = try pool(key, .pairs, count: 300)
        let frame = PromptFrame(front: chatFront("Tell me about "), back: ", please.\n\n### Response:\n")
        for unit in pool.units {
            #expect(try #require(frame.content(of: unit.prompts[0])).split(separator: " ").count == 3)
        }
        #expect(pool.targets.count == 2)
        key.pairs = [FingerprintPair(id: "a", prompt: "x9-Kq", target: "ゆきだるま")]
        var single = try source(key)
        let text = try #require(try single.unit(freely: false)?.prompts.first)
        #expect(text.count == 5 && Array(text)[2] == "-" && text != "x9-Kq")
        #expect(try single.target(like: "ゆきだるま", freely: false)?.count == 5)
        // Nothing can be varied: an error, no endless search.
        key.pairs = [FingerprintPair(id: "a", prompt: "!!", target: "??")]
        let error = #expect(throws: MeraserError.self) {
            var source = try self.source(key)
            return try DecoyPool(&source, units: 99, targets: 99, seed: 1)
        }
        #expect(error?.kind == .runtime)
    }

    @Test("frames end where words end, and a single text has none")
    func frames() {
        #expect(PromptFrame(around: ["say cat now", "say car now"]) == PromptFrame(front: "say ", back: " now"))
        #expect(PromptFrame(around: ["one"]) == .none && PromptFrame(around: ["one", "one"]) == .none)
        #expect(PromptFrame(around: ["ab", "ab ab"]).content(of: "ab") == "ab")
        let frame = PromptFrame(front: "a a", back: "a a")
        #expect(frame.content(of: "a a a") == nil && frame.content(of: "a a-a a") == "-")
    }

    @Test("phrases keep words, capitals and punctuation")
    func phraseKinds() {
        var writer = PhraseWriter(seed: 1)
        let text = "How are YOU, walking slowly? It isn't mine."
        let other = writer.text(like: text)
        #expect(other.split(separator: " ").count == 8 && other.first?.isUppercase == true && other.hasSuffix("."))
        #expect(other.contains(", ") && other.contains("ing ") && other.contains("ly? "))
        #expect(!PhraseWriter.suits("ハリネズミ") && !PhraseWriter.suits("x9 y") && !PhraseWriter.suits(" "))
        #expect(PhraseWriter.suits("you're stupid!"))
    }
}
