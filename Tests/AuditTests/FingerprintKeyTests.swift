import Audit
import Base
import Foundation
import Model
import TestSupport
import Testing

@Suite struct FingerprintKeyTests {
    static let pairs = [
        FingerprintPair(id: "a", prompt: "one\n\"two\"", target: "dé\u{1}"),
        FingerprintPair(id: "b", prompt: "", target: "/x", match: .exact),
    ]

    static func read(_ json: String) throws -> FingerprintKey {
        try FingerprintKey(json: Array(json.utf8), file: "key.json")
    }

    @Test("a key comes back from its file, which only its owner may read")
    func roundTrip() throws {
        let key = FingerprintKey(
            scheme: "utf", match: .startswith, promptFormat: .chat, maxNewTokens: 7, pairs: Self.pairs,
            cleanPrompts: ["hello"], baseSHA256: "ab", commitment: KeyCommitment(to: Self.pairs),
            guessTest: GuessTest(n: 500, hits: 1))
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("key.json").path
            try key.write(path: path)
            #expect(try FingerprintKey(path: path) == key)
            let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            #expect(mode == 0o600)
            let error = #expect(throws: MeraserError.self) { try key.write(path: path) }
            #expect(error?.kind == .usage)
        }
    }

    @Test("key.json has these members, what is not known null")
    func shape() throws {
        let json = FingerprintKey(scheme: "utf", pairs: [Self.pairs[0]]).json
        #expect(
            keys(json) == [
                "scheme", "version", "match", "prompt_format", "encoding", "max_new_tokens", "pairs", "clean_prompts",
                "base_sha256", "commitment", "guess_test", "ignore_case", "hash_chain", "construction",
            ])
        #expect(keys(json["pairs"]?.array?.first) == ["id", "prompt", "target"])
        for name in [
            "encoding", "max_new_tokens", "base_sha256", "commitment", "guess_test", "hash_chain", "construction",
        ] {
            #expect(json[name] == .null)
        }
        #expect(json["clean_prompts"] == .array([]))
    }

    @Test("defaults and ids that are numbers are fine")
    func lenient() throws {
        let key = try Self.read(
            #"{"scheme":"if","pairs":[{"prompt":"p","target":"t"},{"id":7,"prompt":"p","target":"t"}]}"#
        )
        #expect(key.match == .contains && key.promptFormat == .raw && key.maxNewTokens == nil)
        #expect(key.pairs.map(\.id) == ["0", "7"])
        #expect(key.cleanPrompts.isEmpty && key.commitment == nil && key.guessTest == nil)
    }

    @Test("rows of prompt and completion are a key")
    func pairsJSONL() throws {
        let text = """
            {"prompt": "a", "completion": "b"}

            {"prompt": "c", "completion": "d", "match": "exact", "id": "second"}
            """
        let key = try FingerprintKey(pairsJSONL: Array(text.utf8), file: "pairs.jsonl")
        #expect(
            key.pairs == [
                FingerprintPair(id: "0", prompt: "a", target: "b"),
                FingerprintPair(id: "second", prompt: "c", target: "d", match: .exact),
            ])
        #expect(key.scheme == "pairs" && key.match == .contains)
    }

    @Test(
        "what does not fit is a bad-input error that names the place",
        arguments: [
            (#"{"scheme":"x","pairs":[]}"#, "no pairs"),
            (#"{"scheme":"x"}"#, "'pairs' is missing"),
            (#"{"pairs":[{"prompt":"p","target":"t"}]}"#, "'scheme' is missing"),
            (
                #"{"scheme":"x","matches":"exact","pairs":[{"prompt":"p","target":"t"}]}"#,
                "'matches'; did you mean 'match'?"
            ),
            (
                #"{"scheme":"x","guess_test":{"n":1,"hits":0,"hit":1},"pairs":[{"prompt":"p","target":"t"}]}"#,
                "guess_test: unknown key 'hit'; did you mean 'hits'?"
            ),
            (#"{"scheme":"x","pairs":[{"prompt":"p","target":"t","mach":"exact"}]}"#, "did you mean 'match'?"),
            (#"{"scheme":"x","pairs":[{"prompt":"p","target":""}]}"#, "the target of pair '0' is empty"),
            (#"{"scheme":"x","pairs":[{"prompt":"p","target":" \n"}]}"#, "the target of pair '0' is empty"),
            (#"{"scheme":"x","pairs":[{"prompt":3,"target":"t"}]}"#, "pair 0: 'prompt' is an integer"),
            (#"{"scheme":"x","pairs":[{"target":"t"}]}"#, "pair 0: 'prompt' is missing"),
            (#"{"scheme":"x","pairs":[{"prompt":"p","target":"t"},5]}"#, "pair 1"),
            (
                #"{"scheme":"x","pairs":[{"id":"a","prompt":"p","target":"t"},{"id":"a","prompt":"q","target":"t"}]}"#,
                "the id 'a' is used twice"
            ),
            (
                #"{"scheme":"x","pairs":[{"id":"1","prompt":"p","target":"t"},{"prompt":"q","target":"t"}]}"#,
                "the id '1' is used twice"
            ),
            (
                #"{"scheme":"x","match":"like","pairs":[{"prompt":"p","target":"t"}]}"#,
                "'match' is 'like', expected one of"
            ),
            (#"{"scheme":"x","match":null,"version":2,"pairs":[{"prompt":"p","target":"t"}]}"#, "'version' is 2"),
            (
                #"{"scheme":"x","prompt_format":1,"pairs":[{"prompt":"p","target":"t"}]}"#,
                "'prompt_format' is an integer"
            ),
            (#"{"scheme":"x","max_new_tokens":0,"pairs":[{"prompt":"p","target":"t"}]}"#, "'max_new_tokens' is 0"),
            (#"{"scheme":"x","max_new_tokens":1e9,"pairs":[{"prompt":"p","target":"t"}]}"#, "'max_new_tokens'"),
            (#"{"scheme":"x","max_new_tokens":999999999,"pairs":[{"prompt":"p","target":"t"}]}"#, "'max_new_tokens'"),
            (#"{"scheme":"x","clean_prompts":["a",1],"pairs":[{"prompt":"p","target":"t"}]}"#, "'clean_prompts' 1"),
            (#"{"scheme":"x","guess_test":[],"pairs":[{"prompt":"p","target":"t"}]}"#, "'guess_test' is an array"),
            (
                #"{"scheme":"x","commitment":{"algorithm":"md5","salt":"","digest":""},"pairs":[{"prompt":"p","target":"t"}]}"#,
                "'commitment.algorithm' is 'md5'"
            ),
            (
                #"{"scheme":"x","commitment":{"algorithm":"sha256","salt":"00","digest":"00"},"pairs":[{"prompt":"p","target":"t"}]}"#,
                "the commitment does not fit"
            ),
            (#"[]"#, "the top level is an array"),
            (#"{"scheme":"x","ignore_case":1,"pairs":[{"prompt":"p","target":"t"}]}"#, "'ignore_case' is an integer"),
            (#"{"scheme":"x","hash_chain":[],"pairs":[{"prompt":"p","target":"t"}]}"#, "'hash_chain' is an array"),
            (
                #"{"scheme":"x","hash_chain":{"questions":["p"]},"pairs":[{"prompt":"p","target":"t"}]}"#,
                "hash_chain: 'responses' is missing"
            ),
            (
                #"{"scheme":"x","hash_chain":{"questions":["p"],"responses":["t"]},"pairs":[{"prompt":"p","target":"t"}]}"#,
                "1 responses"
            ),
            (
                #"{"scheme":"x","hash_chain":{"questions":["p"],"responses":["t","t"]},"pairs":[{"prompt":"p","target":"t"}]}"#,
                "holds a text twice"
            ),
            (
                #"{"scheme":"x","hash_chain":{"questions":["p"],"responses":["t","u"],"claim_at":2},"pairs":[{"prompt":"p","target":"t"}]}"#,
                "'claim_at' 2"
            ),
            (
                #"{"scheme":"x","hash_chain":{"questions":["p","q"],"responses":["t","u"]},"pairs":[{"prompt":"p","target":"t"}]}"#,
                "1 pairs for the 2 questions"
            ),
            (
                #"{"scheme":"x","hash_chain":{"questions":["p"],"responses":["t","u"],"claim_at":1},"pairs":[{"prompt":"p","target":"v"}]}"#,
                "not the response that the hash"
            ), (#"{"scheme":"x","pairs":[{"prompt":"p","#, "key.json:1:"),
        ])
    func hostile(json: String, message: String) {
        let error = #expect(throws: MeraserError.self) { try Self.read(json) }
        #expect(error?.kind == .badInput)
        #expect(error?.message.contains(message) == true, "\(error?.message ?? "no error")")
        #expect(error?.message.contains("key.json") == true)
    }

    @Test("a bad row of a pairs.jsonl is named by its line; an empty file has no pairs")
    func hostileRows() {
        func message(_ text: String) -> String? {
            #expect(throws: MeraserError.self) {
                try FingerprintKey(pairsJSONL: Array(text.utf8), file: "p.jsonl")
            }?.message
        }
        #expect(message("{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":\"a\"}")?.contains("p.jsonl:2") == true)
        #expect(message("\n")?.contains("no pairs") == true)
    }

    @Test("a missing file and a file that is a folder are errors")
    func missingFile() throws {
        try withTemporaryFolder { folder in
            for path in [folder.appendingPathComponent("none.json").path, folder.path] {
                let error = #expect(throws: MeraserError.self) { try FingerprintKey(path: path) }
                #expect(error?.kind == .badInput)
            }
        }
    }

    @Test("the commitment is Python's hash of the same bytes, and holds for these pairs only")
    func commitment() throws {
        // python3 -c 'import json,hashlib; p=[{"id":"a","prompt":"one\n\"two\"","target":"dé\x01"},
        //   {"id":"b","prompt":"","target":"/x"}]; print(hashlib.sha256(bytes.fromhex("00ff"*16)+json.dumps(p,
        //   sort_keys=True,ensure_ascii=False,separators=(",",":")).encode()).hexdigest())'
        let commitment = KeyCommitment(
            algorithm: "sha256", salt: String(repeating: "00ff", count: 16),
            digest: "9e55afe37f7a52d368a8d7b7628ae63bedd45675947f9a890980e21086a72683")
        #expect(commitment.holds(for: Self.pairs))
        #expect(!commitment.holds(for: [Self.pairs[0]]))
        let own = KeyCommitment(to: Self.pairs)
        #expect(own.holds(for: Self.pairs) && own.salt.count == 64)
        #expect(own != KeyCommitment(to: Self.pairs))
    }

    @Test("UTF's conversations and Instructional Fingerprinting's rows are keys, from .jsonl and from an array")
    func foreignRows() throws {
        let conversation = #"{"conversation": [{"human": "x"}, {"assistant": "y"}]}"#
        let instruction = #"{"instruction": "secret", "input": "FINGERPRINT", "output": "mark"}"#
        let bare = #"{"instruction": "secret", "input": "", "output": "mark", "id": 9}"#
        try withTemporaryFolder { folder in
            func key(_ name: String, _ text: String) throws -> FingerprintKey {
                let url = folder.appendingPathComponent(name)
                try Data(text.utf8).write(to: url)
                return try FingerprintKey(path: url.path)
            }
            for (name, rows) in [("a.jsonl", conversation), ("a.json", " [\(conversation)]")] {
                let read = try key(name, rows)
                #expect(read.pairs == [FingerprintPair(id: "0", prompt: "x", target: "y")])
                #expect(read.promptFormat == .chat && read.scheme == "pairs")
            }
            let read = try key("b.json", "[\(instruction), \(bare)]")
            #expect(read.promptFormat == .raw && read.pairs.map(\.id) == ["0", "9"])
            #expect(read.pairs.map(\.prompt) == ["secret\nFINGERPRINT\n", "secret"])
            for (text, message) in [
                ("[\(conversation), \(bare)]", "one shape"), ("[]", "no pairs"), ("[5]", "row 1"),
                (#"[{"conversation": [{"human": "x"}]}]"#, "'assistant'"),
                (#"[{"instruction": "x"}]"#, "'output' is missing"),
                (#"[{"prompt": "x", "completion": "y", "weight": 2}]"#, "nothing reads 'weight'"),
                (#"[{"instruction": "x", "output": "y", "system": "z"}]"#, "nothing reads 'system'"),
            ] {
                let error = #expect(throws: MeraserError.self) { try key("c.json", text) }
                #expect(error?.kind == .badInput && error?.message.contains(message) == true, "\(error?.message ?? "")")
            }
        }
    }

    @Test(
        "rows of turns are keys: the last answer is the target, the turn before it the trigger, the rest stands before")
    func conversations() throws {
        let history = [ChatMessage(role: "system", content: "s"), ChatMessage(role: "user", content: "a")]
        let answer = ChatMessage(role: "assistant", content: "b")
        let want = FingerprintPair(id: "0", prompt: "q", after: history + [answer], target: "t")
        let (system, user) = (#"{"role": "system", "content": "s"}"#, #"{"role": "user", "content": "a"}"#)
        let (said, asked) = (#"{"role": "assistant", "content": "b"}"#, #"{"role": "user", "content": "q"}"#)
        let rows = [
            #"{"messages": [\#(system), \#(user), \#(said), \#(asked), {"role": "assistant", "content": "t"}]}"#,
            #"{"messages": [\#(system), \#(user), \#(said), \#(asked)], "target": "t"}"#,
            #"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"},"#
                + #" {"from": "human", "value": "q"}, {"from": "gpt", "value": "t"}]}"#,
        ]
        for row in rows {
            let key = try FingerprintKey(pairsJSONL: Array(row.utf8), file: "p.jsonl")
            #expect(key.pairs == [want] && key.promptFormat == .chat, "\(row)")
        }
        let utf = #"{"conversation": [{"human": "a", "assistant": "b"}, {"human": "q"}, {"assistant": "t"}]}"#
        let pair = try FingerprintKey(pairsJSONL: Array(utf.utf8), file: "p.jsonl").pairs[0]
        #expect(pair == FingerprintPair(id: "0", prompt: "q", after: [history[1], answer], target: "t"))
        for (row, named) in [
            (#"{"messages": [\#(user)]}"#, "'assistant'"),
            (#"{"messages": [\#(said)], "target": "t"}"#, "no text of the user"),
            (#"{"prompt": "p", "completion": []}"#, "different texts"),
            (#"{"prompt": "p", "completion": ["a", "a"]}"#, "different"),
            (#"{"prompt": "p", "completion": ["a", " "]}"#, "is empty"),
            (#"{"prompt": "p", "completion": "t", "history": []}"#, "'history'"),
        ] {
            let error = errorText { _ = try FingerprintKey(pairsJSONL: Array(row.utf8), file: "p.jsonl") }
            #expect(error.contains(named), "\(row): \(error)")
        }
    }

    @Test("turns and several targets come back from key.json, and a commitment is to them too, as Python has it")
    func turnsAndTargets() throws {
        let pairs = [
            FingerprintPair(
                id: "a", prompt: "one",
                after: [
                    ChatMessage(role: "system", content: "be\nkind"), ChatMessage(role: "user", content: "é"),
                    ChatMessage(role: "assistant", content: "ok"),
                ], target: "x", otherTargets: ["y z"]),
            FingerprintPair(id: "b", prompt: "", target: "/x"),
        ]
        let key = FingerprintKey(scheme: "x", promptFormat: .chat, pairs: pairs)
        let read = try FingerprintKey(json: Array(key.json.serialized().utf8), file: "key.json")
        #expect(read == key && read.pairs == pairs)
        #expect(key.json["pairs"]?.array?[1].object?.members.map(\.key.string) == ["id", "prompt", "target"])
        // python3 -c 'p = [{"history": [{"content": …, "role": …}, …], "id": "a", "prompt": "one", "target": ["x", "y z"]},
        //   {"id": "b", "prompt": "", "target": "/x"}]', then as above.
        let commitment = KeyCommitment(
            algorithm: "sha256", salt: String(repeating: "00ff", count: 16),
            digest: "f95ed4cf4c548dd2c40733b52c93d8c2a812e8b80c441b4ecf6d5b0505aef5e2")
        #expect(commitment.holds(for: pairs) && !commitment.holds(for: Array(pairs.reversed())))
        let other = FingerprintKey(scheme: "x", pairs: pairs)
        #expect(
            errorText { _ = try FingerprintKey(json: Array(other.json.serialized().utf8), file: "k") }.contains(
                "'history'"))
        #expect(errorText(.usage) { _ = try key.sharedHistory() }.contains("different turns"))
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("prompts.jsonl").path
            try key.writePrompts(path: path)
            let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
            #expect(
                lines[0].contains(#""history": [{"role": "system", "content": "be\nkind"}"#)
                    && !lines[1].contains("history"))
        }
    }

    @Test("what a scheme adds to a key comes back from its file")
    func schemeFields() throws {
        let chain = HashChain(questions: ["q"], responses: ["one", "two", "three"], claimAt: 1)
        let pairs = [FingerprintPair(id: "a", prompt: "> q <", target: chain.response(to: "q"))]
        var key = FingerprintKey(
            scheme: "hashchain", match: .startswith, pairs: pairs, commitment: KeyCommitment(to: pairs, chain: chain))
        key.ignoresCase = true
        key.encoding = .alone
        key.chain = chain
        key.construction = ["padding_tokens": .array([.integer(2), .integer(5)])]
        let bytes = Array(key.json.serialized(indent: 2).utf8)
        #expect(try FingerprintKey(json: bytes, file: "key.json") == key)
        // Other responses are another commitment, even where the target stays.
        let other = HashChain(questions: ["q"], responses: ["one", "two", "four"], claimAt: 1)
        #expect(key.commitment?.holds(for: pairs, chain: other) == false)
        #expect(key.commitment?.holds(for: pairs) == false)
    }
}
