#!/usr/bin/env python3
"""Makes man pages of the help that `meraser --experimental-dump-help` prints: meraser.1 and a page for each command.

Usage: meraser --experimental-dump-help | tools/make_man.py FOLDER
"""

import json
import pathlib
import re
import sys


def escaped(text):
    """Text as roff takes it: no line of it is a request, dashes are dashes."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line[:1] in (".", "'") else line for line in text.split("\n"))


def bold(text):
    return f"\\fB{escaped(text)}\\fR"


def spelled(argument):
    """An option's names with its value, or a positional argument's place."""
    value = f"\\fI{escaped(argument.get('valueName', ''))}\\fR"
    if argument["kind"] == "positional":
        return value
    dashes = {"long": "--", "short": "-", "longWithSingleDash": "-"}
    names = ", ".join(bold(dashes[name["kind"]] + name["name"]) for name in argument["names"])
    return names if argument["kind"] == "flag" else f"{names} {value}"


def described(argument):
    text = argument.get("abstract", "")
    values = argument.get("allValues")
    if values and not all(value in text for value in values):
        text += f" One of {', '.join(values)}."
    if "defaultValue" in argument and "default" not in text:
        text += f" Default: {argument['defaultValue']}."
    return escaped(text.strip())


def sections(arguments):
    """Arguments by the title of their group, in the order of the help."""
    result = {}
    for argument in arguments:
        if argument.get("shouldDisplay", True):
            standard = "ARGUMENTS" if argument["kind"] == "positional" else "OPTIONS"
            result.setdefault(argument.get("sectionTitle", standard).upper(), []).append(argument)
    return result


def usage(name, command):
    words = [bold(name)]
    if command.get("subcommands"):
        words.append("\\fIcommand\\fR")
    words.append("[\\fIoptions\\fR]")
    for argument in command.get("arguments", []):
        if argument["kind"] == "positional":
            words.append(f"[{spelled(argument)}]" if argument["isOptional"] else spelled(argument))
        elif argument["kind"] == "option" and not argument["isOptional"]:
            words.append(spelled(argument).split(", ")[-1])
    return " ".join(words)


def paragraphs(text):
    """The discussion: paragraphs stay apart, examples stand on lines of their own."""
    text = re.sub(r"\n(?=Example)", "\n\n", text.strip())
    return "\n.PP\n".join(escaped(part) for part in re.split(r"\n\n+", text))


def page(name, command, version):
    lines = [
        f'.TH "{name.replace(" ", "-").upper()}" 1 "" "{version}" "meraser"', ".SH NAME",
        f"{escaped(name.replace(' ', '-'))} \\- {escaped(command.get('abstract', ''))}", ".SH SYNOPSIS", usage(name, command),
    ]
    if command.get("discussion"):
        lines += [".SH DESCRIPTION", paragraphs(command["discussion"])]
    shown = [sub for sub in command.get("subcommands", []) if sub.get("shouldDisplay", True)]
    if shown:
        lines.append(".SH COMMANDS")
        for sub in shown:
            lines += [".TP", bold(sub["commandName"]), escaped(sub.get("abstract", ""))]
    for title, arguments in sections(command.get("arguments", [])).items():
        lines.append(f".SH {escaped(title)}")
        for argument in arguments:
            lines += [".TP", spelled(argument), described(argument)]
    others = [f"{name.replace(' ', '-')}-{sub['commandName']}" for sub in shown] or [name.rsplit(" ", 1)[0].replace(" ", "-")]
    lines += [".SH SEE ALSO", ", ".join(bold(other) + "(1)" for other in others)]
    return "\n".join(lines) + "\n"


def write(folder, name, command, version):
    (folder / f"{name.replace(' ', '-')}.1").write_text(page(name, command, version), encoding="utf-8")
    for sub in command.get("subcommands", []):
        if sub["commandName"] != "help":
            write(folder, f"{name} {sub['commandName']}", sub, version)


def main():
    folder = pathlib.Path(sys.argv[1])
    source = (pathlib.Path(__file__).parent.parent / "Sources/Base/Version.swift").read_text(encoding="utf-8")
    version = re.search(r'meraserVersion = "(.*)"', source).group(1)
    write(folder, "meraser", json.load(sys.stdin)["command"], version)


main()
