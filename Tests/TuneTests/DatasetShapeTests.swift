import Base
import Foundation
import Model
import TestSupport
import Testing

@testable import Tune

/// One token per byte; BOS 1, EOS 2.
private struct ByteTokenizer: SampleTokenizer {
    var bosID: Int32? = 1
    var eosID: Int32? = 2
    func encode(_ text: String, addSpecialTokens: Bool) -> [Int32] {
        (addSpecialTokens ? [1] : []) + text.utf8.map { Int32($0) }
    }
}

private func encode(
    _ text: String, _ name: String, removing columns: [String] = [], loss: LossScope = .completion,
    length: Int? = nil, template source: String? = nil
) throws -> EncodedDataset {
    var options = EncodingOptions(loss: loss)
    (options.removeColumns, options.maxLength) = (columns, length)
    let template = try ChatTemplate(
        source: source ?? "{% if tools %}[{{ (tools[0].function or tools[0]).name }}]{% endif %}{% for m in messages %}"
            + "<{{ m.role }}>{{ m.content }}{% if m.tool_calls %}({{ m.tool_calls[0].function.name }}){% endif %}</>{% endfor %}"
            + "{% if add_generation_prompt %}<assistant>{% endif %}")
    return try EncodedDataset(
        DatasetFile(bytes: Array(text.utf8), path: name, removing: columns), options: options,
        tokenizer: ByteTokenizer(), chatTemplate: template)
}

/// Of each sample the whole text and the learnt part.
private func described(_ data: EncodedDataset) -> [[String]] {
    func text(_ ids: [Int32]) -> String {
        String(
            decoding: ids.map { $0 == 1 ? UInt8(ascii: "^") : $0 == 2 ? UInt8(ascii: "$") : UInt8($0) }, as: UTF8.self)
    }
    return data.samples.map { [text($0.inputs + $0.labels.suffix(1)), text($0.labels.filter { $0 >= 0 })] }
}

@Suite("Shapes and formats of datasets")
struct DatasetShapeTests {
    /// What LLaMA-Factory's template qwen says, in a template of ours.
    private static let qwen = """
        {%- if tools %}{{ '<|im_start|>system\\n' }}
            {{- messages[0].content if messages[0].role == 'system' else 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
            {{- '\\n\\n# Tools\\n\\nYou may call one or more functions to assist with the user query.\\n\\nYou are provided with function signatures within <tools></tools> XML tags:\\n<tools>' }}
            {%- for tool in tools %}{{ '\\n' }}{{ tool | tojson }}{% endfor %}
            {{- '\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:\\n<tool_call>\\n{"name": <function-name>, "arguments": <args-json-object>}\\n</tool_call><|im_end|>\\n' }}
        {%- elif messages[0].role == 'system' %}{{ '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{% endif %}
        {%- for m in messages %}
            {%- if m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}
            {%- elif m.tool_calls %}{{ '<|im_start|>assistant' }}
                {%- for call in m.tool_calls %}{{ '\\n<tool_call>\\n' }}{{ call.function | tojson }}{{ '\\n</tool_call>' }}{% endfor %}
                {{- '<|im_end|>\\n' }}
            {%- elif m.role != 'system' %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endif %}
        {%- endfor %}
        {%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
        """

    @Test("calls of tools in ShareGPT rows become LLaMA-Factory's texts, and its answers are what is learnt")
    func functionCalls() throws {
        // From tools/make_sharegpt_vectors.py: LLaMA-Factory 0.9.5.
        let url = try #require(Bundle.module.url(forResource: "Fixtures/sharegpt_vectors", withExtension: "json"))
        let cases = try JSONValue.parse(Array(Data(contentsOf: url)), file: "v").array("cases", in: "v")
        #expect(cases.count == 4)
        for item in cases {
            let parts = try item.array("parts", in: "v").compactMap { $0.array?.compactMap(\.string) }
            let row = try #require(item["row"]).serialized()
            let got = try #require(described(encode(row, "v.jsonl", length: 4096, template: Self.qwen)).first)
            // The last line break is behind the end of the turn: nobody reads on, and nothing is learnt of it.
            let text = parts.joined().joined()
            #expect(text.hasPrefix(got[0]) && text.dropFirst(got[0].count).allSatisfy(\.isNewline), "\(got[0])")
            let (learnt, answers) = (got[1].filter { $0 != "\n" }, parts.map { $0[1] }.joined().filter { $0 != "\n" })
            #expect(learnt == answers)
        }
    }

    @Test(
        "a call that is none, and who else speaks, is refused by name",
        arguments: [
            (#"{"from": "function_call", "value": "now()"}"#, "'value'"),
            (#"{"from": "function_call", "value": "{\"name\": \"f\"}"}"#, "expected JSON with a name and arguments"),
            (#"{"from": "function_call", "value": "[]"}"#, "has no call"),
            (#"{"from": "narrator", "value": "x"}"#, "'from' is 'narrator'"),
        ])
    func badCalls(turn: String, named: String) {
        let text = errorText(.badInput) {
            _ = try encode(#"{"conversations": [{"from": "human", "value": "q"}, \#(turn)]}"#, "v.jsonl")
        }
        #expect(text.contains("turn 2") && text.contains(named), "\(text)")
    }

    @Test(
        "every shape is read, and of it the answers are learnt",
        arguments: [
            (#"{"prompt": "ab", "response": "cd"}"#, "^abcd$", "cd$"),
            (#"{"prompt": "ab", "chosen": "cd", "rejected": "x"}"#, "^abcd$", "cd$"),
            (#"{"input": "ab", "output": "cd", "source": "x"}"#, "^abcd$", "cd$"),
            (
                #"{"id": "niv.1", "system_prompt": "s", "question": "q", "response": "r"}"#,
                "<system>s</><user>q</><assistant>r</>", "r</>"
            ),
            (#"{"system_prompt": "", "question": "q", "response": "r"}"#, "<user>q</><assistant>r</>", "r</>"),
            (
                #"{"conversations": [{"from": "system", "value": "s"}, {"from": "human", "value": "q"},"#
                    + #" {"from": "gpt", "value": "r"}, {"from": "human", "value": "p"}, {"from": "gpt", "value": "t"}]}"#,
                "<system>s</><user>q</><assistant>r</><user>p</><assistant>t</>", "r</>t</>"
            ),
            (
                #"{"system": "s", "tools": "[{\"name\": \"f\"}]", "conversations": [{"from": "human", "value": "q"},"#
                    + #" {"from": "gpt", "value": "r", "weight": 0}, {"from": "observation", "value": "o", "weight": null},"#
                    + #" {"from": "gpt", "value": "t", "weight": 1}]}"#,
                "[f]<system>s</><user>q</><assistant>r</><tool>o</><assistant>t</>", "t</>"
            ),
            (
                #"{"conversations": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]}"#,
                "<user>q</><assistant>r</>", "r</>"
            ),
            (
                #"{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant","#
                    + #" "content": "", "tool_calls": [{"function": {"name": "f"}}]}, {"role": "tool", "content": "5"},"#
                    + #" {"role": "assistant", "content": "r"}], "tools": [{"name": "f"}]}"#,
                "[f]<system>s</><user>q</><assistant>(f)</><tool>5</><assistant>r</>", "(f)</>r</>"
            ),
            (
                #"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r", "weight": 0},"#
                    + #" {"role": "user", "content": "p"}, {"role": "assistant", "content": "t"}]}"#,
                "<user>q</><assistant>r</><user>p</><assistant>t</>", "t</>"
            ),
            (
                #"{"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}, {"role": "user","#
                    + #" "content": "p"}], "completion": [{"role": "assistant", "content": "t"}]}"#,
                "<user>q</><assistant>r</><user>p</><assistant>t</>", "t</>"
            ),
            (
                #"{"chosen": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}],"#
                    + #" "rejected": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "n"}]}"#,
                "<user>q</><assistant>r</>", "r</>"
            ),
        ])
    func shapes(_ row: String, all: String, learnt: String) throws {
        #expect(described(try encode(row, "d.jsonl")) == [[all, learnt]])
        // Lists are what a table has as JSON, texts as they are.
        guard let object = try JSONValue.parse(Array(row.utf8), file: "d").object, object["chosen"] == nil,
            object["completion"] == nil
        else { return }
        func cell(_ text: String) -> String { "\"" + text.replacing("\"", with: "\"\"") + "\"" }
        let heading = object.members.map { cell($0.key.string) }.joined(separator: "\t")
        let cells = object.members.map { cell($0.value.string ?? $0.value.serialized()) }.joined(separator: "\t")
        #expect(described(try encode(heading + "\r\n" + cells + "\r\n", "d.tsv")) == [[all, learnt]])
    }

    @Test("the same rows as .json, .jsonl with a mark and CRLF, .csv and .tsv are the same samples")
    func formats() throws {
        let want = [["^a, \"b\"\nc", "c"], ["^é\u{301}x ", "x "]].map { [$0[0] + "$", $0[1] + "$"] }
        let files = [
            (
                "d.json",
                #"[{"prompt": "a, \"b\"\n", "completion": "c"}, {"prompt": "é\u0301", "completion": "x "}]"#
            ),
            (
                "d.jsonl",
                "\u{FEFF}{\"prompt\": \"a, \\\"b\\\"\\n\", \"completion\": \"c\"}\r\n\r\n"
                    + "{\"prompt\": \"é\u{301}\", \"completion\": \"x \"}\r\n"
            ),
            ("d.csv", "\u{FEFF}prompt,completion\r\n\"a, \"\"b\"\"\n\",c\r\né\u{301},x \r\n"),
            ("D.CSV", ",completion,prompt\n0,c,\"a, \"\"b\"\"\n\"\n1,x ,é\u{301}"),
            ("d.tsv", "prompt\tcompletion\n\"a, \"\"b\"\"\n\"\tc\n\né\u{301}\tx \n"),
        ]
        for (name, text) in files { #expect(described(try encode(text, name)) == want, "\(name)") }
    }

    @Test(
        "what no dataset is, is refused by name, with what to do",
        arguments: [
            ("d.parquet", "PAR1....", "Parquet file", "to_json"), ("d.json", "PAR1....", "Parquet file", "to_json"),
            ("d.arrow", "ARROW1", "Arrow file", "to_json"),
            ("d.csv", "a,b\n1\n", "d.csv:2: 1 cells", "2 columns"), ("d.csv", "a,a\n1,2\n", "'a'", "two columns"),
            ("d.csv", "a,,b\n1,2,3\n", "column 2", "no name"), ("d.csv", "a,b\n", "no rows", "d.csv"),
            ("d.csv", "a,b\n\"x\"y,2\n", "d.csv:2", "goes on behind"),
            ("d.csv", "a,b\n1,\"2\n", "d.csv:2", "nothing closes"),
            ("d.csv", "prompt,completion,score\na,b,3\n", "'score'", "`remove_columns` score"),
            (
                "d.jsonl", #"{"prompt": "a", "completion": "b", "score": 3, "annotator": "x", "note": null}"#,
                "'score'",
                "`remove_columns` score,annotator"
            ),
            (
                "d.jsonl", #"{"prompt": "a", "completion": "b", "outputs": "c"}"#, "'outputs'",
                "`remove_columns` outputs"
            ),
            ("d.jsonl", #"{"conversations": [{"from": "bot", "value": "x"}]}"#, "'from' is 'bot'", "gpt"),
            ("d.jsonl", #"{"conversations": [{"from": "gpt", "value": "x", "lang": "en"}]}"#, "turn 1", "'lang'"),
            (
                "d.jsonl", #"{"messages": [{"role": "user", "content": "x", "weight": 0.5}]}"#, "'weight' is 0.5",
                "0 or 1"
            ),
            ("d.csv", "messages\n[{]\n", "d.csv:2: 'messages'", "invalid JSON"),
            (
                "d.jsonl", #"{"prompt": "a", "completion": "b", "tools": [{"name": "f"}]}"#, "'tools'",
                "no chat template"
            ),
            (
                "d.jsonl", #"{"prompt": "a", "chosen": [{"role": "user", "content": "x"}]}"#, "'prompt' is a string",
                "two lists"
            ),
            (
                "d.jsonl",
                #"{"prompt": "a", "chosen": "b"}"# + "\n" + #"{"chosen": [{"role": "assistant", "content": "x"}]}"#,
                "d.jsonl:2 is a conversation", "one kind"
            ),
        ])
    func refusals(_ name: String, _ text: String, _ first: String, _ second: String) {
        let got = message { _ = try encode(text, name) }
        #expect(got.hasPrefix("badInput: ") && got.contains(first) && got.contains(second), "\(got)")
    }

    @Test("UTF-16, and files packed by gzip, zstd, xz and zip are refused with the tool that makes them readable")
    func foreignBytes() {
        for (bytes, tool) in [
            ([0x1F, 0x8B, 8], "gunzip"), ([0x28, 0xB5, 0x2F, 0xFD], "zstd -d"),
            ([0xFD, 0x37, 0x7A, 0x58, 0x5A], "xz -d"),
            ([0x50, 0x4B, 3, 4], "unzip"), ([0xFF, 0xFE, 0x7B, 0], "iconv"),
        ] as [([UInt8], String)] {
            let got = message { _ = try RowFile(bytes, path: "d.jsonl") }
            #expect(got.hasPrefix("badInput: d.jsonl is ") && got.contains(tool), "\(got)")
        }
    }

    @Test("columns that are named are taken out before anything is read, so that they may even decide the shape")
    func removing() throws {
        let row = #"{"prompt": "a", "completion": "b", "score": 3, "messages": [{"role": "user", "content": "x"}]}"#
        #expect(described(try encode(row, "d.jsonl", removing: ["score", "messages"])) == [["^ab$", "b$"]])
        var options = TrainingOverrides()
        try options.set("remove_columns", text: "score,messages")
        #expect(try TrainingOptions(preset: nil, flags: options).encoding.removeColumns == ["score", "messages"])
    }

    @Test(
        "where a template marks its answers, those of weight 0 are left out too; if their number differs, nobody knows")
    func markedAnswers() throws {
        let marks =
            "{% for m in messages %}{% if m.role == 'assistant' %}<{% generation %}{{ m.content }}{% endgeneration %}>"
            + "{% else %}{{ m.content }}{% endif %}{% endfor %}"
        let row =
            #"{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r", "weight": 0},"#
            + #" {"role": "user", "content": "p"}, {"role": "assistant", "content": "t"}]}"#
        #expect(described(try encode(row, "d.jsonl", template: marks)).map { $0[1] } == ["t"])
        let last = "{% generation %}{{ messages[-1].content }}{% endgeneration %}"
        #expect(message { _ = try encode(row, "d.jsonl", template: last) }.contains("of its 2 the template marks 1"))
    }

    @Test("cells are those of Python's csv module, errors where its strict reader has them")
    func csvVectors() throws {
        let url = packageRoot().appendingPathComponent("Tests/TuneTests/Fixtures/csv_vectors.json")
        let vectors = try JSONValue.parse(Array(Data(contentsOf: url)), file: url.path)
        let cases = try vectors.array("cases", in: url.path)
        #expect(cases.count > 100)
        for item in cases {
            let text = Array(try item.string("text", in: url.path).utf8)
            let delimiter: UInt8 = try item.bool("tabs", in: url.path) ? 0x09 : 0x2C
            let rows = try? DelimitedRows.all(text, delimiter: delimiter, file: "c").map { $0.cells.map(\.string) }
            let want = item["rows"]?.array?.map { $0.array?.compactMap(\.string) ?? [] }
            #expect(rows == want, "\(item.serialized())")
        }
    }

    @Test("every cut of a table is an error or a shorter one, never a trap")
    func cutTables() throws {
        let bytes = Array("\u{FEFF}prompt,completion\r\n\"a\"\"é\n\",b\r\nc,\"d\"\r\n".utf8)
        for length in 0..<bytes.count {
            let rows = try? RowFile(Array(bytes[..<length]), path: "d.csv").rows.count
            #expect((rows ?? 0) <= 2)
        }
        #expect(try RowFile(bytes, path: "d.csv").rows.map(\.place) == ["d.csv:2", "d.csv:4"])
    }
}

@Suite("Lists of datasets")
struct DatasetListTests {
    private func sets(_ counts: [Int]) -> [EncodedDataset] {
        counts.enumerated().map { file, count in
            let samples = (0..<count).compactMap {
                TrainingSample(tokens: [Int32(file), Int32($0)], isLabel: [false, true])
            }
            return EncodedDataset(samples: samples, skipped: file, sha256: "hash \(file)")
        }
    }

    private func mixed(_ list: String, _ counts: [Int], seed: UInt64 = 1) throws -> (EncodedDataset, [[Int32]]) {
        let data = try EncodedDataset(DatasetList(list), sets(counts), seed: seed)
        return (data, counts.indices.map { file in data.samples.filter { $0.inputs[0] == file }.map { $0.labels[0] } })
    }

    @Test("files without weights are one after the other, all of their rows; one file is itself")
    func plain() throws {
        let (data, rows) = try mixed("a.jsonl,b.csv", [3, 2])
        #expect(rows == [[0, 1, 2], [0, 1]] && data.samples.map { $0.inputs[0] } == [0, 0, 0, 1, 1])
        #expect(data.skipped == 1)
        let one = try EncodedDataset(DatasetList("a.jsonl"), [sets([4])[0]], seed: 3)
        #expect(one.sha256 == "hash 0" && one.samples.count == 4)
    }

    @Test("with weights they give samples in that proportion, as many as the scarcest allows, none twice, by the seed")
    func weighted() throws {
        for (list, counts, want) in [
            ("a:0.7,b:0.3", [1000, 90], [210, 90]), ("a:7,b:3", [70, 1000], [70, 30]),
            ("a:1,b:1,c:2", [10, 9, 100], [9, 9, 18]),
            ("a:0.1,b:0.2", [10, 20], [10, 20]), ("a:3,b:1", [10, 10], [10, 3]),
        ] {
            let (data, rows) = try mixed(list, counts)
            #expect(rows.map(\.count) == want, "\(list) of \(counts)")
            for file in rows { #expect(file == file.sorted() && Set(file).count == file.count) }
            #expect(try mixed(list, counts).0.samples == data.samples)
        }
        let (one, two) = (try mixed("a:1,b:1", [100, 10], seed: 1), try mixed("a:1,b:1", [100, 10], seed: 2))
        #expect(one.1[0] != two.1[0] && one.0.sha256 != two.0.sha256)
        #expect(one.1[0] != Array(0..<10), "drawn, not the first ones")
        #expect(try mixed("a:1,b:2", [100, 10]).0.sha256 != one.0.sha256)
    }

    @Test("a list that is none is a usage error; a file whose name has a comma or a colon is that file")
    func reading() throws {
        for (text, named) in [
            ("a.jsonl,,b", "empty"), ("a:0,b:1", "above 0"), ("a:1,b", "not every file"), ("a:0.5", "one file alone"),
            ("a:nan,b:1", "above 0"), (":1,b:1", "above 0"), ("a:-1,b:2", "above 0"),
        ] {
            let got = message { _ = try DatasetList(text) }
            #expect(got.hasPrefix("usage: `data`") && got.contains(named), "\(text): \(got)")
        }
        #expect(message { _ = try mixed("a:1,b:1000", [10, 10]) }.contains("none of the 10 samples of a is taken"))
        #expect(try DatasetList("x/a:b.json,c:0x.json").paths == ["x/a:b.json", "c:0x.json"])
        let list = try DatasetList("/x/a.jsonl:0.7,b.csv:0.3")
        #expect(
            list.text == "/x/a.jsonl:0.7,b.csv:0.3" && list.mapPaths { "y/" + $0 }.paths == ["y//x/a.jsonl", "y/b.csv"])
        try withTemporaryFolder { folder in
            let path = folder.appendingPathComponent("a:1,b:2").path
            try Data("x".utf8).write(to: URL(fileURLWithPath: path))
            #expect(try DatasetList(path).parts == [DatasetList.Part(path: path, weight: nil)])
            #expect(try DatasetList(path).sha256() == sha256Hex("x".utf8))
        }
    }
}
