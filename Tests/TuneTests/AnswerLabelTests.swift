import Base
import Foundation
import Model
import Quant
import TestSupport
import Testing

@testable import Tune

/// Which tokens `--loss completion` learns of conversations, against Transformers' assistant masks
/// (tools/make_answer_vectors.py).
@Suite("Labels of answers")
struct AnswerLabelTests {
    private static func vectors() throws -> JSONValue {
        let url = packageRoot().appendingPathComponent("Tests/TuneTests/Fixtures/answer_vectors.json")
        return try JSONValue.parse([UInt8](try Data(contentsOf: url)), file: url.path)
    }

    private func samples(_ source: String, _ row: JSONValue) throws -> [TrainingSample] {
        let tokenizer = try Tokenizer(store: try openWeightStore(path: tinychatFolder().path))
        let template = try ChatTemplate(source: source, specialTokens: tokenizer.specialTokens)
        let file = try DatasetFile(bytes: Array(row.serialized().utf8), path: "d.jsonl")
        return try EncodedDataset(
            file, options: EncodingOptions(loss: .completion), tokenizer: tokenizer, chatTemplate: template
        ).samples
    }

    @Test(
        "marked or not, exactly the assistant's tokens are learnt, also where old thoughts are cut",
        arguments: [true, false])
    func masks(isMarked: Bool) throws {
        let root = try Self.vectors()
        for entry in try root.array("cases", in: "vectors") {
            let name = try entry.string("template", in: "vectors")
            var source = try root.string("templates", name, in: "vectors")
            if !isMarked {
                source = source.replacingOccurrences(of: "{% generation %}", with: "")
                    .replacingOccurrences(of: "{% endgeneration %}", with: "")
            }
            let ids = try entry.array("ids", in: "vectors").compactMap(\.int)
            let mask = try entry.array("mask", in: "vectors").compactMap(\.int)
            let want = zip(ids, mask).dropFirst().map { $1 == 1 ? Int32($0) : -1 }
            let row = try #require(entry["row"])
            let sample = try #require(try samples(source, row).first)
            let got = sample.labels + Array(repeating: -1, count: max(0, want.count - sample.labels.count))
            #expect(got == Array(want), "\(name): \(entry["row"]?.serialized() ?? "")")
        }
    }

    private let plain = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"

    @Test(
        "what the template does not read is refused by name; what holds nothing may be there",
        arguments: [
            (
                #"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","tool_calls":[{"x":1}]}]}"#,
                "'tool_calls'"
            ),
            (#"{"messages":[{"role":"user","content":"a","name":"N"},{"role":"assistant","content":"b"}]}"#, "'name'"),
            (
                #"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"tools":[{"name":"t"}]}"#,
                "'tools'"
            ),
            (
                #"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"documents":[{"t":"t"}]}"#,
                "'documents'"
            ),
            (
                #"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"chat_template_kwargs":{"k":1}}"#,
                "'k'"
            ),
            (#"{"messages":[{"role":"user","content":"a"}],"system":"s"}"#, "'system'"),
            (#"{"prompt":"a","completion":"b","weight":2}"#, "'weight'"),
            (#"{"instruction":"a","output":"b","inputs":"c"}"#, "'inputs'"),
            (#"{"question":"a","answer":"b","mismatched_answer":"c"}"#, "both"),
            (#"{"text":"a","label":1}"#, "'label'"),
            (#"{"conversation":[{"human":"a","bot":"b"}]}"#, "'bot'"),
            (#"{"messages":[{"role":"user","content":3}]}"#, "'content'"),
            (#"{"messages":[{"role":"user","content":"a"}],"tools":"x"}"#, "'tools'"),
        ])
    func refused(row: String, want: String) throws {
        let error = try #require(throws: MeraserError.self) {
            try samples(plain, try JSONValue.parse(Array(row.utf8), file: "r"))
        }
        #expect(error.kind == .badInput && error.message.contains(want), "\(error.message)")
        #expect(error.message.contains("d.jsonl:1"), "\(error.message)")
    }

    @Test("tools, calls, lists of parts and a template's own switches reach it")
    func passedOn() throws {
        let source = """
            {% for m in messages %}{{ m.role }}:{% if m.content is string %}{{ m.content }}{% else %}\
            {% for p in m.content or [] %}{{ p.text }}{% endfor %}{% endif %}\
            {% for c in m.tool_calls or [] %} CALL {{ c.function.name }}({{ c.function.arguments }}){% endfor %}
            {% endfor %}{% if tools %}TOOLS {{ tools[0].name }}{% endif %}{% if style %} {{ style }}{% endif %}
            """
        let row = """
            {"id": 7, "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}], "tool_calls": null},
            {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": "b"}}}]}],
            "tools": [{"name": "g"}], "chat_template_kwargs": {"style": "S"}}
            """
        let file = try DatasetFile(bytes: Array("[\(row)]".utf8), path: "d.json")
        guard case .chat(let conversation, _) = file.rows[0] else {
            Issue.record("no conversation")
            return
        }
        let text = try ChatTemplate(source: source).render(conversation)
        #expect(text == "user:hiassistant: CALL f({'a': 'b'})TOOLS g S")
        #expect(throws: Never.self) { try ChatTemplate(source: source).requireReading(conversation) }
    }

    @Test("a turn with both speakers is two turns; a template that prints turns whole reads everything in them")
    func turns() throws {
        let file = try DatasetFile(
            bytes: Array(#"[{"conversation": [{"human": "a", "assistant": "b"}]}]"#.utf8), path: "d.json")
        #expect(
            file.rows == [
                .chat(
                    Conversation([
                        ChatMessage(role: "user", content: "a"), ChatMessage(role: "assistant", content: "b"),
                    ]), unlearnt: [])
            ])
        let whole = try ChatTemplate(source: "{% for m in messages %}{{ m | tojson }}{% endfor %}")
        let named = Conversation([
            ChatMessage(
                JSONObject([("role", .text("user")), ("content", .text("a")), ("name", .text("N"))]))
        ])
        #expect(throws: Never.self) { try whole.requireReading(named) }
        #expect(try whole.render(named) == #"{"role": "user", "content": "a", "name": "N"}"#)
    }
}
