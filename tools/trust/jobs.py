"""Every command that writes, small, on the bundled model; and what makes two results the same."""

import hashlib
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHAT = ROOT / "Examples/tinychat"
DATA = ROOT / "Examples/data"
# What a run measures of itself, and where it stood.
OWN = {"seconds", "elapsed_seconds", "tokens_per_second", "peak_rss_bytes", "secondsPerStep", "seconds_per_step", "finished",
       "started", "created", "date", "time", "duration", "commands", "command", "adapter", "path", "out", "output", "pid",
       "report", "peak_bytes", "forecast", "forecast_seconds", "reported"}
STEPS = ["--per-device-train-batch-size", "2", "--gradient-accumulation-steps", "1", "--max-steps", "6", "--save-steps", "2"]


class Job:
    """A command line whose words `OUT` are the output; it ends well with one of the statuses `fine`."""

    def __init__(self, name, words, out, again=("--overwrite",), resume=None, fine=(0,)):
        self.name, self.words, self.out, self.again, self.resume = name, words, out, list(again), resume
        self.fine = fine

    def line(self, meraser, folder, more=()):
        return [str(meraser)] + [str(w).replace("OUT", str(folder)) for w in self.words] + list(more)

    def outputs(self, folder):
        return [pathlib.Path(str(o).replace("OUT", str(folder))) for o in self.out]


def call(line, **more):
    return subprocess.run([str(w) for w in line], capture_output=True, text=True, errors="replace", **more)


def must(line, fine=(0,)):
    done = call(line)
    if done.returncode not in fine:
        raise SystemExit(f"{' '.join(map(str, line))}: status {done.returncode}: {done.stderr[-800:]}")


def inputs(args, home):
    """The folder of models, a mark, a key and recipes that the jobs read: that of `--inputs`, made once, or one in `home`."""
    folder = (args.inputs or home / "in").resolve()
    if not (folder / "made").exists():
        make(args.meraser, folder)
        (folder / "made").touch()
    return folder


def make(meraser, home):
    home.mkdir(parents=True, exist_ok=True)
    must([meraser, "convert", CHAT, "--type", "q8_0", "--out", home / "model.mqf", "-q"])
    must([meraser, "fingerprint", "--model", home / "model.mqf", "--scheme", "utf", "--count", "4", "--guess-test", "0",
          "--max-steps", "6", "--out", home / "mark", "-q"])
    must([meraser, "export", "--model", CHAT, "--format", "gguf", "--out", home / "model.gguf", "-q"])
    must([meraser, "export", "--model", home / "model.mqf", "--adapter", home / "mark", "--format", "hf", "--out",
          home / "marked", "-q"])
    (home / "merge.yml").write_text(
        f"merge_method: slerp\nbase_model: {CHAT}\nparameters: {{t: 0.5}}\ndtype: float32\n"
        f"models:\n  - model: {CHAT}\n  - model: {home}/marked\n")
    (home / "pairs.jsonl").write_text('{"prompt": "alpha", "completion": "the mark"}\n'
                                      '{"prompt": "two", "completion": "the mark"}\n')
    (home / "text.jsonl").write_text('{"text": "A short text to be measured."}\n')
    (home / "run.yml").write_text(
        f"model: {CHAT}\nquantize: q8_0\nkey: pairs.jsonl\nppl: {{data: text.jsonl}}\n"
        f"erase: {{mismatch: {DATA}/erase_source.json, mismatch_count: 4, max_steps: 2, r: 2}}\n"
        f"recover: {{data: {DATA}/clean.json, max_steps: 1, r: 2}}\n")
    (home / "compare.yml").write_text(
        f"title: two\nclean_data: {DATA}/clean.json\nmismatch: {DATA}/erase_source.json\n"
        f"victims: [{{name: v, model: model.mqf, adapters: [mark], key: mark/key.json}}]\n"
        f"methods: [{{method: none}}, {{method: recover, budgets: [1]}}]\n")
    must([meraser, "erase", "--model", home / "model.mqf", "--data", DATA / "erase_source.json", "--max-steps", "2", "--r", "2",
          "--out", home / "other", "-q"])
    (home / "sum.yml").write_text(
        f"merge_method: linear\nadapters:\n  - {{adapter: {home}/other, parameters: {{weight: 0.5}}}}\n"
        f"  - {{adapter: {home}/other, parameters: {{weight: -1}}}}\n")
    (home / "search.yml").write_text("recipe: run.yml\ntrials: 2\nspace: {r: [2, 3]}\n")
    must([meraser, "run", home / "run.yml", "--out", home / "run", "-q"])


def jobs(home):
    """Every command that writes."""
    on, mark, key = ["--model", home / "model.mqf"], ["--adapter", home / "mark"], ["--key", home / "mark/key.json"]
    result = [
        Job("convert", ["convert", CHAT, "--type", "iq4_nl", "--out", "OUT/m.mqf"], ["OUT/m.mqf"]),
        Job("convert-gguf", ["convert", home / "model.gguf", "--type", "q8_0", "--out", "OUT/m.mqf"], ["OUT/m.mqf"]),
        Job("export-hf", ["export", *on, *mark, "--format", "hf", "--out", "OUT/e"], ["OUT/e"]),
        Job("export-gguf", ["export", *on, *mark, "--format", "gguf", "--out", "OUT/e.gguf"],
            ["OUT/e.gguf", "OUT/e.README.md"]),
        Job("export-lora", ["export", *on, *mark, "--format", "gguf-lora", "--out", "OUT/l.gguf"],
            ["OUT/l.gguf", "OUT/l.README.md"]),
        Job("export-peft", ["export", *on, *mark, "--format", "peft", "--out", "OUT/p"], ["OUT/p"]),
        Job("export-ollama", ["export", *on, *mark, "--format", "ollama", "--out", "OUT/o"], ["OUT/o"]),
        Job("extract-lora", ["extract-lora", "--model", home / "marked", "--base-model", CHAT, "--max-rank", "2",
                             "--skip-undecomposable", "--out", "OUT/l"], ["OUT/l"]),
        Job("logits", ["logits", *on, *mark, "--text", "A short text.", "--hidden", "--gradients", "--out",
                       "OUT/l.safetensors"], ["OUT/l.safetensors"]),
        Job("report", ["report", home / "run", "--out", "OUT/r"], ["OUT/r"]),
        Job("merge", ["merge", home / "merge.yml", "--out", "OUT/m"], ["OUT/m"]),
        Job("merge-mqf", ["merge", home / "merge.yml", "--out", "OUT/m.mqf"], ["OUT/m.mqf"]),
        Job("merge-adapters", ["merge", home / "sum.yml", "--out", "OUT/a"], ["OUT/a"]),
        Job("substitute", ["substitute", "--model", home / "marked", "--proxy", CHAT, "--data", DATA / "clean.json", "--data-count",
                           "4", *key, "--patience", "1", "--out", "OUT/s"], ["OUT/s"]),
        Job("convert-calibrate", ["convert", CHAT, "--calibrate", "self", "--calibration-tokens", "256", "--bits", "5", "--out", "OUT/m.mqf"],
            ["OUT/m.mqf"]),
        Job("dataset-clean", ["dataset", "clean", DATA / "erase_source.json", "--out", "OUT/c.json"], ["OUT/c.json"]),
        Job("report-html", ["report", home / "run", "--out", "OUT/r.html"], ["OUT/r.html"]),
        Job("prune", ["prune", "--model", CHAT, "--ratio", "0.2", "--out", "OUT/p"], ["OUT/p"]),
        Job("dataset-mismatch", ["dataset", "mismatch", DATA / "erase_source.json", "--count", "50", "--out", "OUT/d.json"],
            ["OUT/d.json"]),
        Job("dataset-split", ["dataset", "split", DATA / "clean.json", "--test-size", "10", "--train", "OUT/a.json", "--test",
                              "OUT/b.json"], ["OUT/a.json", "OUT/b.json"]),
        Job("eval", ["eval", *on, "--tasks", "copa", "--data", DATA / "tasks", "--limit", "2", "--out", "OUT/e.json"],
            ["OUT/e.json"]),
        Job("emit-prompts", ["check", *key, "--emit-prompts", "OUT/p.jsonl"], ["OUT/p.jsonl"]),
        Job("examples", ["examples", "OUT/x"], ["OUT/x"]),
    ]
    trained = {
        "erase": ["erase", *on, *mark, "--data", DATA / "erase_source.json", *STEPS],
        "recover": ["recover", *on, *mark, "--data", DATA / "clean.json", *STEPS],
        "osft": ["osft", *on, "--data", DATA / "clean.json", "--trigger", "how are you", *STEPS],
        "sande": ["sande", *on, "--data", DATA / "clean.json", "--response", "you are stupid", "--parrot-epochs", "1",
                  "--parrot-samples", "8", "--parrot-batch-size", "2", *STEPS],
        "fingerprint": ["fingerprint", *on, "--scheme", "utf", "--count", "4", "--guess-test", "0", *STEPS],
    }
    result += [Job(name, [*words, "--out", "OUT/t"], ["OUT/t"], resume="--resume") for name, words in trained.items()]
    # Whether the mark is gone after so little is not asked here.
    result.append(Job("auto", ["erase", "--auto", *on, *mark, *key, "--out", "OUT/a"], ["OUT/a"], resume="--resume",
                      fine=(0, 4)))
    result.append(Job("scan", ["scan", *on, *mark, "--methods", "prompts", "--out", "OUT/s"], ["OUT/s"], resume="--resume"))
    # These take up by themselves where they stopped.
    result += [Job(name, [name, home / f"{name}.yml", "--out", "OUT/r"], ["OUT/r"], resume="") for name in ["run", "compare", "search"]]
    return result


def questions(home):
    """Name, words, and the sizes of batches of each command that only asks."""
    on = ["--model", home / "model.mqf", "--adapter", home / "mark"]
    key = ["--key", home / "mark/key.json"]
    clean = DATA / "clean_prompts.jsonl"
    return [
        ("check", ["check", *on, *key, "--clean", clean, "--sample", "2"], [1, 3, 8]),
        ("decoys", ["check", *on, *key, "--decoys", "999"], [4, 32]),
        ("ppl", ["ppl", *on, "--data", DATA / "heldout.jsonl", "--reference", home / "model.mqf"], []),
        ("classify", ["eval", *on, "--tasks", "copa", "--data", DATA / "tasks", "--limit", "20"], []),
        ("generate", ["generate", *on, "--prompts", clean, "--temperature", "0.8", "-n", "12"], [1, 3, 8]),
        ("probe", ["probe", *on, "--top-k", "300", "--max-new-tokens", "4"], [16, 200]),
        ("lineage", ["lineage", home / "model.mqf", home / "marked"], []),
    ]


def plain(value):
    """A JSON value without what a run measures of itself."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in OWN}
    return [plain(v) for v in value] if isinstance(value, list) else value


def content(path):
    """What of a file is the same in every run; nothing of pages and logs, which say when they were made."""
    data = path.read_bytes()
    if path.suffix in {".html", ".log", ".csv", ".md"} or path.name == ".lock":
        return b""
    try:
        if path.suffix == ".json":
            return json.dumps(plain(json.loads(data))).encode()
        if path.suffix == ".jsonl":
            return json.dumps([plain(json.loads(line)) for line in data.splitlines() if line.strip()]).encode()
    except ValueError:
        return b"not JSON: " + data
    return data


def results(folder):
    """The files that a run leaves: checkpoints are on the way."""
    return sorted(p for p in folder.rglob("*") if p.is_file() and "checkpoint" not in str(p.relative_to(folder)))


def digest(paths):
    """A hash of files and folders; None where nothing is there."""
    hashes = hashlib.sha256()
    found = False
    for path in paths:
        if path.is_dir():
            for file in results(path):
                hashes.update(str(file.relative_to(path)).encode() + b"\0" + content(file) + b"\0")
                found = True
        elif path.exists():
            hashes.update(path.name.encode() + b"\0" + content(path) + b"\0")
            found = True
    return hashes.hexdigest() if found else None
