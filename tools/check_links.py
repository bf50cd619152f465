#!/usr/bin/env python3
"""Checks every link of the repository's Markdown pages: the file is there, and so is the heading that it names.

Usage: tools/check_links.py. Links to other sites are not followed. Paths of pages that sources, recipes and tools mention
(docs/ and a name) are checked as well. Status 1, and a line for each, if anything is missing.
"""
import os
import re
import subprocess
import sys

# Pages that a tool writes, and that need not be there.
WRITTEN = {"docs/results.md"}
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def prose(text):
    """The text without code, in which nothing is a link."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.sub(r"`[^`\n]*`", lambda m: "" if "](" in m[0] else m[0], text)


def anchors(path):
    """The anchors that GitHub gives the headings of a page."""
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", prose(open(path).read()), re.M):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 0
        while name + (f"-{number}" if number else "") in found:
            number += 1
        found.add(name + (f"-{number}" if number else ""))
    return found


def links(path):
    """What is wrong with the links of a page."""
    text = prose(open(os.path.join(ROOT, path)).read())
    for target in re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = os.path.normpath(os.path.join(ROOT, os.path.dirname(path), name)) if name else os.path.join(ROOT, path)
        if not os.path.exists(file):
            yield f"{path}: no file {target}"
        elif anchor and file.endswith(".md") and anchor not in anchors(file):
            yield f"{path}: no heading #{anchor} in {os.path.relpath(file, ROOT)}"


def mentions(path):
    """The pages that a file of another kind mentions and that are not there."""
    try:
        text = open(os.path.join(ROOT, path), encoding="utf-8").read()
    except UnicodeDecodeError:
        return
    for name in re.findall(r"(?<![\w/.-])docs/[\w/-]+\.(?:md|png)", text):
        # Other programs have such pages too.
        if name not in WRITTEN and not os.path.exists(os.path.join(ROOT, name)) and "Ollama, " + name not in text:
            yield f"{path}: no file {name}"


def main():
    os.chdir(ROOT)
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], check=True, capture_output=True, text=True)
    problems = []
    for path in names.stdout.split("\n"):
        if not os.path.isfile(path):
            continue
        if path.endswith(".md"):
            problems += links(path)
        if path.endswith((".md", ".swift", ".c", ".h", ".py", ".sh", ".yml")) or path == "Makefile":
            problems += mentions(path)
    for problem in sorted(set(problems)):
        print(problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
