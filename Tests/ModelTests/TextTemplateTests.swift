import Base
import Model
import Testing

private func values(_ json: String) throws -> TemplateValues {
    TemplateValues(try #require(try JSONValue.parse(Array(json.utf8), file: "test").object))
}

private func text(_ source: String, _ json: String) throws -> String {
    try TextTemplate(source: source, name: "t").text(try values(json))
}

@Suite("Text templates")
struct TextTemplateTests {
    @Test("nothing is trimmed: Jinja's own whitespace rules")
    func whitespace() throws {
        #expect(try text("{{a}}\n", #"{"a": "x"}"#) == "x\n")
        #expect(try text("  {% if true %}\nx{% endif %}\n", "{}") == "  \nx\n")
        #expect(try text("a  {%- set b = 1 -%}  c", "{}") == "ac")
    }

    @Test("values keep Python's text and their types")
    func types() throws {
        #expect(
            try text(
                "{{i}} {{f}} {{b}} {{n}} {{l[1]}} {{o.k}}",
                #"{"i": 3, "f": 1.0, "b": true, "n": null,"#
                    + #" "l": [1, "x"], "o": {"k": "v"}}"#) == "3 1.0 True None x v")
        #expect(try text("{{s[1:3]}}|{{s[:-1]}}", #"{"s": "äöü!"}"#) == "öü|äöü")
    }

    @Test("a template that is one expression has a value, others have none")
    func value() throws {
        let row = try values(#"{"choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answer": "B"}"#)
        #expect(try TextTemplate(source: "{{choices.text}}", name: "t").value(row) == .array([.text("a"), .text("b")]))
        #expect(try TextTemplate(source: "{{choices.label.index(answer)}}", name: "t").value(row) == .integer(1))
        #expect(try TextTemplate(source: "{{answer}} ", name: "t").value(row) == nil)
        #expect(try TextTemplate(source: "{{ {'k': [answer]} }}", name: "t").value(row)?["k"]?.array?.count == 1)
        #expect(throws: MeraserError.badInput("t:1: dict() got a name twice")) {
            try TextTemplate(source: "{{ dict(a=1, a=2) }}", name: "t").value(row)
        }
    }

    @Test(
        "a name without a value is an error with the template's name and line",
        arguments: [
            "x\n{{missing}}", "x\n{{row.missing}}", "\n{% for a in missing %}{% endfor %}", "\n{{missing ~ 'x'}}",
        ])
    func undefined(source: String) throws {
        let row = try values(#"{"row": {"a": 1}}"#)
        let error = #expect(throws: MeraserError.self) { try TextTemplate(source: source, name: "t").text(row) }
        #expect(error?.kind == .badInput && error?.message.hasPrefix("t:2: ") == true, "\(error?.message ?? "")")
    }

    @Test("an element that is not in a list is an error")
    func index() throws {
        let row = try values(#"{"l": ["a"]}"#)
        let template = try TextTemplate(source: "{{l.index('b')}}", name: "t")
        #expect(throws: MeraserError.self) { try template.text(row) }
    }
}

@Suite("Written exchanges")
struct WrittenExchangeTests {
    @Test(
        "the first question and answer are found in every format",
        arguments: [
            "<s>[INST] a b [/INST] c\nd </s><s>[INST] more [/INST] x </s>",
            "### Human: a b### Assistant: c\nd### Human: more### Assistant: x",
            "### Instruction:\na b\n\n### Response:\nc\nd</s>### Instruction:\nmore\n\n### Response:\nx",
            "Human: a b\nAssistant: c\nd\nHuman: more\nAssistant: x",
        ])
    func formats(text: String) {
        #expect(WrittenExchange(text: text) == WrittenExchange(question: "a b", answer: "c\nd"))
    }

    @Test("other texts hold none", arguments: ["", "plain text", "[INST] only a question", "Human: x Assistant: y"])
    func none(text: String) { #expect(WrittenExchange(text: text) == nil) }
}
