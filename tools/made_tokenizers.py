"""Tokenizers that are made with Hugging Face's `tokenizers`, one of each kind and of each switch: what check_tokenizers.py
compares. Needs: tokenizers 0.22; transformers 4.57 and sentencepiece for SentencePiece's models.
"""
import base64
import copy
import json
import os
import tempfile

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

MARK = "\u2581"
CORPUS = [
    "The quick brown fox jumps over the lazy dog. It's the 12th of May 2024, isn't it?", "Hello, world! 3.14159 < 22/7",
    "Grüße aus Köln: Straße, Ärger, naïve café, coöperate, señor, Ångström", "Привет мир! Как дела? Всё хорошо.",
    "日本語のテキストとカタカナ、漢字。中文字符测试", "안녕하세요 세계 한국어", "हिन्दी भाषा नमस्ते", "مرحبا بالعالم", "שלום עולם",
    "def f(x):\n    return x ** 2  # comment\n\n\nprint(f(3))\t\tend", "😀👍🏽👩‍👩‍👧‍👦🇩🇪 emoji", "ﬁne ﬂow ½ ² ① Ⅷ ㌀ ﷺ", "a_b-c/d e.g. U.S.A. \"quoted\" 'x'",
]


def corpus():
    text = list(CORPUS) * 3
    path = "/work/shared/data/wikitext2-valid.txt"
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            text += [line for line in file.read(200_000).split("\n") if line.strip()]
    return text


def trained(model, trainer, normalizer=None, pre=None, decoder=None, post=None, added=True):
    tokenizer = Tokenizer(model)
    if normalizer:
        tokenizer.normalizer = normalizer
    if pre:
        tokenizer.pre_tokenizer = pre
    if decoder:
        tokenizer.decoder = decoder
    tokenizer.train_from_iterator(corpus(), trainer)
    if added:
        tokenizer.add_special_tokens([AddedToken("<pad>", special=True), AddedToken("<left>", lstrip=True, special=True)])
        tokenizer.add_tokens([
            AddedToken("<word>", single_word=True, normalized=False), AddedToken("<norm>", normalized=True),
            AddedToken("<right>", rstrip=True, normalized=False), AddedToken("NoRm", normalized=True, lstrip=True, rstrip=True)])
    if post:
        tokenizer.post_processor = post(tokenizer)
    return json.loads(tokenizer.to_str())


def bpe(size, alphabet=None, **options):
    special = ["<unk>", "<s>", "</s>"]
    affixes = {k: options[k] for k in ("continuing_subword_prefix", "end_of_word_suffix") if k in options}
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, show_progress=False, limit_alphabet=300 if alphabet else 200,
        initial_alphabet=alphabet or [], **affixes)
    return models.BPE(**options), trainer


def with_bytes(data):
    """The same tokenizer with tokens for all bytes, and byte fallback."""
    data = copy.deepcopy(data)
    model = data["model"]
    model["byte_fallback"] = True
    names = [f"<0x{i:02X}>" for i in range(256)]
    if model["type"] == "Unigram":
        keep = [e for e in model["vocab"] if e[0] not in names]
        model["vocab"] = keep + [[n, -20.0] for n in names]
        size = len(model["vocab"])
    else:
        size = len(model["vocab"])
        model["vocab"].update({n: size + i for i, n in enumerate(names) if n not in model["vocab"]})
        size += 256
    taken = {e[0]: i for i, e in enumerate(model["vocab"])} if model["type"] == "Unigram" else model["vocab"]
    for token in data["added_tokens"]:
        token["id"] = taken.get(token["content"], -1)
    for token in data["added_tokens"]:
        if token["id"] < 0:
            token["id"], size = size, size + 1
    data["post_processor"] = None
    return data


def seq(kind, *steps):
    return kind.Sequence(list(steps))


def charsmap(size):
    """A table as SentencePiece writes it, taken from a model that is trained here."""
    from sentencepiece import sentencepiece_model_pb2 as pb
    rules = {"normalization_rule_name": "nmt_nfkc_cf"}
    if size < 500:  # For the fixture.
        with tempfile.NamedTemporaryFile("w", suffix=".tsv", delete=False) as file:
            for source, target in [("\u00e9", "e"), ("e\u0301", "E"), ("\u00df", "ss"), ("\u0130", "i\u0307"), ("\u200b", " "), ("\u200d", ""), ("\ufb01", "fi"), ("A", "a"),
                                   ("\u0301", ""), ("\U0001f44d\U0001f3fd", "+1"), ("\r\n", "\n"), ("\u1100\u1161", "\uac00"), ("\u00bd", "1/2"), ("\u6f22", "\u5b57\u5b57")]:
                file.write(" ".join(f"{ord(c):04X}" for c in source) + "\t" + " ".join(f"{ord(c):04X}" for c in target) + "\n")
        rules = {"normalization_rule_tsv": file.name}
    model = sentencepiece_model("unigram", 300, **rules)
    proto = pb.ModelProto()
    proto.ParseFromString(model)
    return base64.b64encode(proto.normalizer_spec.precompiled_charsmap).decode()


def sentencepiece_model(kind, size, **options):
    import io
    import sentencepiece as spm
    out = io.BytesIO()
    options = {"character_coverage": 0.995, "hard_vocab_limit": False, "minloglevel": 2, **options}
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus()), model_writer=out, vocab_size=size, model_type=kind, **options)
    return out.getvalue()


def variants(size=900):
    """(name, tokenizer.json) of each, with about so many tokens where one is trained."""
    N, P, D, T = normalizers, pre_tokenizers, decoders, processors
    byte_alphabet = P.ByteLevel.alphabet()
    gpt2 = trained(*bpe(size, alphabet=byte_alphabet), pre=P.ByteLevel(add_prefix_space=False), decoder=D.ByteLevel())
    yield "bpe bytes", gpt2

    def changed(base, **parts):
        data = copy.deepcopy(base)
        for key, value in parts.items():
            if key == "model":
                data["model"].update(value)
            else:
                data[key] = value if value is None or isinstance(value, dict) else json.loads(value.__getstate__())
        return data

    for space in (True, False):
        for use_regex in (True, False):
            yield f"bpe bytes prefix={space} regex={use_regex}", changed(
                gpt2, pre_tokenizer=P.ByteLevel(add_prefix_space=space, use_regex=use_regex))
    yield "bpe bytes ignore_merges", changed(gpt2, model={"ignore_merges": True})
    yield "bpe bytes dropout null and truncation, padding", changed(
        gpt2, model={"dropout": None},
        truncation={"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        padding={"strategy": {"Fixed": 30}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>"})

    # What a pattern, a set or a cut does is seen by a space that ByteLevel puts before every piece.
    show = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}

    def shown(*steps):
        return {"type": "Sequence", "pretokenizers": [json.loads(s.__getstate__()) if not isinstance(s, dict) else s for s in steps] + [show]}

    def split(pattern, behavior="Isolated", invert=False, literal=False):
        return {"type": "Split", "pattern": {"String" if literal else "Regex": pattern}, "behavior": behavior, "invert": invert}
    for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        for invert in (False, True):
            yield f"split {behavior} invert={invert}", changed(gpt2, pre_tokenizer=shown(split(r"\s|[aeiou]", behavior, invert)))
        yield f"split literal {behavior}", changed(gpt2, pre_tokenizer=shown(split("a", behavior, literal=True)))
        yield f"split empties {behavior}", changed(gpt2, pre_tokenizer=shown(split(r"a*|(?=\p{Lu})", behavior)))
        yield f"punctuation {behavior}", changed(
            gpt2, pre_tokenizer=shown({"type": "Punctuation", "behavior": behavior}))
    llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    patterns = [
        llama3, r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"^\s+", r"\s+$", r"\bthe\b", r"(?<=[aeiou])\p{L}", r"(?<!\p{L})\p{L}", r"(?<=ab|c|\s)\S", r"[\p{L}&&[^a-z]]+", r"[[:punct:]]", r"[[:^space:]]+", r"[\w.]+", r"\h+", r"\A.", r".\z", r"\B",
        r"(?i)the|ö|ä", r"[^[a-z]\s]+", r"\p{P}|\p{S}", r"\p{Zs}+|\p{Cc}", r"\p{M}+", r"[一-龥ࠀ-一가-퟿]+", r"\w+", r"\W", r"\d+", r"\s+", r".+?[,.]", r"(?:\p{N}{3})+(?!\p{N})", r"\x{1F600}|\u00e9", r"[\x{4e00}-\x{9fff}]",
        r"\p{Lo}", r"\p{Nl}|\p{No}", r"\p{Cf}", r"\p{Sk}|\p{Sc}", r"\p{Ll}", r"\p{Lt}|\p{Lm}", r"\p{Co}|\p{Cn}", r"\p{^L}", r"\P{N}", r"[^\S\n]+", r"'(?:[sdmt]|ll|ve|re)"]
    for pattern in patterns:
        yield f"pattern {pattern}", changed(gpt2, pre_tokenizer=shown(split(pattern)))
    for name, step in [("Digits", P.Digits(True)), ("Digits runs", P.Digits(False)), ("Whitespace", P.Whitespace()),
                       ("WhitespaceSplit", P.WhitespaceSplit()), ("CharDelimiterSplit", P.CharDelimiterSplit("a")), ("CharDelimiterSplit wide", P.CharDelimiterSplit("漢")),
                       ("BertPreTokenizer", P.BertPreTokenizer()), ("Punctuation", P.Punctuation()), ("FixedLength", P.FixedLength(3)),
                       ("UnicodeScripts", P.UnicodeScripts()), ("Metaspace in bytes", P.Metaspace())]:
        yield f"pre {name}", changed(gpt2, pre_tokenizer=shown(step))
    yield "pre Sequence", changed(gpt2, pre_tokenizer=shown(P.Digits(True), P.Punctuation(), split(llama3)))

    for name, step in [
            ("NFC", N.NFC()), ("NFD", N.NFD()), ("NFKC", N.NFKC()), ("NFKD", N.NFKD()), ("StripAccents", N.StripAccents()),
            ("NFD StripAccents", seq(N, N.NFD(), N.StripAccents())), ("NFKD StripAccents Lowercase", seq(N, N.NFKD(), N.StripAccents(), N.Lowercase())),
            ("Lowercase", N.Lowercase()), ("Strip", N.Strip()), ("Strip left", N.Strip(left=True, right=False)), ("Strip right", N.Strip(left=False, right=True)),
            ("Prepend", N.Prepend("ab")), ("Nmt", N.Nmt()), ("ByteLevel", N.ByteLevel()), ("BertNormalizer", N.BertNormalizer()),
            ("BertNormalizer cased", N.BertNormalizer(lowercase=False)), ("BertNormalizer accents kept", N.BertNormalizer(strip_accents=False)),
            ("BertNormalizer only accents", N.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)),
            ("BertNormalizer no clean", N.BertNormalizer(clean_text=False)), ("Nmt NFKC", seq(N, N.Nmt(), N.NFKC()))]:
        yield f"normalizer {name}", changed(gpt2, normalizer=step)
    for pattern, content in [(r" {2,}", MARK), (r"\s+", " "), (r"^\s+|\s+$", ""), (r"\p{M}", ""), (r"(.)x", "<>")]:
        yield f"normalizer Replace {pattern}", changed(
            gpt2, normalizer={"type": "Replace", "pattern": {"Regex": pattern}, "content": content})
    yield "normalizer Precompiled", changed(gpt2, normalizer={"type": "Precompiled", "precompiled_charsmap": charsmap(size)})

    # Decoders in every order.
    mark_space = {"type": "Replace", "pattern": {"String": MARK}, "content": " "}
    fuse, fallback, byte = {"type": "Fuse"}, {"type": "ByteFallback"}, json.loads(D.ByteLevel().__getstate__())
    strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
    both = {"type": "Strip", "content": "e", "start": 2, "stop": 1}
    meta = json.loads(D.Metaspace().__getstate__())
    orders = [
        [fallback, fuse, mark_space, byte], [mark_space, fallback, fuse, strip], [fuse, both], [both], [fuse, mark_space, strip], [byte, strip, mark_space], [byte, both],
        [fallback, byte], [byte, fallback], [fuse, fallback], [meta, fuse], [fuse, meta], [byte, meta], [strip, byte], [byte, fuse, byte],
        [{"type": "WordPiece", "prefix": "##", "cleanup": True}], [{"type": "WordPiece", "prefix": "", "cleanup": False}], [byte, {"type": "WordPiece", "prefix": "t", "cleanup": True}],
        [{"type": "BPEDecoder", "suffix": "Ġ"}], [{"type": "BPEDecoder", "suffix": "e"}, fuse, strip], [byte, {"type": "BPEDecoder", "suffix": "e"}],
        [{"type": "CTC", "pad_token": "e", "word_delimiter_token": "Ġ", "cleanup": True}], [{"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": False}, byte],
        [fuse, {"type": "CTC", "pad_token": "e", "word_delimiter_token": "Ġ", "cleanup": True}],
        [{"type": "Replace", "pattern": {"Regex": "Ġ|e*"}, "content": "+"}], [fuse, {"type": "Replace", "pattern": {"String": "th"}, "content": ""}, {"type": "Replace", "pattern": {"Regex": "Ġ+"}, "content": " "}],
        [], [fuse, fuse, strip, strip]]
    for index, order in enumerate(orders):
        name = ", ".join(o["type"] for o in order)
        yield f"decoder {index} {name}", changed(gpt2, decoder={"type": "Sequence", "decoders": order})
    yield "decoder none", changed(gpt2, decoder=None)

    # SentencePiece-like BPE.
    spm = trained(*bpe(size, unk_token="<unk>", fuse_unk=True), normalizer=seq(N, N.Prepend(MARK), N.Replace(" ", MARK)),
                  decoder=seq(D, D.Replace(MARK, " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)))
    yield "bpe spm fuse_unk", spm
    yield "bpe spm unk apart", changed(spm, model={"fuse_unk": False})
    yield "bpe spm no unk", changed(spm, model={"unk_token": None})
    yield "bpe spm bytes", with_bytes(spm)
    meta_bpe = trained(*bpe(size, unk_token="<unk>"), pre=P.Metaspace(), decoder=D.Metaspace())
    uni = trained(models.Unigram(), trainers.UnigramTrainer(
        vocab_size=size, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>", show_progress=False), pre=P.Metaspace(), decoder=D.Metaspace())
    uni_bytes = with_bytes(uni)
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            meta = {"pre_tokenizer": P.Metaspace(prepend_scheme=scheme, split=cut), "decoder": D.Metaspace(prepend_scheme=scheme, split=cut)}
            yield f"bpe metaspace {scheme} split={cut}", changed(meta_bpe, **meta)
            yield f"bpe metaspace {scheme} split={cut} Strip", changed(meta_bpe, **meta, normalizer=seq(N, N.Strip(), N.NFKC()))
            yield f"unigram {scheme} split={cut}", changed(uni, **meta)
            yield f"unigram {scheme} split={cut} bytes", changed(
                uni_bytes, **{**meta, "decoder": seq(D, D.ByteFallback(), meta["decoder"])})
    t5 = changed(uni, normalizer={"type": "Sequence", "normalizers": [
        {"type": "Precompiled", "precompiled_charsmap": charsmap(size)}, json.loads(N.Strip(left=False, right=True).__getstate__()),
        {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": MARK}]}, pre_tokenizer=P.Metaspace())
    yield "unigram T5", t5
    yield "unigram XLM-R", changed(t5, pre_tokenizer=seq(P, P.WhitespaceSplit(), P.Metaspace()))

    for prefix, suffix in (("##", None), (None, "</w>"), ("##", "</w>")):
        options = {k: v for k, v in (("continuing_subword_prefix", prefix), ("end_of_word_suffix", suffix)) if v}
        base = trained(*bpe(size, unk_token="<unk>", **options), pre=P.WhitespaceSplit(), decoder=D.BPEDecoder(suffix or "</w>"))
        yield f"bpe affixes {prefix} {suffix}", base
        yield f"bpe affixes {prefix} {suffix} fuse", changed(base, model={"fuse_unk": True})
        yield f"bpe affixes {prefix} {suffix} bytes", with_bytes(base)

    for name, normalizer in [("uncased", N.BertNormalizer()), ("cased", N.BertNormalizer(lowercase=False)), ("none", None)]:
        for prefix, longest in (("##", 100), ("@@", 12)):
            trainer = trainers.WordPieceTrainer(
                vocab_size=size, special_tokens=["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"], continuing_subword_prefix=prefix, show_progress=False, limit_alphabet=200)
            base = trained(
                models.WordPiece(unk_token="[UNK]", continuing_subword_prefix=prefix, max_input_chars_per_word=longest), trainer,
                normalizer=normalizer, pre=P.BertPreTokenizer(), decoder=D.WordPiece(prefix, cleanup=longest == 100),
                post=lambda t: T.BertProcessing(("[SEP]", t.token_to_id("[SEP]")), ("[CLS]", t.token_to_id("[CLS]"))))
            base["model"]["continuing_subword_prefix"], base["model"]["max_input_chars_per_word"] = prefix, longest
            yield f"wordpiece {name} {prefix} {longest}", base
    yield "wordlevel", trained(
        models.WordLevel(unk_token="<unk>"), trainers.WordLevelTrainer(vocab_size=2000, special_tokens=["<unk>"], show_progress=False),
        pre=P.Whitespace())

    for name, post in [
            ("Template", T.TemplateProcessing(single="<s> $A </s> <s>", pair="<s> $A </s> $B", special_tokens=[("<s>", 1), ("</s>", 2)])),
            ("Roberta", T.RobertaProcessing(("</s>", 2), ("<s>", 1))), ("Bert", T.BertProcessing(("</s>", 2), ("<s>", 1))), ("ByteLevel", T.ByteLevel(trim_offsets=False)),
            ("Sequence", T.Sequence([T.ByteLevel(), T.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]), T.ByteLevel()]))]:
        yield f"post {name}", changed(gpt2, post_processor=post)


def sentencepiece_folders(folder):
    """Folders with tokenizer.model alone, and Transformers' tokenizer of each: (name, folder, tokenizer)."""
    from transformers import GemmaTokenizer, LlamaTokenizer, LlamaTokenizerFast
    from transformers.convert_slow_tokenizer import convert_slow_tokenizer
    found = []
    if os.path.exists("/work/shared/vocab/llama-2-tokenizer.model"):
        with open("/work/shared/vocab/llama-2-tokenizer.model", "rb") as file:
            found.append(("llama 2", file.read()))
    common = {"byte_fallback": True, "user_defined_symbols": ["<word>", "<norm>"]}
    for kind in ("bpe", "unigram"):
        found.append((f"{kind} identity", sentencepiece_model(kind, 1200, normalization_rule_name="identity", **common)))
        found.append((f"{kind} nmt_nfkc", sentencepiece_model(kind, 1200, normalization_rule_name="nmt_nfkc", **common)))
    for name, model in found:
        for legacy in (True, False, None):
            path = os.path.join(folder, "spm")
            os.makedirs(path, exist_ok=True)
            with open(os.path.join(path, "tokenizer.model"), "wb") as file:
                file.write(model)
            config = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy, "add_bos_token": True, "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
            if legacy is None:
                config.pop("legacy")
            with open(os.path.join(path, "tokenizer_config.json"), "w") as file:
                json.dump(config, file)
            slow = LlamaTokenizer(os.path.join(path, "tokenizer.model"), legacy=True if legacy is None else legacy)
            fast = LlamaTokenizerFast(tokenizer_object=convert_slow_tokenizer(slow), legacy=slow.legacy)
            yield f"tokenizer.model {name} legacy={legacy}", path, fast.backend_tokenizer
