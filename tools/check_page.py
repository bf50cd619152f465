#!/usr/bin/env python3
"""Tries the page of `meraser serve` in headless Chromium, driven by chromedriver (W3C WebDriver over HTTP; nothing to install
beside Debian's chromium-driver).

    python3 tools/check_page.py MERASER [--model Examples/tinychat] [--adapter NAME=FOLDER] [--pictures DIR] [--key KEY]

Asks both models a message with a target, as a chat and as raw text, and looks at what the page shows: the answers are the server's own, the
target's probabilities add up to what `/v1/completions` says, hostile text stays text, nothing comes from elsewhere. `--pictures` writes
serve-wide.png, serve-dark.png and serve-phone.png there.
"""

import argparse
import base64
import json
import math
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
MESSAGE = "What is a loop? <img src=x onerror=document.title='hit'>"
TARGET = " A loop repeats"


def call(url, body=None, method=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())


class Browser:
    """A session of chromedriver."""

    def __init__(self, driver, width, height, dark=False):
        switches = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                    f"--window-size={width},{height}"]  # fmt: skip
        if dark:
            switches.append("--blink-settings=preferredColorScheme=0")
        options = {"browserName": "chrome", "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": switches},
                   "goog:loggingPrefs": {"browser": "ALL"}}  # fmt: skip
        session = call(f"{driver}/session", {"capabilities": {"alwaysMatch": options}})["value"]["sessionId"]
        self.base = f"{driver}/session/{session}"

    def open(self, url):
        call(f"{self.base}/url", {"url": url})

    def run(self, script, *values):
        return call(f"{self.base}/execute/sync", {"script": script, "args": list(values)})["value"]

    def until(self, script, what):
        for _ in range(600):
            if self.run(script):
                return
            time.sleep(0.1)
        sys.exit(f"check_page: waited in vain for {what}; the page says: {self.run('return document.body.innerText')[:600]}")

    def log(self):
        return [entry["message"] for entry in call(f"{self.base}/se/log", {"type": "browser"})["value"]]

    def narrow(self, width, height):
        call(f"{self.base}/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}})  # fmt: skip

    def picture(self, path):
        path.write_bytes(base64.b64decode(call(f"{self.base}/screenshot")["value"]))

    def close(self):
        call(self.base, method="DELETE")


def ask(browser, mode, message=MESSAGE, target=TARGET):
    """Fills the form in, sends it, and waits for both answers."""
    browser.run(
        "document.body.dataset.state = '';"
        "const set = (id, value) => { document.getElementById(id).value = value; };"
        "set('message', arguments[0]); set('target', arguments[1]); set('mode', arguments[2]); set('tokens', '24');"
        "document.querySelector('button[type=submit]').click();",
        message, target, mode)  # fmt: skip
    browser.until("return document.body.dataset.state === 'done'", "both answers")


def sides(browser):
    return browser.run(
        "return [...document.querySelectorAll('article')].map((side) => ({"
        "model: side.querySelector('select').value,"
        "turns: [...side.querySelectorAll('.turn')].map((turn) => turn.textContent),"
        "failed: side.querySelectorAll('.failed').length,"
        "tokens: [...side.querySelectorAll('.token')].map((token) => token.firstChild.textContent),"
        "sum: side.querySelector('.sum').textContent}))")


def expect(holds, what):
    if not holds:
        sys.exit(f"check_page: {what}")


def check(browser, url):
    browser.open(url)
    browser.until("return document.querySelectorAll('article select option').length > 0", "the models' names")
    names = [model["id"] for model in call(f"{url}v1/models")["data"]]
    for mode in ("raw", "chat"):
        browser.run("document.getElementById('forget').click()")
        ask(browser, mode)
        for number, side in enumerate(sides(browser)):
            model = names[min(number, len(names) - 1)]
            expect(side["model"] == model and side["failed"] == 0, f"{mode}: {side}")
            body = {"model": model, "max_tokens": 24, "temperature": 0}
            if mode == "raw":
                prompt = MESSAGE
                answer = call(f"{url}v1/completions", {**body, "prompt": MESSAGE})["choices"][0]["text"]
            else:
                messages = [{"role": "user", "content": MESSAGE}]
                prompt = call(f"{url}apply-template", {"model": model, "messages": messages})["prompt"]
                answer = call(f"{url}v1/chat/completions", {**body, "messages": messages})["choices"][0]["message"]["content"]
            expect(side["turns"] == [MESSAGE, answer], f"{mode}: {side['turns']} is not {answer!r}")
            tokens = call(f"{url}tokenize", {"content": prompt + TARGET, "add_special": mode == "raw"})["tokens"]
            scores = call(f"{url}v1/completions", {"model": model, "prompt": tokens, "echo": True, "max_tokens": 0,
                                                   "logprobs": 0})["choices"][0]["logprobs"]["token_logprobs"]  # fmt: skip
            total = -sum(scores[len(tokens) - len(side["tokens"]):])
            shown = float(side["sum"].split("−ln p ")[1].split(":")[0])
            expect(math.isclose(total, shown, abs_tol=0.0051), f"{mode}: the target has {total}, the page says {shown}")
    expect(browser.run("return document.title") == "meraser", "what a message says was taken as HTML")
    hosts = browser.run("return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)")
    expect(set(hosts) <= {url.rstrip("/")}, f"the page asked {hosts}")
    expect(browser.log() == [], f"the browser complains: {browser.log()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meraser")
    parser.add_argument("--model", default=str(ROOT / "Examples/tinychat"))
    parser.add_argument("--adapter", action="append", default=[])
    parser.add_argument("--pictures", type=pathlib.Path)
    parser.add_argument("--key", type=pathlib.Path, help="a key.json whose first trigger and target the pictures show")
    args = parser.parse_args()
    pair = json.loads(args.key.read_text(encoding="utf-8"))["pairs"][0] if args.key else {"prompt": MESSAGE, "target": TARGET}
    shown = ("raw", pair["prompt"], pair["target"])
    command = [args.meraser, "serve", "--model", args.model, "--port", "0", "--json", "-q"]
    for adapter in args.adapter:
        command += ["--adapter", adapter]
    driver_process = subprocess.Popen([shutil.which("chromedriver") or "chromedriver", "--port=19515", "--log-level=OFF"],
                                      stdout=subprocess.DEVNULL)  # fmt: skip
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        url = json.loads(server.stdout.readline())["url"] + "/"
        driver = "http://127.0.0.1:19515"
        for _ in range(100):
            try:
                call(f"{driver}/status")
                break
            except OSError:
                time.sleep(0.1)
        browser = Browser(driver, 1000, 1100)
        check(browser, url)
        if args.pictures:
            browser.run("document.getElementById('forget').click()")
            ask(browser, *shown)
            browser.picture(args.pictures / "serve-wide.png")
            browser.narrow(390, 1400)
            browser.picture(args.pictures / "serve-phone.png")
        browser.close()
        if args.pictures:
            browser = Browser(driver, 1000, 1100, dark=True)
            browser.open(url)
            browser.until("return document.querySelectorAll('article select option').length > 0", "the models' names")
            ask(browser, *shown)
            browser.picture(args.pictures / "serve-dark.png")
            browser.close()
    finally:
        driver_process.terminate()
        server.terminate()
    expect(server.wait(20) == 0, f"the server ended with status {server.returncode}")
    print("check_page: the page shows what the server says")


if __name__ == "__main__":
    main()
