#!/usr/bin/env python3
"""Writes Tests/TuneTests/Fixtures/answer_vectors.json: which tokens of conversations are the assistant's, as Transformers'
apply_chat_template(return_assistant_tokens_mask=True) says for templates with {% generation %}, on the bundled tokenizer.
Needs: transformers. Run from the repository's root.
"""
import json

from transformers import AutoTokenizer

TARGET = "Tests/TuneTests/Fixtures/answer_vectors.json"

# The answer is marked behind the prompt for it, up to the turn's end.
TEMPLATES = {
    "plain": "{% for m in messages %}{% if m.role == 'assistant' %}A: {% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{% else %}U: {{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}A: {% endif %}",
    "thoughts cut": "{% for m in messages %}{% if m.role == 'assistant' %}A: {% generation %}{{ m.content if loop.last else m.content.split('</think>')[-1] }}{{ eos_token }}{% endgeneration %}{% else %}U: {{ m.content }}\n{% endif %}{% endfor %}{% if add_generation_prompt %}A: {% endif %}",
    "thoughts cut, blanks too": "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{% if m.role == 'assistant' %}{% generation %}{{ m.content if loop.last else m.content.split('</think>')[-1] | trim }}<|end|>\n{% endgeneration %}{% else %}{{ m.content | trim }}<|end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "reasoning kept for the last": "{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}{% generation %}{% if m.reasoning_content and loop.last %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}{% if m.tool_calls %}{% for c in m.tool_calls %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}{% endif %}{{ eos_token }}{% endgeneration %}{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
    "tools in the last question": "{% for m in messages %}{% if m.role == 'user' %}[INST] {% if loop.index0 >= messages | length - 2 and tools %}{{ tools | tojson }} {% endif %}{{ m.content }} [/INST]{% elif m.role == 'assistant' %}{% generation %} {{ m.content }}{{ eos_token }}{% endgeneration %}{% endif %}{% endfor %}",
}


def turn(role, content, **others):
    return {"role": role, "content": content, **others}


CALL = [{"type": "function", "function": {"name": "lookup", "arguments": {"q": "a b"}}}]
CONVERSATIONS = [
    [turn("user", "hi"), turn("assistant", "<think>let me see</think>first answer words here"), turn("user", "more")],
    [turn("user", "hi"), turn("assistant", "first answer"), turn("user", "more"), turn("assistant", "<think>hm</think>\n\nsecond one"),
     turn("user", "and now"), turn("assistant", "<think>yes</think>\n\nthe last of them.")],
    [turn("system", "be kind"), turn("user", "hi \u00e9\U0001f600"), turn("assistant", "<think>a</think>\u00e9\U0001f600 b"), turn("user", "x"), turn("assistant", "y")],
    [turn("user", "same"), turn("assistant", "same"), turn("user", "same"), turn("assistant", "same")],
    [turn("user", "a"), turn("assistant", "<think>t</think>b"), turn("assistant", "c"), turn("user", "d"), turn("assistant", "")],
]
REASONING = [
    [turn("user", "hi"), turn("assistant", "ok", reasoning_content="let me see"), turn("user", "more"),
     turn("assistant", "yes", reasoning_content="now then")],
    [turn("user", "look it up"), turn("assistant", None, reasoning_content="which", tool_calls=CALL), turn("tool", "found"),
     turn("assistant", "here it is", reasoning_content="good"), turn("user", "thanks")],
]


def main():
    tokenizer = AutoTokenizer.from_pretrained("Examples/tinychat")
    cases = []
    for name, template in TEMPLATES.items():
        for messages in REASONING if name.startswith("reasoning") else CONVERSATIONS:
            if name.startswith("reasoning"):
                messages = [{**m, "content": m["content"] or ""} for m in messages]
            tools = [{"name": "t"}] if "tools" in name else None
            out = tokenizer.apply_chat_template(
                messages, chat_template=template, tools=tools, return_dict=True, return_assistant_tokens_mask=True)
            row = {"messages": messages, **({"tools": tools} if tools else {})}
            cases.append({"template": name, "row": row, "ids": out["input_ids"], "mask": out["assistant_masks"]})
    with open(TARGET, "w") as file:
        file.write('{"transformers": "4.57.6", "templates": ' + json.dumps(TEMPLATES) + ', "cases": [\n')
        file.write(",\n".join(json.dumps(case) for case in cases))
        file.write("\n]}\n")


main()
