#!/usr/bin/env python3
"""What a training step takes on several ranks: a model of it, its parts measured here, and what it says of more hosts.

  scaling_model.py simulate                             64 hosts, 7B and 13B, 1 and 10 Gbit/s: no measuring
  scaling_model.py local MERASER MODEL DATA             1 to 4 ranks on this machine against the model
  scaling_model.py delayed MERASER MODEL DATA           2 ranks in two network namespaces, whose packets a forwarder holds
                                                        back (root; the kernel needs neither netem nor bridges)

The model. A step has S shards (micro-batches), R ranks, P trained numbers in fp32; a shard takes t seconds on a rank, a link
moves b bytes a second with latency l, and a piece of the sum is 1 MB, which is asked for before it is sent: three trips.
Parameters go from rank to rank in pieces, then each rank computes every R-th shard while the sum of the earlier ones passes
by, and the last round's sum is waited for:

  wire    = 4P/b + 2l 4P/piece
  spread  = wire + (R - 1)(3l + piece/b)
  rounds  = t + (ceil(S/R) - 1) max(t, wire)
  tail    = wire + (min(S, R) - 1)(3l + piece/b)
  step(1) = S t + o,   step(R) = spread + rounds + tail + o,   o: AdamW and log
"""
import argparse
import collections
import concurrent.futures
import fcntl
import json
import math
import os
import selectors
import struct
import subprocess
import sys
import tempfile
import threading
import time

PIECE = 1 << 20


def step(shards, ranks, numbers, shard, bandwidth, latency, rest=0.0):
    """Seconds of a step, by its parts."""
    if ranks == 1 or shards == 1:
        return shards * shard + rest
    wire = 4 * numbers / bandwidth + 2 * latency * math.ceil(4 * numbers / PIECE)
    hop = 3 * latency + min(PIECE, 4 * numbers) / bandwidth
    spread = wire + (ranks - 1) * hop
    rounds = shard + (math.ceil(shards / ranks) - 1) * max(shard, wire)
    tail = wire + (min(shards, ranks) - 1) * hop
    return spread + rounds + tail + rest


# MARK: Simulation

# Tokens a second of a training step, 2 cores of Emerald Rapids, 1.1B (docs/studies/speed.md): the work goes with the parameters.
TOKENS_PER_SECOND = 66.7 * 1.1


def simulate():
    """Prints where more hosts stop paying."""
    print("model  cores  numbers  link     shards  tokens |", "  ".join(f"{r:>5}" for r in [1, 2, 4, 8, 16, 32, 64]),
          "| pays up to")
    for billions, numbers in [(7, 4.2e6), (7, 40e6), (13, 6.6e6), (13, 63e6)]:
        for cores in [2, 16]:
            for gigabits in [1, 10]:
                for shards in [8, 64]:
                    tokens = 200
                    shard = tokens / (TOKENS_PER_SECOND / billions * cores / 2)
                    def time_of(ranks):
                        return step(shards, ranks, numbers, shard, gigabits * 1.17e8, 1e-4)
                    one = time_of(1)
                    gains = {r: one / time_of(r) for r in [1, 2, 4, 8, 16, 32, 64]}
                    # A doubling pays while it brings a third more.
                    last = 1
                    for r in [2, 4, 8, 16, 32, 64]:
                        if gains[r] < gains[last] * 4 / 3:
                            break
                        last = r
                    print(f"{billions:>4}B  {cores:>5}  {numbers / 1e6:>6.1f}M  {gigabits:>2} Gbit  {shards:>6}  {tokens:>6} |",
                          "  ".join(f"{g:>5.1f}" for g in gains.values()), f"| {last}")


# MARK: Measuring

def words(args, out, shards, modules="all-linear", rank=16):
    return [args.meraser, "erase", "--model", args.model, "--data", args.data, "--json", "--out", out, "--overwrite",
            "--threads", "1", "--per-device-train-batch-size", "1", "--gradient-accumulation-steps", str(shards),
            "--max-steps", str(args.steps), "--target-modules", modules, "--r", str(rank), "--no-shuffle"]


def measure(command, log):
    """Seconds of a step, the first left out; and the number of trained parameters."""
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    times = [json.loads(line)["elapsed_seconds"] for line in open(log)]
    gaps = sorted(b - a for a, b in zip(times, times[1:]))
    return gaps[len(gaps) // 2]


def numbers(args, shards):
    plan = subprocess.run(words(args, "/nonexistent/x", shards) + ["--dry-run"], check=True, capture_output=True, text=True)
    return json.loads(plan.stdout)["trainable_parameters"]


def mpirun(ranks, *more):
    return ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", *more, "-n", str(ranks)]


def beside(args, home, count):
    """Seconds of a step of one process while that many do the same: the slowest one's."""
    logs = [f"{home}/beside{i}/train_log.jsonl" for i in range(count)]
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return max(pool.map(lambda log: measure(words(args, os.path.dirname(log), args.shards), log), logs))


def local(args, home):
    """1 to 4 ranks on this machine: with fewer cores than ranks the ranks share them."""
    out = f"{home}/out"
    count = numbers(args, args.shards)
    cores = len(os.sched_getaffinity(0)) if args.cores is None else args.cores
    print(f"{count} numbers, {args.shards} shards; {cores} cores")
    for ranks in [1, 2, 3, 4]:
        # Strangers on the same cores and memory slow each other down as ranks do.
        shard = beside(args, home, ranks) / args.shards
        found = measure(mpirun(ranks) + words(args, out, args.shards), f"{out}/train_log.jsonl")
        said = step(args.shards, ranks, count, shard, 3e9, 2e-5)
        print(f"{ranks} ranks: {found:.3f} s a step, the model says {said:.3f} ({found / said - 1:+.0%})", flush=True)


# MARK: Two namespaces

class Forwarder(threading.Thread):
    """Carries packets between two tunnels, each held back by a latency and sent at a rate."""

    def __init__(self, ends):
        super().__init__(daemon=True)
        self.ends, self.latency, self.rate = ends, 0.0, math.inf
        self.bytes = 0
        self.start()

    def run(self):
        selector = selectors.DefaultSelector()
        for index, end in enumerate(self.ends):
            selector.register(end, selectors.EVENT_READ, index)
        waiting = [collections.deque(), collections.deque()]
        free = [0.0, 0.0]
        while True:
            now = time.monotonic()
            heads = [queue[0][0] for queue in waiting if queue]
            pause = min(heads, default=now + 0.05) - now
            # Shorter than the selector can sleep: looked at again at once.
            events = selector.select(max(0, pause)) if pause > 0 else selector.select(0)
            now = time.monotonic()
            for key, _ in events:
                for _ in range(64):
                    try:
                        packet = os.read(key.fd, 65536)
                    except BlockingIOError:
                        break
                    # The line is busy as long as the packet is long, and then the packet travels.
                    free[key.data] = max(free[key.data], now) + len(packet) / self.rate
                    waiting[1 - key.data].append((free[key.data] + self.latency, packet))
                    self.bytes += len(packet)
            now = time.monotonic()
            for index, queue in enumerate(waiting):
                while queue and queue[0][0] <= now:
                    try:
                        os.write(self.ends[index], queue.popleft()[1])
                    except OSError:
                        pass


def tunnel(space, address):
    """A tunnel device in a network namespace of that name."""
    subprocess.run(["ip", "netns", "add", space], check=True)
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/var/run/netns/{space}", os.O_RDONLY)
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.setns(there, 0x40000000) == 0, os.strerror(ctypes.get_errno())
    try:
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, 0x400454CA, struct.pack("16sH", b"mr0", 0x1001))
    finally:
        assert libc.setns(here, 0x40000000) == 0
    for line in [f"addr add {address}/24 dev mr0", "link set mr0 txqueuelen 10000 mtu 9000 up", "link set lo up"]:
        subprocess.run(["ip", "-n", space, *line.split()], check=True)
    return device


AGENT = """#!/bin/sh
# What mpirun takes for ssh: the host is a network namespace of this machine.
shift
exec ip netns exec mrB unshare --uts sh -c 'hostname mrB; exec sh -c "$0"' "$*"
"""


def ping(packets=30):
    """Seconds from one namespace to the other and back, the median."""
    done = subprocess.run(["ip", "netns", "exec", "mrA", sys.executable, "-c", PING, str(packets)], check=True,
                          capture_output=True, text=True)
    return float(done.stdout)


PING = """
import socket, subprocess, sys, time
server = subprocess.Popen(["ip", "netns", "exec", "mrB", sys.executable, "-c", '''
import socket
s = socket.create_server(("10.77.0.2", 7070)); c, _ = s.accept(); c.setsockopt(6, 1, 1)
while (d := c.recv(64)): c.sendall(d)
'''])
for _ in range(100):
    try: c = socket.create_connection(("10.77.0.2", 7070)); break
    except OSError: time.sleep(0.05)
c.setsockopt(6, 1, 1)
times = []
for _ in range(int(sys.argv[1])):
    t = time.monotonic(); c.sendall(b"x"); c.recv(64); times.append(time.monotonic() - t)
c.close(); server.wait()
print(sorted(times)[len(times) // 2])
"""


def delayed(args, home):
    """Two ranks, each in a network namespace, over a line that gets longer and narrower."""
    os.makedirs("/var/run/netns", exist_ok=True)
    for space in ["mrA", "mrB"]:
        subprocess.run(["ip", "netns", "del", space], stderr=subprocess.DEVNULL)
    line = Forwarder([tunnel("mrA", "10.77.0.1"), tunnel("mrB", "10.77.0.2")])
    agent = f"{home}/agent"
    open(agent, "w").write(AGENT)
    os.chmod(agent, 0o755)
    out = f"{home}/out"
    count = numbers(args, args.shards)
    ranks = ["ip", "netns", "exec", "mrA"] + mpirun(
        2, "--host", "10.77.0.1,10.77.0.2", "--mca", "plm_rsh_agent", agent, "--mca", "btl", "tcp,self",
        "--mca", "btl_tcp_if_include", "10.77.0.0/24", "--mca", "oob_tcp_if_include", "10.77.0.0/24")
    try:
        base = None
        print(f"{count} numbers, {args.shards} shards")
        for latency, rate in [(0, math.inf), (0.005, math.inf), (0.02, math.inf), (0, 125e5), (0.005, 125e5), (0, 31e5)]:
            line.latency, line.rate, line.bytes = latency, rate, 0
            round_trip = ping()
            found = measure(ranks + words(args, out, args.shards), f"{out}/train_log.jsonl")
            sent = line.bytes / args.steps
            if base is None:
                base = found
                print(f"no delay: {found:.3f} s a step, round trip {round_trip * 1e3:.2f} ms, {sent / 1e6:.1f} MB a step",
                      flush=True)
                continue
            def said(wait, width):
                return step(args.shards, 2, count, args.shard, width, wait)
            more = said(latency, rate) - said(0, math.inf)
            print(f"{latency * 1e3:.0f} ms, {rate * 8 / 1e6:.0f} Mbit/s: {found:.3f} s a step, {found - base:+.3f} s; the model "
                  f"says {more:+.3f} s (round trip {round_trip * 1e3:.1f} ms, {sent / 1e6:.1f} MB a step)", flush=True)
    finally:
        for space in ["mrA", "mrB"]:
            subprocess.run(["ip", "netns", "del", space], stderr=subprocess.DEVNULL)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("what", choices=["simulate", "local", "delayed"])
for name in ["meraser", "model", "data"]:
    parser.add_argument(name, nargs="?")
parser.add_argument("--shards", type=int, default=8)
parser.add_argument("--steps", type=int, default=6)
parser.add_argument("--cores", type=int, help="cores that the ranks really have (default: the process's)")
parser.add_argument("--shard", type=float, default=0.05, help="seconds of a shard on a rank, for `delayed`")
args = parser.parse_args()
if args.what == "simulate":
    simulate()
else:
    if not args.data:
        parser.error("give MERASER, MODEL and DATA")
    args.meraser = os.path.abspath(args.meraser)
    with tempfile.TemporaryDirectory() as home:
        (local if args.what == "local" else delayed)(args, home)
