#!/usr/bin/env python3
"""Requests a second, time to the first token and latency of `meraser serve` beside llama-server, in one run.

    python3 tools/serve_bench.py MERASER --gguf MODEL.gguf --llama-server PEERS/llama-native/llama-server
        [--clients 1,8,32] [--requests 4] [--tokens 64] [--threads 2] [--rounds 2] [--out FILE.json]

Both serve the same GGUF file, with 32 places and the same number of threads; llama-server with continuous batching and without its
prompt cache on disk. Each client asks REQUESTS questions one after the other, greedily, TOKENS new tokens each, streaming; servers take turns
for ROUNDS rounds. Times are wall clock; nothing else should run.
"""

import argparse
import http.client
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import threading
import time

QUESTIONS = [
    "What is a loop?", "Why is the sky blue?", "Name three rivers.", "How do bees make honey?", "What is a prime number?",
    "Tell me about the moon.", "Who wrote Hamlet?", "How does a lock work?", "What is rust?", "Describe a sunny day.",
]  # fmt: skip


class Server:
    """A program that listens on a port while the block runs."""

    def __init__(self, name, words, port):
        self.name, self.words, self.port = name, words, port

    def __enter__(self):
        self.log = open(f"/tmp/serve_bench.{self.name}.log", "w", encoding="utf-8")
        self.process = subprocess.Popen(list(map(str, self.words)), stdout=self.log, stderr=subprocess.STDOUT)
        for _ in range(600):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/health")
                if connection.getresponse().status == 200:
                    return self
            except OSError:
                pass
            if self.process.poll() is not None:
                sys.exit(f"{self.name} ended: see {self.log.name}")
            time.sleep(0.2)
        sys.exit(f"{self.name} does not answer: see {self.log.name}")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def peak(self):
        """VmHWM in MiB."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 1024


def ask(port, question, tokens, ignore_end):
    """(seconds to the first token, seconds in all, new tokens) of one streamed answer."""
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}, "model": "bench", **ignore_end}  # fmt: skip
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    start = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:
        sys.exit(f"port {port}: status {answer.status}: {answer.read()[:300]}")
    first, count = None, None
    for line in answer:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        if first is None and event["choices"] and event["choices"][0]["delta"].get("content"):
            first = time.perf_counter() - start
        if event.get("usage"):
            count = event["usage"]["completion_tokens"]
    return first, time.perf_counter() - start, count


def load(port, clients, requests, tokens):
    """All answers of that many clients, and the seconds they took together."""
    results = []

    def client(number):
        for turn in range(requests):
            question = QUESTIONS[(number + turn) % len(QUESTIONS)] + f" ({number}.{turn})"
            results.append(ask(port, question, tokens, {}))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("meraser")
    parser.add_argument("--gguf", required=True)
    parser.add_argument("--llama-server", required=True)
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--requests", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out")
    args = parser.parse_args()
    ours = Server("meraser", [args.meraser, "serve", "--model", args.gguf, "--alias", "bench", "--port", 18080, "--parallel", 32,
                              "--threads", args.threads, "-q"], 18080)  # fmt: skip
    theirs = Server("llama-server", [args.llama_server, "-m", args.gguf, "--port", 18081, "-np", 32, "-c", 32 * 1024, "-cb",
                                     "-t", args.threads, "-tb", args.threads, "--no-webui"], 18081)  # fmt: skip
    for server in (ours, theirs):
        print(shlex.join(map(str, server.words)))
    table = []
    for _ in range(args.rounds):
        for server in (ours, theirs):
            with server:
                load(server.port, 1, 1, 8)
                for clients in map(int, args.clients.split(",")):
                    results, seconds = load(server.port, clients, args.requests, args.tokens)
                    firsts = [first for first, _, _ in results if first is not None]
                    row = {
                        "server": server.name, "clients": clients, "requests_per_second": len(results) / seconds,
                        "tokens_per_second": sum(count for _, _, count in results) / seconds,
                        "first_token_ms": 1000 * statistics.median(firsts),
                        "latency_ms": 1000 * statistics.median(whole for _, whole, _ in results), "peak_mib": server.peak(),
                    }  # fmt: skip
                    table.append(row)
                    print("{server:13} {clients:3} clients: {requests_per_second:7.2f} requests/s {tokens_per_second:8.1f} tokens/s, "
                          "first token {first_token_ms:7.1f} ms, whole {latency_ms:8.1f} ms, peak {peak_mib:6.0f} MiB".format(**row),
                          flush=True)  # fmt: skip
    for clients in map(int, args.clients.split(",")):
        rate = {name: statistics.median(r["tokens_per_second"] for r in table if r["server"] == name and r["clients"] == clients)
                for name in ("meraser", "llama-server")}  # fmt: skip
        print(f"{clients} clients: {rate['meraser'] / rate['llama-server']:.2f} times llama-server's tokens a second")
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(table, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
