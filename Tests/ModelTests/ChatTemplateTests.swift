import Base
import Foundation
import Model
import TestSupport
import Testing

private func render(
    _ source: String, _ messages: JSONValue?, prompt: Bool, bos: String = "<s>", eos: String = "</s>",
    file: String = "t"
) throws -> String {
    let template = try ChatTemplate(
        source: source, file: file, specialTokens: JSONObject([("bos_token", .text(bos)), ("eos_token", .text(eos))]))

    let turns = try (messages?.array ?? []).map { ChatMessage(try #require($0.object)) }
    return try template.render(Conversation(turns), addGenerationPrompt: prompt)
}

extension [String: String] {
    /// A turn with `role` and `content`.
    fileprivate var json: JSONValue {
        .object(JSONObject(["role", "content"].map { (key: $0, value: .text(self[$0] ?? "")) }))
    }
}

private func message(_ source: String) -> String? {
    do {
        let template = try ChatTemplate(source: source, file: "t")
        _ = try template.render(Conversation([ChatMessage(role: "user", content: "x")]), addGenerationPrompt: true)
        return nil
    } catch let error as MeraserError {
        return error.kind == .badInput ? error.message : "kind \(error.kind)"
    } catch {
        return "other error: \(error)"
    }
}

@Suite("Chat templates")
struct ChatTemplateTests {
    @Test("The bundled model's template")
    func tinychat() throws {
        let url = tinychatFolder().appendingPathComponent("chat_template.jinja")
        let source = try String(contentsOf: url, encoding: .utf8)
        let messages: JSONValue = .array([
            ["role": "user", "content": "Hi"].json, ["role": "assistant", "content": "Hello"].json,
            ["role": "user", "content": "Bye"].json,
        ])
        let text = try render(source, messages, prompt: true)
        #expect(
            text == "### Instruction:\nHi\n\n### Response:\nHello</s>### Instruction:\nBye\n\n### Response:\n")
        let bare = try render(source, .array(Array(try #require(messages.array).prefix(1))), prompt: false)
        #expect(bare == "### Instruction:\nHi\n\n")
    }

    @Test("Small templates give what Transformers' Jinja gives, errors where it gives errors")
    func vectors() throws {
        let url = packageRoot().appendingPathComponent("Tests/ModelTests/Fixtures/chat_vectors.json")
        let root = try JSONValue.parse([UInt8](try Data(contentsOf: url)), file: "chat_vectors.json")
        let conversations = try #require(root["conversations"]?.array)
        let vectors = try #require(root["vectors"]?.array)
        #expect(vectors.count > 70)
        for vector in vectors {
            let source = try #require(vector["template"]?.string)
            for (messages, want) in zip(conversations, try #require(vector["rendered"]?.array)) {
                let got = try? render(source, messages, prompt: true)
                #expect(got.map { Array($0.utf8) } == want.utf8, "\(source.debugDescription): \(got ?? "error")")
            }
        }
    }

    @Test(
        "Real templates render as Transformers renders them",
        .enabled(if: sharedFolder() != nil, "the shared folder is not on this machine"),
        arguments: [
            "Qwen-Qwen2.5-7B-Instruct", "Qwen-Qwen3-0.6B", "google-gemma-2-2b-it", "meta-llama-Llama-3.1-8B-Instruct",
            "microsoft-Phi-3.5-mini-instruct", "mistralai-Mistral-Nemo-Instruct-2407",
        ])
    func real(name: String) throws {
        let folder = try #require(sharedFolder()).appendingPathComponent("reference/chat")
        let source = try String(contentsOf: folder.appendingPathComponent("\(name).jinja"), encoding: .utf8)
        let bytes = [UInt8](try Data(contentsOf: folder.appendingPathComponent("rendered.json")))
        let golden = try #require(try JSONValue.parse(bytes, file: "rendered.json")["\(name).jinja"])
        let bos = try #require(golden["bos_token"]?.string)
        let eos = try #require(golden["eos_token"]?.string)
        for entry in try #require(golden["cases"]?.array) {
            let prompt = try #require(entry["add_generation_prompt"]?.bool as Bool?)
            let got = try? render(source, entry["messages"], prompt: prompt, bos: bos, eos: eos, file: name)
            #expect(got.map { Array($0.utf8) } == entry["rendered"]?.utf8, "\(got ?? "error")")
        }
    }

    @Test(
        "What is not supported, or refused by the template, is one line that names it",
        arguments: [
            ("a\n{% macro f() %}{% endmacro %}", "t:2: the tag '{% macro %}' is not supported yet"),
            ("{{ 'a' | nofilter }}", "t:1: the filter 'nofilter' is not supported yet"),
            ("{{ 1 is notest }}", "t:1: the test 'is notest' is not supported yet"),
            ("\n\n{{ lipsum(1) }}", "t:3: the function 'lipsum' is not supported yet"),
            ("{{ 'a' | upper(1) }}", "t:1: the filter 'upper' takes no arguments, got 1"),
            ("{{ 'a' | tojson(idnt=2) }}", "t:1: the filter 'tojson' takes no argument named 'idnt'"),
            ("{{ 'a' | replace('b') }}", "t:1: the filter 'replace' needs the argument 'new'"),
            (
                "{{ 'a' | default('b', default_value=1) }}",
                "t:1: the filter 'default' got its argument 'default_value' twice"
            ),
            ("{{ 'abc'.startswith('b', 1) }}", "t:1: startswith() takes at most 1 arguments, got 2"),
            ("{{ 'a b'.replace(old='a', new='b') }}", "t:1: replace() takes no argument named 'old'"),
            ("{{ 1 is odd(2) }}", "t:1: the test 'odd' takes no arguments, got 1"),
            ("{{ 1 is eq }}", "t:1: the test 'eq' needs the argument 'other'"),
            ("{{ range(stop=3) }}", "t:1: range() takes no argument named 'stop'"),
            ("{{ raise_exception() }}", "t:1: raise_exception() needs the argument 'message'"),
            ("{{ namespace(1) }}", "t:1: namespace() got a number, expected a mapping or named values"),
            (
                "{{ messages | map(attribute='role', dflt=1) | join }}",
                "t:1: the filter 'map' takes no argument named 'dflt'"
            ),
            ("{{ 'a'.center(3) }}", "t:1: the method 'center' of a string is not supported yet"),
            ("{{ raise_exception('Only \"user\"') }}", "t:1: the template refuses: Only \"user\""),
            ("{% if x %}\n\nq", "t:2: the template ends without '{% endif %}'"),
            ("{{ nope.x }}", "t:1: 'nope' is undefined, so it has no 'x'"),
            ("{{ messages[0].role x }}", "t:1: expected '}}', found 'x'"),
            ("{{ [namespace()] }}", "t:1: printing a list, or something in it, is not supported yet"),
            ("{{ \u{20AC} }}", "t:1: unexpected character '\u{20AC}' in a tag"),
        ])
    func errors(source: String, want: String) {
        #expect(message(source) == want)
    }

    @Test("Hostile templates end in an error: deep nesting, endless loops, growth, overflow")
    func hostile() {
        let deep = String(repeating: "(", count: 5000) + "1" + String(repeating: ")", count: 5000)
        #expect(message("{{ \(deep) }}")?.contains("nested deeper") == true)
        #expect(message("{{ " + String(repeating: "not ", count: 5000) + "1 }}")?.contains("nested deeper") == true)
        #expect(message("{{ " + String(repeating: "- ", count: 5000) + "1 }}")?.contains("nested deeper") == true)
        #expect(message(String(repeating: "{% if 1 %}", count: 5000))?.contains("nested deeper") == true)
        for link in [" + 1", " or 0", " and 1", "|trim", ".a", "[0]", " if 1", " ~ 1", "()", " is odd"] {
            #expect(message("{{ 0" + String(repeating: link, count: 5000) + " }}")?.contains("nested deeper") == true)
        }
        #expect(message("{{ 1" + String(repeating: " == 1", count: 5000) + " }}") == nil)
        let loop = "{% for i in range(1000) %}"
        #expect(message(loop + loop + "{% endfor %}{% endfor %}")?.contains("steps") == true)
        #expect(message("{% for i in range(100001) %}{% endfor %}")?.contains("range()") == true)
        let grow =
            "{% set ns = namespace(s='0123456789abcdef') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"
        #expect(message(grow)?.contains("64 MiB") == true)
        let nest = "{% set ns = namespace(s=1) %}{% for i in range(70) %}{% set ns.s = [ns.s] %}{% endfor %}"
        #expect(message(nest)?.contains("lists nested deeper") == true)
        // A string of 2 MiB and a list that holds it 40 times.
        let large =
            "{% set ns = namespace(s='0123456789abcdef', l=[]) %}"
            + "{% for i in range(17) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"
            + "{% for i in range(40) %}{% set ns.l = ns.l + [ns.s] %}{% endfor %}"
        let uses = [
            "{{ ns.s | replace('0', ns.s) }}", "{{ ns.l | join }}",
            "{% for s in ns.l %}{{ s }}{% endfor %}",
            "{% for s in ns.l %}{% set x = s ~ 1 %}{% endfor %}",
        ]
        for use in uses { #expect(message(large + use)?.contains(" MiB") == true, "\(use)") }
        #expect(message("{{ 9223372036854775807 + 1 }}")?.contains("overflow") == true)
        #expect(message("{{ (-9223372036854775807 - 1) // -1 }}")?.contains("overflow") == true)
        #expect(message("{{ (-9223372036854775807 - 1) % -1 }}") == nil)
        #expect(message("{{ 'abc'[::-9223372036854775807 - 1] }}")?.contains("step") == true)
        #expect(message("{{ 'abc'[-9223372036854775807:9223372036854775807:9223372036854775807] }}") == nil)
    }

    @Test("A template cut anywhere gives text or one error, never a trap")
    func cut() throws {
        let url = tinychatFolder().appendingPathComponent("chat_template.jinja")
        let source = Array(try String(contentsOf: url, encoding: .utf8).unicodeScalars)
        for end in source.indices {
            var view = String.UnicodeScalarView()
            view.append(contentsOf: source[..<end])
            let error = message(String(view))
            #expect(error == nil || error?.hasPrefix("t:1: ") == true)
        }
    }

    @Test(
        "What a hostile template compares, searches, copies and prints is charged: it ends in about a second",
        arguments: [
            "{% for i in range(99999) %}{% if ns.s == ns.t %}{% endif %}{% endfor %}",
            "{% for i in range(99999) %}{% if ns.s < ns.t %}{% endif %}{% endfor %}",
            "{% for i in range(99999) %}{% if 'x' in ns.s %}{% endif %}{% endfor %}",
            "{% for i in range(99999) %}{% if ns.s in [ns.t] %}{% endif %}{% endfor %}",
            "{% for i in range(99999) %}{% set x = ns.s[5] %}{% endfor %}",
            "{% for i in range(99999) %}{% set x = ns.s[5:6] %}{% endfor %}",
            "{% for i in range(99999) %}{% set x = ns.s | length %}{% endfor %}",
            "{% for i in range(99999) %}{% set x = ns.s.find('x') %}{% endfor %}",
            "{% for i in range(99999) %}{% set x = ns.s is eq ns.t %}{% endfor %}",
            "{% for i in range(99999) %}{% set x = ns.s.split('a') %}{% endfor %}",
            "{% for i in range(99999) %}{% set x = [ns.s, ns.t] | sort %}{% endfor %}",
            "{% for i in range(99999) %}{% set x = [ns.s, ns.t] | unique %}{% endfor %}",
            "{% for i in range(99999) %}{% set x = {'a': ns.s} == {'a': ns.t} %}{% endfor %}",
            "{% for i in range(99999) %}{% set x = [[ns.s]] | string %}{% endfor %}",
            "{% for i in range(99) %}{{ ns.s }}{% endfor %}", "{{ 'abc' * 99999999 }}",
            "{{ 'a' * 9223372036854775807 }}",
            "{% set l = range(99999) | list %}{{ l | unique | length }}",
            "{{ range(99999) | map('tojson', indent=16) | join(ns.s) }}",
            "{{ range(99999) | join('0123456789' * 99) }}",
            "{{ (ns.s ~ 'b') in ns.s * 30 }}",
        ])
    func charged(use: String) {
        let large =
            "{% set ns = namespace(s='aaaaaaaaaaaaaaaa') %}{% for i in range(16) %}{% set ns.s = ns.s + ns.s %}{% endfor %}"
            + "{% set ns.t = ns.s ~ '' %}"
        let clock = ContinuousClock()
        let time = clock.measure {
            let error = message(large + use)
            #expect(error?.contains("steps") == true || error?.contains("MiB") == true, "\(use): \(error ?? "text")")
        }
        #expect(time < .seconds(30), "\(use)")
    }

    @Test("a clock that stands still: the date of strftime_now is always the same")
    func clock() throws {
        let source = "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y, %A %j, %H:%M:%S.%f %%') }}{% endif %}"
        #expect(try render(source, nil, prompt: false) == "26 Jul 2024, Friday 208, 00:00:00.000000 %")
        #expect(message("{{ strftime_now('%99999d') }}")?.contains("too long") == true)
    }

    @Test("special tokens reach a template by their names, and what a model does not have is undefined")
    func specialTokens() throws {
        let template = try ChatTemplate(
            source: "{{ pad_token }}|{{ unk_token is defined }}|{{ additional_special_tokens[0] }}",
            specialTokens: JSONObject([
                ("pad_token", .text("<p>")), ("additional_special_tokens", .array([.text("<a>")])),
            ]))
        #expect(try template.render(Conversation([])) == "<p>|False|<a>")
    }
}
