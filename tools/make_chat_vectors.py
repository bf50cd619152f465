#!/usr/bin/env python3
"""Writes Tests/ModelTests/Fixtures/chat_vectors.json: what Transformers' Jinja environment gives for small templates,
or null where it raises an error. Needs: transformers, jinja2. Run from the repository's root.
"""
import json

from transformers.utils.chat_template_utils import _compile_jinja_template

TARGET = "Tests/ModelTests/Fixtures/chat_vectors.json"

CONVERSATIONS = [
    [{"role": "user", "content": "  Hi\r\n"}],
    [{"role": "system", "content": "S"}, {"role": "user", "content": "a\u00e9<b>"}, {"role": "assistant", "content": "c"}],
]

TEMPLATES = [
    # whitespace
    "a\n", "a\n\n", "a\r\nb\r\n", "  {% if true %}\n  x\n  {% endif %}\n  y", "{% if true %}x{% endif %}\n\ny",
    "x  {%- if true -%}  y  {%- endif -%}  z", "x \n {{- 1 -}} \n y", " {{ 1 }}\n {{ 2 }}\n", "  {# c #}\n  z", "a {#- c -#} b",
    "  {%+ if true %}a{% endif +%}\nb", "{% for i in [1,2] %}\n  {{ i }}\n{% endfor %}\n", "\t{% set a = 1 %}{{ a }}\n {% if a %}k{% endif %}",
    "{% if true %}\n  {% if true %}\n  deep\n  {% endif %}\n{% endif %}", "x\n\u00a0{% if true %}y{% endif %}", "{{ '}}' }}{{ {'a': {'b': 1}}.a.b }}",
    # expressions
    "{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7 / 2 }} {{ 2 - 3 - 4 }}",
    "{{ 1 < 2 < 3 }} {{ 1 < 2 > 3 }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' < 'b' }} {{ none }} {{ true }} {{ 1.5 }}",
    "{{ 'a' ~ 1 ~ none }} {{ 'a' 'b' }} {{ 'a' + \"b\" }}", "{{ not true or true and false }} {{ 1 and 2 }} {{ 0 or 'x' }}",
    "{{ 'a' if false else 'b' }}{{ 'a' if false }}{{ 'a' if true else 'b' if true else 'c' }}",
    "{{ 'ell' in 'hello' }} {{ 'x' not in 'hello' }} {{ 1 in [1, 2] }} {{ 'role' in messages[0] }}",
    "{{ messages[0].role }} {{ messages[0]['role'] }} {{ messages[-1].content }} {{ messages[9].role is defined }}",
    "{{ messages[9] is defined }} {{ messages[0].nope is defined }} {{ nope }}|{{ messages[0].nope }}|", "{{ nope.deeper }}", "{{ nope + 'a' }}", "{{ 1 + 'a' }}",
    "{{ messages[1:] | length }} {{ messages[::-1][0].role }} {{ 'hello'[1:3] }} {{ 'hello'[-2:] }} {{ 'hello'[::-2] }} {{ 'hello'[10:] }} {{ [1,2,3][:-1] | join(',') }}",
    "{{ 'a\\nb\\t\\'\\\\' }}{{ \"\\u00e9\\x41\" }}{{ 'a\\qb' }}", "{{ -1|abs }} {{ (-1)|abs }} {{ -2 * 3 }}", "{{ 1 if 1 is odd and 2 is even else 0 }}",
    "{{ 6 is divisibleby 3 }} {{ 6 is divisibleby(4) }} {{ 'a' is string }} {{ messages is iterable }} {{ messages[0] is mapping }} {{ 1 is number }} {{ none is none }} {{ 1 is not none }}",
    "{{ 'a' is eq 'a' }} {{ 3 is gt 2 }} {{ 'a' is in ['a'] }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ true is boolean }} {{ 1 is integer }}",
    "{{ '\u00e9' == 'e\u0301' }} {{ '\u00e9'|length }} {{ 'e\u0301'|length }} {{ '\\r\\n'|length }}",
    # filters and methods
    "[{{ messages[0].content | trim }}] [{{ messages[0].content.strip() }}] [{{ messages[0].content.rstrip('\\n') }}] [{{ '\\n\\nx'.lstrip('\\n') }}]",
    "{{ 'aXbXc'.split('X') | join('-') }} {{ ' a  b '.split() | join('-') }} {{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('bc') }} {{ 'abc'.upper() }}",
    "{{ 'abab' | replace('a', 'x') }} {{ 'aBc' | capitalize }} {{ 'ABC' | lower }} {{ [3,1] | first }} {{ [3,1] | last }} {{ 'ab' | list | join('.') }} {{ [1,2]|reverse|join }}",
    "{{ nope | default('d') }} {{ '' | default('d') }} {{ '' | default('d', true) }} {{ none | d('x', boolean=true) }}", "{{ '12' | int + 1 }} {{ 'x' | int }} {{ 1.9 | int }} {{ 5 | string + 'a' }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }} {{ messages | rejectattr('role', '==', 'user') | map(attribute='role') | join(',') }}",
    "{{ [1, 2, 3, 4] | select('even') | join(',') }} {{ [0, 1] | reject | join }} {{ ['a'] | map('upper') | join }}",
    "{{ {'a': 1, 'b': [true, none, 'x\\n\u00e9<']} | tojson }} {{ {'a': [1, {}], 'b': {'c': 2}} | tojson(indent=2) }} {{ [] | tojson }}",
    "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for k, v in {'z': 0} | items %}{{ k }}{% endfor %}", "{{ {'a': 1}.get('a') }}{{ {'a': 1}.get('b', 7) }}{{ {'a': 1}.get('b') }}",
    # statements
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }} {% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ m.role }}{% else %}none{% endfor %}", "{% for m in [] %}x{% else %}empty{% endfor %}",
    "{% for i in range(6) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}", "{% for i in range(5, 0, -2) %}{{ i }}{% endfor %}",
    "{% for i in [1,2] %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}", "{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}",
    "{% set x = 1 %}{% for i in [1,2] %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}", "{% set ns = namespace(n=0, s='') %}{% for i in [1,2] %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}{{ ns.s }}",
    "{% if false %}{% set y = 1 %}{% endif %}{{ y is defined }}{% if true %}{% set y = 1 %}{% endif %}{{ y }}", "{% set x %}a{{ 1 }}{% endset %}[{{ x }}]",
    "{% set messages = messages[1:] %}{{ messages | length }}", "{% if messages | length > 1 %}many{% elif messages %}one{% else %}none{% endif %}", "{{ raise_exception('no') }}",
    "{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{% endfor %}", "{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}{{ tools is none }}{{ tools is defined }}",
    "{% for i in [1, 2] %}{% for j in [3] %}{{ loop.index }}{% endfor %}{{ loop.index }}{% endfor %}", "{{ loop is defined }}", "{% for x in 'ab' %}{{ x }},{% endfor %}",
    # arguments of filters, methods and tests
    "{{ 'xaxbx' | replace('x', '-', 2) }} {{ 'ab' | replace('', '-') }} {{ 'ab' | replace('', '-', 1) }} {{ 'a' | replace(old='a', new='b', count=1) }} {{ 'xxa'.replace('x', '', 1) }}",
    "{{ 'xxaxx' | trim('x') }} {{ '--a--' | trim(chars='-') }} [{{ ' a\x1c' | trim }}] {{ 'xay'.strip('xy') }} [{{ 'a '.strip(none) }}]",
    "{{ 'a,b,c'.split(',', 1) | join('|') }} {{ 'a,b,c'.rsplit(',', 1) | join('|') }} {{ ' a  b c '.split(none, 1) | join('|') }} {{ ' a  b c '.rsplit(none, 1) | join('|') }} {{ 'a b'.split(maxsplit=0) | join('|') }} {{ 'a,b'.split(sep=',') | join('|') }}",
    "{{ ' a b '.split(none, 2) | join('|') }}|{{ ' a b '.rsplit(none, 2) | join('|') }}|{{ ' a b '.split(none, 9) | join('|') }}|{{ 'aaa'.split('aa') | join('|') }}|{{ 'aaa'.rsplit('aa') | join('|') }}|{{ ''.split('a') | length }}|{{ ''.split() | length }}",
    "{{ [{'a': 1}, {'a': 2}] | join(',', attribute='a') }} {{ [{'f': {'n': 'x'}}] | map(attribute='f.n') | join }} {{ [{'f': 1}, {}] | map(attribute='f', default='d') | join(',') }} {{ [[7, 8]] | map(attribute=1) | join }}",
    "{{ [{'f': {'n': 'x'}, 'v': 1}, {'f': {'n': 'y'}, 'v': 2}] | selectattr('f.n', 'eq', 'y') | map(attribute='v') | join }} {{ [1, 5, 3] | select('gt', 2) | join(',') }} {{ [1, 5, 3] | reject('>', 2) | join(',') }} {{ ['ab', 'b'] | map('replace', 'b', 'c') | join(',') }}",
    "{{ 2.5 | round }} {{ 3.5 | round }} {{ 2.675 | round(2) }} {{ 1.21 | round(1, 'ceil') }} {{ 1.29 | round(precision=1, method='floor') }} {{ 5 | round }} {{ -2.5 | round }}",
    "{{ 'ff' | int(0, 16) }} {{ '0x1f' | int(base=16) }} {{ '1.9' | int }} {{ 'x' | int(7) }} {{ ' 12 ' | int }} {{ none | int(3) }} {{ '1.5' | float }} {{ 'x' | float }} {{ 'x' | float(2.5) }} {{ 3 | float }} {{ '-7' | int }}",
    "{{ [3, 1, 2] | sort | join }} {{ [3, 1, 2] | sort(reverse=true) | join }} {{ ['b', 'A', 'a', 'B'] | sort | join }} {{ ['b', 'A', 'a', 'B'] | sort(case_sensitive=true) | join }} {{ [{'k': 2}, {'k': 1}] | sort(attribute='k') | map(attribute='k') | join }}",
    "{{ ['b', 'A', 'a', 'B'] | sort(reverse=true) | join }} {{ ['a', 'A', 'b'] | unique | join }} {{ ['a', 'A', 'b'] | unique(case_sensitive=true) | join }} {{ [1, 2, 1] | unique | join }} {{ [1, 2] | sum }} {{ [{'n': 2}, {'n': 3}] | sum(attribute='n') }} {{ [1] | sum(start=5) }}",
    "{{ [3, 1] | min }} {{ [3, 1] | max }} {{ ['b', 'A'] | min }} {{ [{'n': 2}, {'n': 3}] | max(attribute='n') | tojson }} {{ {'b': 1, 'A': 2} | dictsort | tojson }} {{ {'b': 1, 'a': 2} | dictsort(by='value') | tojson }} {{ {'b': 1, 'a': 2} | dictsort(reverse=true) | tojson }}",
    "{{ {'b': 1, 'a': [1, 2]} | tojson(sort_keys=true) }} {{ {'a': [1, 2], 'b': {}} | tojson(separators=(',', ':')) }} {{ 'é😀' | tojson(ensure_ascii=true) }} {{ [1, {'a': 2}] | tojson(indent=1) }} {{ [1] | tojson(false, 2) }} {{ [1, [2]] | tojson(indent='--') }} {{ [1] | tojson(indent=0) }} {{ (1, 2) | tojson }} {{ [1] | tojson(indent=2, separators=(';', '=')) }}",
    "{{ messages }} {{ [1, 'a', none, true, 1.5, [], {}] }} {{ (1, 'b') }} {{ (1,) }} {{ () }} {{ {'k': {'a': \"it's\"}} }} {{ ['\\n\\t', '\u00e9', '\u200b', 'a\\\\b', '\"', \"'\\\"\"] }} {{ {'a': 1}.items() | list }}",
    "{{ 'a' in ('a', 'b') }} {{ 'abc'.startswith(('x', 'ab')) }} {{ (1, 2) == (1, 2) }} {{ (1, 2) == [1, 2] }} {% for a, b in (('x', 1), ('y', 2)) %}{{ a }}{{ b }}{% endfor %} {{ (1, 2)[1] }} {{ (1, 2, 3)[1:] }}",
    "{{ 'a-b'.removeprefix('a-') }} {{ 'a-b'.removesuffix('-b') }} {{ 'abc'.find('c') }} {{ 'abc'.find('x') }} {{ 'aXa'.count('a') }} {{ ','.join(['a', 'b']) }} {{ 'hELLO'.capitalize() }} {{ [1, 2, 1].count(1) }} {{ 'ab' * 2 }} {{ 2 * 'ab' }}",
    "{{ dict({'a': 1}, b=2) | tojson }} {% set n = namespace({'a': 1}, b=2) %}{{ n.a }}{{ n.b }} {{ {'a': 1, 'a': 2} | tojson }} {{ nope is iterable }} {{ nope is sequence }} {{ nope is none }} {{ 1.5 is float }} {{ 1 is float }} {{ 1 is in(seq=[1]) }} {{ 6 is divisibleby(num=3) }}",
    "{{ raise_exception is defined }} {{ namespace is defined }} {{ range is defined }} {{ strftime_now is defined }}{% set range = 1 %}{{ range }}", "{{ nope | length }} {{ nope | list | length }} {{ '\u00e9\u00e9' | length }} {{ {'a': 1} | length }} {{ '\u00e9b'[1] }} {{ 'ab'[-1] }} {{ 'ab'[7] is defined }}",
    "{{ 1 | upper }} {{ 'a' | default(none) }} {{ nope | default(none) }} {{ nope | default(1, boolean=false) }} {{ '\u01c6b' | capitalize }}",
    "{% generation %}{% set q = 1 %}{{ q }}{% endgeneration %}{{ q is defined }}",
    # arguments that are refused
    "{{ 'a' | upper(1) }}", "{{ 'a' | tojson(idnt=2) }}", "{{ 'a' | replace('b') }}", "{{ 'a' | default('b', default_value=1) }}", "{{ 'a'.upper(1) }}", "{{ 'a'.replace(old='a', new='b') }}", "{{ 1 is odd(2) }}", "{{ 1 is eq }}",
    "{{ range(stop=3) }}", "{{ raise_exception() }}", "{{ messages | map(attribute='role', dflt=1) | join }}", "{{ 'a'.split('') }}", "{{ [1] | join(',', 'a', 3) }}", "{{ {'a': 1}.get(key='a') }}", "{{ {'a': 1}.items(1) }}", "{{ [1] | first(2) }}", "{{ 1 is divisibleby }}", "{{ 'a' | trim('b', 'c') }}",
    "{{ 1.5 | round(1, 'up') }}", "{{ messages | selectattr | list }}", "{{ 5 | items | list }}", "{{ 'a' | dictsort }}", "{{ [1, 'a'] | sort }}", "{{ [1].index(2) }}", "{{ range() }}", "{{ range(1, 2, 3, 4) }}", "{{ strftime_now() }}",
    # errors
    "{% if %}", "{% if true %}", "{{ 1 +", "{{ 'a }}", "{% endfor %}", "{% else %}", "{{ 1 1 }}", "{% for in x %}{% endfor %}", "{{ [1, 2 }}", "{{ a. }}", "{% set %}", "{# x",
    "{{ 1 // 0 }}", "{{ 'a' - 'b' }}", "{{ 'a' < 1 }}", "{% for a, b in [1] %}{% endfor %}", "{{ 1() }}", "{{ 'a' | nofilter }}", "{{ 1 is notest }}", "{% for x in 5 %}{% endfor %}",
]


def main():
    result = []
    for template in TEMPLATES:
        outputs = []
        for messages in CONVERSATIONS:
            try:
                compiled = _compile_jinja_template(template)
                text = compiled.render(messages=messages, add_generation_prompt=True, bos_token="<s>", eos_token="</s>",
                                       tools=None, documents=None)
            except Exception as error:  # noqa: BLE001: any error is the expectation
                print(f"{template!r}: {type(error).__name__}: {error}")
                text = None
            outputs.append(text)
        result.append({"template": template, "rendered": outputs})
    with open(TARGET, "w") as file:
        json.dump({"conversations": CONVERSATIONS, "vectors": result}, file, ensure_ascii=False, indent=1)
        file.write("\n")


main()
