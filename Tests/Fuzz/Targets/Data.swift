import Audit
import Base
import Pipeline
import Tune

extension FuzzTarget {
    /// Readers of rows: data, keys, prompts and answers.
    static let data = [json, yaml, datasetJSON, datasetJSONL, datasetCSV, datasetTSV, key, pairs, answers]

    private static let json = FuzzTarget(
        "json",
        texts: [#"{"a": [1, -2.5e3, true, null, "\u00e9\ud83d\ude00\n"], "b": {"c": {}}, "": ""}"#],
        read: { bytes, _ in
            let value = try JSONValue.parse(bytes, file: "f.json")
            let again = try JSONValue.parse(Array(value.serialized().utf8), file: "written")
            try FuzzFinding.require(again == value, "what was written is another value")
            _ = value.serialized(indent: 2, sortedKeys: true)
        })

    private static let yaml = FuzzTarget(
        "yaml",
        texts: [
            "a: &x [1, 2.5, true, ~, 'q', \"r\\n\"]\nb: *x\nc:\n  - d: |\n      text\n    e: >-\n      more\n? f\n: {g: h}\n"
        ],
        read: { bytes, _ in _ = try parseYAML(bytes, file: "f.yml").serialized() })

    private static let rows = [
        #"{"prompt": "a", "completion": "b"}"#, #"{"text": "a\n\nb"}"#,
        #"{"instruction": "a", "input": "", "output": "b"}"#,
        #"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "train": true}], "tools": []}"#,
        #"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b", "weight": 0}]}"#,
        #"{"prompt": [{"role": "user", "content": "a"}], "chosen": [{"role": "assistant", "content": "b"}], "rejected": []}"#,
    ]

    private static func dataset(_ name: String, _ ending: String, _ texts: [String]) -> FuzzTarget {
        FuzzTarget(name, texts: texts) { bytes, scratch in
            let file = try DatasetFile(path: try scratch.file("data.\(ending)", bytes))
            try FuzzFinding.require(!file.rows.isEmpty, "a dataset without rows")
        }
    }

    private static let datasetJSON = dataset("dataset-json", "json", rows.dropLast().map { "[\($0),\n\($0)]" })
    private static let datasetJSONL = dataset("dataset-jsonl", "jsonl", rows.dropLast().map { "\($0)\n\($0)\n" })
    private static let datasetCSV = dataset(
        "dataset-csv", "csv", ["prompt,completion\na,\"b \"\"c\"\"\nd\"\r\ne,f\n", "\u{FEFF},text\n0,a\n"])
    private static let datasetTSV = dataset("dataset-tsv", "tsv", ["instruction\toutput\na\t\"b\tc\"\n"])

    private static let key = FuzzTarget(
        "key",
        texts: [
            """
            {"version": 1, "scheme": "utf", "match": "contains", "prompt_format": "raw", "max_new_tokens": 8,
            "pairs": [{"id": "0", "prompt": "a", "target": "b"}, {"id": "1", "messages": [{"role": "user", "content": "c"}],
            "target": "d"}], "clean_prompts": ["e"], "ignore_case": true, "construction": {"seed": 1}}
            """
        ],
        read: { bytes, scratch in
            let key = try FingerprintKey(json: bytes, file: "key.json")
            try FuzzFinding.require(!key.pairs.isEmpty, "a key without pairs")
            _ = try key.sharedHistory()
            _ = (key.half(.steering), key.half(.judging))
            _ = KeyCommitment(to: key.pairs)
        })

    private static let pairs = FuzzTarget(
        "pairs", texts: [#"{"prompt": "a", "completion": "b"}"# + "\n" + #"{"prompt": "c", "completion": "d"}"# + "\n"],
        read: { bytes, _ in _ = try FingerprintKey(pairsJSONL: bytes, file: "pairs.jsonl") })

    private static let answers = FuzzTarget(
        "answers", texts: [#"{"prompt": "a", "output": "b"}"# + "\n", #"{"id": "0", "output": "b"}"# + "\n"],
        read: { bytes, scratch in
            _ = try? PromptFile(path: try scratch.file("prompts.jsonl", bytes))
            _ = try AnswersFile(bytes, file: "answers.jsonl")
        })
}
