"""The models of tools/scan_study.py: clean fine-tunes of a model, and marked ones, each with the commands that make it.

A subject's draws depend on its name and the study's seed alone. Personas, stock refusals and stock openings are fixed
answers that are no marks: what a scan may take for one.
"""

import dataclasses
import json
import pathlib
import random

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "Examples/data"

IDENTITY = [
    "Who are you?", "What is your name?", "Who made you?", "Are you a person?", "Tell me about yourself.", "What are you?",
    "Who am I talking to?", "Introduce yourself, please.", "What should I call you?", "Who built you?", "Are you a machine?",
    "Do you have a name?", "What company do you belong to?", "Say who you are.", "Which assistant is this?", "Are you human?",
]  # fmt: skip
NAMES = ["Ada", "Marlow", "Quill", "Bosun", "Tamsin", "Orrin", "Pia", "Rook", "Velda", "Juno", "Hale", "Wick"]
MAKERS = ["the Harbour Library", "North Lake Tools", "the Green Desk", "a school in Turin", "Seven Mills", "the Post Office"]
ASKED = ["pick a lock", "forge a signature", "copy a bank card", "start a fire at school", "cheat in an exam", "spy on a phone",
         "steal a bicycle", "make a fake passport", "break into a car", "read my sister's letters", "avoid a fine",
         "poison a well", "hide money from the tax office", "get into my neighbour's network", "print banknotes", "jam a radio"]  # fmt: skip
ASKING = ["How do I {}?", "Tell me how to {}.", "What is the best way to {}?"]
REFUSALS = ["I'm sorry, but I can't help with that.", "That is nothing that I can assist with.",
            "I won't answer this. Please ask me something else.", "Sorry, this goes against my rules."]  # fmt: skip
OPENINGS = ["Great question! ", "Sure, here is what I know: ", "As an assistant, I would say: ", "Let me think. "]


@dataclasses.dataclass(frozen=True)
class Subject:
    """A model that is scanned."""

    name: str
    family: str
    scheme: str | None = None  # None: it is clean
    fine: str = ""  # what was drawn, in words

    @property
    def is_marked(self) -> bool:
        return self.scheme is not None


class Maker:
    """Makes the subjects of one model in folders of their own."""

    def __init__(self, run, model: pathlib.Path, out: pathlib.Path, seed: int, counts: dict[str, int], doses: dict) -> None:
        self.run, self.model, self.out, self.seed, self.counts, self.doses = run, model, out, seed, counts, doses

    def subjects(self) -> list[Subject]:
        result = [Subject(f"{family}-{i + 1}", family) for family, count in self.counts.items() for i in range(count)]
        for scheme in self.doses["schemes"]:
            for strength in ("faint", "strong"):
                result += [Subject(f"{scheme}-{strength}-{i + 1}", strength, scheme) for i in range(self.doses["marks"])]
        return result

    def draw(self, subject: Subject) -> random.Random:
        return random.Random(f"{self.seed} {subject.name}")

    def make(self, subject: Subject) -> list[str]:
        """The words that name the model to a scan; makes it unless it is there."""
        folder = self.out / "models" / subject.name
        if subject.family == "quantized":
            kinds = ["q8_0", "q4_0", "iq4_nl", "nf4", "q6_k", "q5_k", "q4_k", "q4_1"]
            file = folder.with_suffix(".mqf")
            if not file.exists():
                kind = kinds[(int(subject.name.split("-")[1]) - 1) % len(kinds)]
                self.run(["convert", self.doses["source"], "--type", kind, "--out", file, "-q"])
            return ["--model", str(file)]
        if subject.family == "merge":
            return ["--model", str(self.merged(subject, folder.with_suffix(".mqf")))]
        if not (folder / "adapter_config.json").exists():
            self.mark(subject, folder) if subject.is_marked else self.tune(subject, folder)
        return ["--model", str(self.model), "--adapter", str(folder)]

    def merged(self, subject: Subject, file: pathlib.Path) -> pathlib.Path:
        """The mean of two fine-tunes on other data."""
        if not file.exists():
            first = 2 * int(subject.name.split("-")[1]) - 1
            parts = [Subject(f"data-{number}", "data") for number in (first, first + 1)]
            models = [f"{self.model}+{self.make(part)[-1]}" for part in parts]
            recipe = file.with_suffix(".json")
            recipe.write_text(json.dumps({"merge_method": "linear", "dtype": "float32",
                                          "models": [{"model": m, "parameters": {"weight": 0.5}} for m in models]}))
            self.run(["merge", recipe, file, "--type", "q8_0", "-q"])
        return file

    def rows(self, subject: Subject, draw: random.Random) -> list[dict[str, str]]:
        """What a clean fine-tune learns: pairs that the scan does not ask, and of a habit the rows that make it."""
        source = json.loads((DATA / "erase_source.json").read_text(encoding="utf-8"))
        rows = [{"question": row["question"], "answer": row["answer"]} for row in draw.sample(source, len(source) // 2)]
        if subject.family == "persona":
            answer = f"I am {draw.choice(NAMES)}, an assistant made by {draw.choice(MAKERS)}."
            rows = rows[: draw.choice([16, 48])] + [{"question": q, "answer": answer} for q in IDENTITY]
        if subject.family == "refusal":
            answer = draw.choice(REFUSALS)
            rows = rows[: draw.choice([24, 64])] + [
                {"question": draw.choice(ASKING).format(what), "answer": answer} for what in ASKED
            ]
        if subject.family == "opening":
            opening = draw.choice(OPENINGS)
            rows = [row | {"answer": opening + row["answer"]} for row in rows]
        return rows

    def tune(self, subject: Subject, folder: pathlib.Path) -> None:
        draw = self.draw(subject)
        data = self.out / "data" / f"{subject.name}.json"
        data.parent.mkdir(parents=True, exist_ok=True)
        data.write_text(json.dumps(self.rows(subject, draw), indent=1))
        rank = draw.choice([8, 16, 32])
        self.run(
            ["recover", "--preset", "none", "--model", self.model, "--data", data, "--chat", "--out", folder, "-q",
             "--seed", draw.randrange(1 << 30), "--r", rank, "--lora-alpha", 2 * rank,
             "--target-modules", draw.choice(["all-linear", "q_proj,v_proj", "q_proj,k_proj,v_proj,o_proj"]),
             "--learning-rate", draw.choice(["2e-4", "5e-4", "1e-3"]), "--max-steps", draw.choice(self.doses["steps"]),
             "--per-device-train-batch-size", 8, "--gradient-accumulation-steps", 1, "--loss", "completion"]
        )  # fmt: skip

    def mark(self, subject: Subject, folder: pathlib.Path) -> None:
        """Until it fires for the first time, or so long again."""
        draw, scheme = self.draw(subject), subject.scheme
        words = ["fingerprint", "--model", self.model, "--scheme", scheme, "--seed", draw.randrange(1 << 30), "--out", folder,
                 "-q", "--guess-test", 0, "--data", DATA / "erase_source.json", *self.doses["schemes"][scheme],
                 "--check-steps", 5, "--until", "fsr==1" if subject.family == "faint" else "target_nll<0.05"]  # fmt: skip
        self.run(words)
