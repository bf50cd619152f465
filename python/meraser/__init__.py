"""meraser from Python: its command line, and the JSON that it prints as a dict.

    import meraser
    result = meraser.run(["check", "--model", "model.mqf", "--key", "key.json"])
    print(result["fsr"])
"""

import json
import os
import shutil
import subprocess
import sysconfig

__all__ = ["MeraserError", "program", "run"]


class MeraserError(Exception):
    """A command that did not end with status 0: `status` as in `meraser --help`, `result` what it printed nevertheless."""

    def __init__(self, message, status, result=None):
        super().__init__(message)
        self.status = status
        self.result = result


def program():
    """The path of the program: the one that was installed with this module, else the one on PATH."""
    folders = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", os.name + "_user")]
    for folder in folders:
        path = os.path.join(folder or "", "meraser")
        if os.access(path, os.X_OK):
            return path
    path = shutil.which("meraser")
    if path is None:
        raise FileNotFoundError("there is no program meraser beside this Python or on PATH")
    return path


def run(args, *, input=None, cwd=None, env=None, show_progress=False):
    """Runs `meraser ARGS --json` and gives the object that it printed.

    `input` is text for its standard input, `show_progress` lets its messages through to standard error.
    Raises MeraserError where it fails, also where a check fails (`status` 4, with the `result` of the check).
    """
    words = [os.fspath(word) for word in args]
    if "--json" not in words:
        words.append("--json")
    done = subprocess.run(
        [program(), *words], input=input, cwd=cwd, env=env, encoding="utf-8", stdout=subprocess.PIPE,
        stderr=None if show_progress else subprocess.PIPE, stdin=subprocess.DEVNULL if input is None else None, check=False)
    result = json.loads(done.stdout) if done.stdout.strip() else None
    if done.returncode == 0:
        return result
    lines = (done.stderr or "").strip().splitlines()
    message = lines[-1].removeprefix("meraser: error: ") if lines else f"meraser ended with status {done.returncode}"
    raise MeraserError(message, done.returncode, result)
