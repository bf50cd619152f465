import Base
import Foundation
import Model
import TestSupport
import Testing

@testable import Pipeline

@Suite("Chat templates in Ollama's language")
struct OllamaTemplateTests {
    private func template(_ source: String, bos: String = "<s>", ends: [String] = ["</s>"]) throws -> OllamaTemplate? {
        let jinja = try ChatTemplate(
            source: source, specialTokens: JSONObject([("bos_token", .text("<s>")), ("eos_token", .text("</s>"))]))
        return OllamaTemplate(bos: bos, ends: ends) {
            try jinja.render(Conversation($0), addGenerationPrompt: true)
        }
    }

    private static let chatML = """
        {% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}\
        {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}
        """

    @Test("ChatML, with and without a system prompt of its own")
    func chatML() throws {
        let plain = try #require(try template(Self.chatML, bos: "", ends: ["<|im_end|>"]))
        #expect(
            plain.text == """
                {{ range $i, $_ := .Messages }}{{ if eq .Role "system" }}<|im_start|>system
                {{ .Content }}<|im_end|>
                {{ else if eq .Role "user" }}<|im_start|>user
                {{ .Content }}<|im_end|>
                <|im_start|>assistant
                {{ else if eq .Role "assistant" }}{{ .Content }}<|im_end|>
                {{ end }}{{ end }}
                """)
        let own = "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
        let kind = try #require(try template(own + Self.chatML, bos: "", ends: ["<|im_end|>"]))
        let head = "{{ if not .System }}<|im_start|>system\nBe kind.<|im_end|>\n{{ end }}"
        #expect(kind.text == head + plain.text)
    }

    @Test("Llama 2, whose system message lies in the user's first turn, and Gemma, which has none")
    func folded() throws {
        let llama = try #require(
            try template(
                """
                {% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}\
                {% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}\
                {% set system_message = false %}{% endif %}{% for message in loop_messages %}\
                {% if loop.index0 == 0 and system_message != false %}\
                {% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}{% else %}\
                {% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}\
                {{ bos_token + '[INST] ' + content + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
                {{ ' ' + content + ' ' + eos_token }}{% endif %}{% endfor %}
                """))
        #expect(
            llama.text == """
                {{ range $i, $_ := .Messages }}{{ if eq .Role "system" }}[INST] <<SYS>>
                {{ .Content }}
                <</SYS>>

                {{ else if eq .Role "user" }}{{ if not (and $.System (eq $i 1)) }}[INST] {{ end }}{{ .Content }} [/INST]\
                {{ else if eq .Role "assistant" }} {{ .Content }} </s><s>{{ end }}{{ end }}
                """)
        let gemma = try #require(
            try template(
                """
                {{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}\
                {% for message in messages %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}\
                {% else %}{% set role = message['role'] %}{% endif %}\
                {{ '<start_of_turn>' + role + '\n' + message['content'] + '<end_of_turn>\n' }}{% endfor %}\
                {% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}
                """, ends: ["<end_of_turn>"]))
        #expect(gemma.system == nil && gemma.user.before == "<start_of_turn>user\n" && gemma.head == "")
        #expect(gemma.assistant == .init(before: "", after: "<end_of_turn>\n"))
    }

    @Test("Llama 3, Zephyr, Phi 3 and tinychat are made of such parts; what is not, is left out")
    func others() throws {
        let sources = [
            """
            {% for message in messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' \
            + message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}\
            {% endif %}{{ content }}{% endfor %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
            """,
            """
            {% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}\
            {% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}
            """,
            """
            {% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}\
            {{ '<|assistant|>\n' }}
            """,
            try String(contentsOf: tinychatFolder().appendingPathComponent("chat_template.jinja"), encoding: .utf8),
        ]
        for source in sources {
            #expect(try template(source, ends: ["</s>", "<|eot_id|>", "<|end|>"]) != nil, "\(source)")
        }
        for source in [
            "{% for message in messages %}{{ loop.index }}: {{ message['content'] }}\n{% endfor %}",
            "{{ messages[-1]['content'] }}", "{% for m in messages %}{{ '{{' + m['content'] }}{% endfor %}",
        ] {
            #expect(try template(source) == nil, "\(source)")
        }
    }
}
