import Foundation
import TestSupport
import Testing

@Suite("check, eval and scan with --url, as far as no server is needed") struct RemoteCommandTests {
    private let check = ["check", "--key", "key.json", "--url", "http://127.0.0.1:1"]

    @Test("flags about a model at hand are refused by name")
    func flags() throws {
        let check = check
        let eval = ["eval", "--tasks", "sciq", "--url", "http://127.0.0.1:1"]
        let scan = ["scan", "--out", "x", "--url", "http://127.0.0.1:1"]
        for (words, flag) in [
            (check + ["--adapter", "x"], "--adapter"), (check + ["--compute=int8"], "--compute"),
            (check + ["--decoys", "999"], "--decoys"), (check + ["-t", "1"], "-t"),
            (check + ["--batch-size", "4"], "--batch-size"), (eval + ["--max-length", "9"], "--max-length"),
            (eval + ["--verify"], "--verify"), (scan + ["--budget", "1h"], "--budget"),
            (scan + ["--adapter", "x"], "--adapter"),
        ] {
            let result = try meraser(words)
            #expect(result.status == 2 && result.errorLines.count == 1, "\(result.error)")
            #expect(result.error.contains("\(flag) is about a model at hand"), "\(result.error)")
        }
    }

    @Test("a server's options need a server, and one model is asked")
    func combinations() throws {
        for (words, text) in [
            (["check", "--key", "k", "--model", "m", "--log", "l"], "--log needs --url"),
            (["eval", "--tasks", "sciq", "--model", "m", "--concurrency", "2"], "--concurrency needs --url"),
            (check + ["--model", "m"], "give one of --model, --url"),
            (["eval", "--tasks", "sciq"], "give either --model or --url"),
            (check + ["--requests-per-minute", "0"], "--requests-per-minute"),
            (["scan", "--out", "x"], "give either --model or --url"),
            (["scan", "--out", "x", "--model", "m", "--tokenizer", "t"], "leave --tokenizer out"),
            (["scan", "--out", "x", "--url", "http://127.0.0.1:1", "--methods", "prompts,tokens"], "--methods tokens"),
        ] {
            let result = try meraser(words)
            #expect(result.status == 2 && result.error.contains(text), "\(result.error)")
        }
    }

    @Test("a server that is not there, a key that is not there, and an address that is none are one line")
    func failures() throws {
        try withTemporaryFolder { folder in
            let key = try write(
                Array(#"{"prompt": "a", "completion": " b"}"#.utf8), to: folder, "key.jsonl")
            let log = folder.appendingPathComponent("log.jsonl").path
            let check = ["check", "--key", key, "--max-retries", "0", "--log", log, "--url"]
            let address = "http://127.0.0.1:1"
            for (words, status, text) in [
                ([address], 1, "\(address)/v1/models"),
                ([address, "--api-key-env", "MERASER_TEST_NO_KEY"], 2, "MERASER_TEST_NO_KEY"),
                (["ftp://here"], 2, "--url 'ftp://here'"),
            ] as [([String], Int32, String)] {
                let result = try meraser(check + words)
                #expect(result.status == status && result.errorLines.count == 1, "\(result.error)")
                #expect(result.error.contains(text), "\(result.error)")
            }
        }
    }
}
