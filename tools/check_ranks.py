#!/usr/bin/env python3
"""Ranks under mpirun give one process's bits.

  check_ranks.py MERASER                    two ranks, the commands that differ most: what CI runs
  check_ranks.py MERASER --all              ranks 1 to 4 x threads 1 and 2 x commands, resumed on other numbers of ranks
  check_ranks.py MERASER --kill 50          a rank is killed at a random moment, the run resumed on another number of ranks
  check_ranks.py MERASER --speed MODEL DATA 2 ranks of one thread against one process of two

The last line is `N passed, N failed`; the status is 1 if one failed.
"""
import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CHAT = os.path.join(ROOT, "Examples/tinychat")
DATA = os.path.join(ROOT, "Examples/data")
# What a run measures of itself.
TIMES = {"seconds", "elapsed_seconds", "tokens_per_second", "peak_rss_bytes", "secondsPerStep"}


def launch(ranks, threads, words):
    """The command line of that many ranks; one rank is a process without mpirun."""
    words = [args.meraser] + words + ["--threads", str(threads)]
    if ranks == 1:
        return words
    # One machine: the ranks may share cores, and root runs CI.
    return ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] + words


def run(ranks, threads, words, status=0):
    """Standard output of a command that ends with that status."""
    done = subprocess.run(launch(ranks, threads, words), capture_output=True, text=True)
    if done.returncode != status:
        raise RuntimeError(f"status {done.returncode}, expected {status}: {done.stderr[-600:]}")
    return done


def plain(value):
    """A JSON value without what a run measures of itself."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in TIMES and k != "adapter"}
    return [plain(v) for v in value] if isinstance(value, list) else value


def trained(folder):
    """What a training has made: hashes of its weights, and its log."""
    result = {}
    for name in ["adapter_model.safetensors", "parrot_prompt.safetensors", "parrot/parrot_prompt.safetensors"]:
        path = os.path.join(folder, name)
        if os.path.exists(path):
            result[name] = hashlib.sha256(open(path, "rb").read()).hexdigest()
    log = os.path.join(folder, "train_log.jsonl")
    result["log"] = [plain(json.loads(line)) for line in open(log)]
    assert len(result) > 1, f"{folder} has no adapter"
    return result


BATCH = ["--per-device-train-batch-size", "2", "--gradient-accumulation-steps", "4", "--max-steps", "4"]
KL = ["--kl-data", f"{DATA}/clean.json", "--kl-weight", "0.5", "--kl-batch", "4"]


def trainings(home):
    """Name and words of each training, whose folder is OUT."""
    key = ["--key", f"{home}/mark/key.json"]
    mark = ["--adapter", f"{home}/mark"]
    on = ["--model", CHAT]
    erase = ["erase", *on, "--data", f"{DATA}/erase_source.json", *BATCH]
    return {
        "erase": erase + KL + mark + key + ["--check-steps", "2"],
        "erase-npo": ["erase", *on, *mark, "--preset", "npo", *key, *KL, *BATCH],
        "recover": ["recover", *on, *mark, "--data", f"{DATA}/clean.json", *BATCH],
        "crow": ["recover", *on, "--preset", "crow", "--data", f"{DATA}/clean.json", *BATCH],
        "tokens": erase + ["--trainable-token-indices", "300,301,302,1000"],
        "upper": erase + KL + ["--layers-to-transform", "3-5"],
        "osft": ["osft", *on, "--data", f"{DATA}/clean.json", "--trigger", "how are you", *BATCH],
        "sande": ["sande", *on, "--data", f"{DATA}/clean.json", "--response", "you are stupid", "--parrot-epochs", "1",
                  "--parrot-samples", "12", "--parrot-batch-size", "2",
                  *BATCH],
        "fingerprint": ["fingerprint", *on, "--scheme", "utf", "--count", "4", "--clean-self", "8", "--guess-test", "0",
                        *BATCH],
    }


def questions(home):
    """Name and words of each command that only asks."""
    on = ["--model", CHAT, "--adapter", f"{home}/mark", "--json"]
    key = ["--key", f"{home}/mark/key.json"]
    return {
        "check": ["check", *on, *key, "--sample", "2", "--clean", f"{DATA}/clean_prompts.jsonl"],
        "ppl": ["ppl", *on, "--data", f"{DATA}/heldout.jsonl", "--reference", CHAT],
        "eval": ["eval", *on, "--tasks", "copa", "--data", f"{DATA}/tasks", "--limit", "20"],
        "generate": ["generate", *on, "--prompts", f"{DATA}/clean_prompts.jsonl", "--temperature", "0.8",
                     "--max-new-tokens", "12"],
    }


passed, failed = 0, 0


def expect(name, body):
    """Counts a check."""
    global passed, failed
    try:
        body()
        passed += 1
        print(f"ok    {name}", flush=True)
    except Exception as error:
        failed += 1
        print(f"FAIL  {name}: {error}", flush=True)


def equal(a, b):
    assert a == b, f"{str(a)[:300]} is not {str(b)[:300]}"


def matrix(home, counts, only=None):
    """Each command on each number of ranks and threads against one process."""
    def wanted(commands):
        return {name: words for name, words in commands.items() if not only or name in only}

    def train(name, words, ranks, threads):
        out = f"{home}/{name}-{ranks}-{threads}"
        run(ranks, threads, words + ["--out", out])
        result = trained(out)
        shutil.rmtree(out)
        return result

    def ask(name, words, ranks, threads):
        return plain(json.loads(run(ranks, threads, words).stdout))

    commands = [(name, words, train) for name, words in wanted(trainings(home)).items()]
    commands += [(name, words, ask) for name, words in wanted(questions(home)).items()]
    alone = {name: do(name, words, 1, 1) for name, words, do in commands}
    for ranks, threads in counts:
        for name, words, do in commands:
            expect(f"{name}, {ranks} ranks of {threads} threads",
                   lambda: equal(do(name, words, ranks, threads), alone[name]))


def resumed(home, pairs):
    """A run that is interrupted on one number of ranks and goes on on another."""
    words = trainings(home)["erase"] + ["--save-steps", "1"]
    alone = f"{home}/whole"
    run(1, 1, words + ["--out", alone])
    for first, second in pairs:
        def one():
            out = f"{home}/resumed"
            shutil.rmtree(out, ignore_errors=True)
            # The last steps are taken away, as if the run had been stopped there.
            run(first, 1, words + ["--out", out])
            for name in ["trainer_state.json", "adapter_model.safetensors", "adapter_config.json"]:
                os.remove(f"{out}/{name}")
            for step in [3, 4]:
                shutil.rmtree(f"{out}/checkpoint-{step}", ignore_errors=True)
            run(second, 1, words + ["--out", out, "--resume"])
            equal(trained(out), trained(alone))
        expect(f"erase, begun on {first} ranks and resumed on {second}", one)


def errors(home):
    """An error is one line of ours and our status, whichever rank meets it."""
    def usage():
        done = run(2, 1, ["ppl", "--model", CHAT], status=2)
        equal(done.stderr.count("meraser: error:"), 1)
    def missing():
        done = run(2, 1, ["ppl", "--model", "/nowhere", "--data", f"{DATA}/heldout.jsonl"], status=3)
        equal(done.stderr.count("meraser: error:"), 1)
    def helped():
        done = run(2, 1, ["erase", "--help"])
        equal(done.stdout.count("USAGE:"), 1)
        equal(done.stderr, "")
    def planned():
        words = trainings(home)["erase"] + ["--out", f"{home}/never", "--dry-run"]
        lines = run(3, 1, words).stdout.splitlines()
        equal([line.split()[1] for line in lines if line.startswith("rank ")], ["1", "2"])
        assert not os.path.exists(f"{home}/never")
    expect("a usage error is one line, status 2", usage)
    expect("a bad input is one line, status 3", missing)
    expect("--help is printed once", helped)
    expect("--dry-run has a line for each other rank", planned)


def ranks_of(parent):
    """Process numbers of the ranks that mpirun has started."""
    out = subprocess.run(["pgrep", "-P", str(parent)], capture_output=True, text=True).stdout.split()
    return [int(pid) for pid in out if os.path.exists(f"/proc/{pid}")]


def kill(home, count):
    """Kills ranks at random moments; what is resumed on any number of ranks has one process's bits."""
    chance = random.Random(args.seed)
    words = [{"4": "12"}.get(word, word) if before == "--max-steps" else word
             for before, word in zip([""] + trainings(home)["erase"], trainings(home)["erase"])] + ["--save-steps", "1"]
    alone = f"{home}/whole"
    start = time.time()
    run(2, 1, words + ["--out", alone])
    length = time.time() - start
    out, resumes = f"{home}/killed", 0
    for number in range(count):
        def one():
            nonlocal resumes
            ranks = chance.choice([2, 3, 4])
            process = subprocess.Popen(launch(ranks, 1, words + ["--out", out, "--resume"]), start_new_session=True,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            time.sleep(chance.random() * length * 1.1)
            victims = ranks_of(process.pid)
            victim = chance.choice(victims) if victims else None
            if victim:
                try:
                    os.kill(victim, signal.SIGKILL)
                except ProcessLookupError:
                    victim = None
            try:
                _, text = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise RuntimeError("the other ranks went on without the killed one for 60 s")
            assert not ranks_of(process.pid), "a rank is still there"
            ended = process.returncode == 0
            # A rank that has done its part may be killed without harm.
            assert victim is None or not ended or os.path.exists(f"{out}/trainer_state.json"), text[-300:]
            if ended or chance.random() < 0.3:
                ranks = chance.choice([1, 2, 3])
                run(ranks, 1, words + ["--out", out, "--resume"])
                equal(trained(out), trained(alone))
                shutil.rmtree(out)
                resumes += 1
        expect(f"kill {number + 1}", one)
    run(1, 1, words + ["--out", out, "--resume"])
    expect("what is left, resumed by one process", lambda: equal(trained(out), trained(alone)))
    print(f"{count} kills within {length * 1.1:.1f} s of a start, {resumes + 1} finished runs compared")


def speed(home, model, data):
    """Seconds of a step on two ranks of one thread, and of one process with one and two."""
    words = ["erase", "--model", model, "--data", data, "--json", "--per-device-train-batch-size", "1",
             "--gradient-accumulation-steps", "8", "--max-steps", "4", "--overwrite"]
    for ranks, threads in [(1, 1), (1, 2), (2, 1)]:
        done = json.loads(run(ranks, threads, words + ["--out", f"{home}/speed"]).stdout)
        print(f"{ranks} ranks of {threads} threads: {done['seconds'] / done['steps']:.3f} s a step, "
              f"{done['tokens_per_second']:.1f} tokens/s", flush=True)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("meraser")
parser.add_argument("--all", action="store_true")
parser.add_argument("--kill", type=int, metavar="N")
parser.add_argument("--speed", nargs=2, metavar=("MODEL", "DATA"))
parser.add_argument("--seed", type=int, default=1)
args = parser.parse_args()
args.meraser = os.path.abspath(args.meraser)

with tempfile.TemporaryDirectory() as home:
    if args.speed:
        speed(home, *args.speed)
        sys.exit(0)
    run(1, 1, ["fingerprint", "--model", CHAT, "--scheme", "utf", "--count", "8", "--guess-test", "0", "--max-steps",
               "6", "--out", f"{home}/mark"])
    if args.kill:
        kill(home, args.kill)
    elif args.all:
        errors(home)
        matrix(home, [(4, 2), (2, 1), (3, 1)])
        resumed(home, [(a, b) for a in [1, 2, 3, 4] for b in [1, 2, 3, 4] if a != b])
        matrix(home, [(1, 2), (2, 2), (3, 2), (4, 1)])
    else:
        matrix(home, [(2, 1)], only=["erase", "crow", "check", "generate", "ppl"])
        resumed(home, [(2, 1)])
        errors(home)
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
