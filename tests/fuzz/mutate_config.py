"""What can be wrong with adapter_config.json, as values and as text."""

import math
from random import Random
from typing import Any, Final

from tests.fuzz.draft import Draft
from tests.fuzz.mutation import mutates

ODD: Final[list[Any]] = [
    None, True, False, -1, 0, 1, 3, 0.5, 4.0, -0.0, 1e308, 1e-320, 10**19, 10**40, 10**400, -(2**63), math.nan,
    math.inf,
    -math.inf, "", "4", "none", "NaN", "all", "x" * 300, "\ud800", "\x00", "a\nb", "\x1b[31m", [], {}, [[]], [None],
    ["q"],
    {"q_proj": 1}, {"q_proj": None}, {"q_proj": "4"}, {"q_proj": 2.5}, {"": 4}, {"q_proj": {}},
    {"a": {"b": {"c": [1]}}},
]  # fmt: skip
FIELDS: Final = (
    "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules", "init_lora_weights",
    "base_model_name_or_path", "bias", "lora_bias", "modules_to_save", "trainable_token_indices", "peft_type",
    "peft_version", "auto_mapping", "fan_in_fan_out", "task_type", "lora_dropout", "revision",
)  # fmt: skip
VARIANTS: Final = (
    "use_dora", "target_parameters", "kasa_config", "use_bdlora", "use_qalora", "alora_invocation_tokens",
    "arrow_config", "velora_config", "monteclora_config", "layer_replication", "megatron_config", "loftq_config",
    "eva_config", "corda_config", "lora_ga_config", "layers_to_transform", "layers_pattern", "exclude_modules",
    "ensure_weight_tying", "runtime_config", "unsloth_fused_expert_lora", "lora_B_layout",
)  # fmt: skip
TYPES: Final = (
    "ADALORA", "LOHA", "LOKR", "MISS", "BONE", "C3A", "FOURIERFT", "VERA", "RANDLORA", "VBLORA", "GRALORA", "WAVEFT",
    "HRA", "TINYLORA", "UNILORA", "PSOFT", "OFT", "BOFT", "IA3",
    "HIRA", "SHIRA", "LN_TUNING", "ROAD", "DELORA", "DEFT", "GLORA",
    "LILY", "OSF", "PVERA", "FROD", "PEANUT", "SHADOW", "XLORA", "POLY", "TRAINABLE_TOKENS", "PROMPT_TUNING",
    "P_TUNING", "PREFIX_TUNING", "CPT", "ADAPTION_PROMPT", "lora", "LoRA",
)  # fmt: skip
CATASTROPHES: Final = (
    "(a+)+$", r"([\w.]+)+!", r"(\w+\.?)+!", "(.*)*x", "(.*.*)*x", "((a|a)*)*$", r"(.|\w)*!", r"(?:[a-z_0-9]+\.?)*\d{9}",
    ".*" * 12 + "!", r"(\w?){30}!", "(.?){40}" + "." * 40 + "!", r"(?=(.*)*!)x", r"((\w+)\.?\2?)*!",
)  # fmt: skip
BROKEN: Final = (
    "(", "[", "*a", "a{99999999999}", "(?P<x>", "\\", "(?i)q_proj", "(?#", "(?P<a>x)(?P<a>y)", "a)(b",
    "(" * 200 + ")" * 200,
    "[[a]", "(?<=.*)q", "\\1", "(?(1)a|b)", "\x00", "\u2028", "q_proj\n", "|", "", "^", "$", "a**", "(?:", "[z-a]",
    "a{3,1}",
)  # fmt: skip


@mutates("draft", "config: odd value", weight=4)
def odd_value(draft: Draft, rng: Random) -> None:
    draft.config[rng.choice(FIELDS)] = rng.choice(ODD)


@mutates("draft", "config: variant switched on", weight=2)
def variant(draft: Draft, rng: Random) -> None:
    draft.config[rng.choice(VARIANTS)] = rng.choice([True, 1, "x", {"a": 1}, [1], [[0, 2]], 0.5, *ODD])


@mutates("draft", "config: field missing")
def missing_field(draft: Draft, rng: Random) -> None:
    draft.config.pop(rng.choice(sorted(draft.config) or [""]), None)


@mutates("draft", "config: unknown keys", harmless=True)
def unknown_keys(draft: Draft, rng: Random) -> None:
    draft.config[rng.choice(["alpha", "zz", "x\ny", "é", "R", "lora_r"])] = rng.choice([1, "x", [1], {"a": None}, 2.5])


@mutates("draft", "config: other peft type")
def other_type(draft: Draft, rng: Random) -> None:
    draft.config["peft_type"] = rng.choice(TYPES)


@mutates("draft", "config: other init")
def other_init(draft: Draft, rng: Random) -> None:
    draft.config["init_lora_weights"] = rng.choice(
        [
            "pissa",
            "pissa_niter_4",
            "PiSSA",
            "olora",
            "corda",
            "loftq",
            "lora_ga",
            "eva",
            "gaussian",
            "orthogonal",
            False,
        ]
    )


@mutates("draft", "config: another rank")
def another_rank(draft: Draft, rng: Random) -> None:
    if rng.random() < 0.5:
        draft.config["r"] = rng.choice([1, 2, 3, 8, 1 << 20, 1 << 21, 1 << 63])
    else:
        draft.config["rank_pattern"] = {_key(rng): rng.choice([0, 1, 2, 4, 8, -4])}


@mutates("draft", "config: alpha", harmless=True)
def alpha(draft: Draft, rng: Random) -> None:
    draft.config["lora_alpha"] = rng.choice([1, 7.25, -16, 0, 1e-30, 1e30, 12345678901234567890, rng.uniform(-9, 9)])


@mutates("draft", "config: extreme alpha")
def extreme_alpha(draft: Draft, rng: Random) -> None:
    draft.config["lora_alpha"] = rng.choice([1e308, -1e308, 1e300, 1e-308, 5e-324, 10**308, 1e-320])


@mutates("draft", "config: rank-stabilised", harmless=True)
def rank_stabilised(draft: Draft, _rng: Random) -> None:
    draft.config["use_rslora"] = True


@mutates("draft", "patterns: alpha", harmless=True, weight=2)
def alpha_pattern(draft: Draft, rng: Random) -> None:
    draft.config["alpha_pattern"] = {_key(rng): rng.choice([1, 2.5, 32, 0, -4]) for _ in range(rng.randint(1, 6))}


@mutates("draft", "patterns: matching takes for ever", weight=0.15)
def catastrophe(draft: Draft, rng: Random) -> None:
    draft.config[rng.choice(["rank_pattern", "alpha_pattern"])] = {rng.choice(CATASTROPHES): 4}


@mutates("draft", "patterns: odd keys", weight=2)
def broken_pattern(draft: Draft, rng: Random) -> None:
    draft.config[rng.choice(["rank_pattern", "alpha_pattern"])] = {rng.choice(BROKEN): 4, _key(rng): 4}


@mutates("draft", "patterns: very many keys", weight=0.03)
def many_patterns(draft: Draft, rng: Random) -> None:
    count = rng.choice([2_000, 100_000])
    text = "abc.defg.hij_klm.nop.qrs_tuv"
    keys = (
        f"{text[: rng.randint(1, 28)]}{rng.choice('.ab|')}{i:b}".replace("0", rng.choice(".x")) for i in range(count)
    )
    draft.config[rng.choice(["rank_pattern", "alpha_pattern"])] = dict.fromkeys(keys, 4)


@mutates("draft", "patterns: a very long key", weight=0.3)
def long_pattern(draft: Draft, rng: Random) -> None:
    part = rng.choice(["a", ".", "(a|b)", "a?", ".*", "q_proj|", "[a-z]"])
    draft.config["alpha_pattern"] = {part * rng.choice([100, 1_000, 20_000]): 4}


def _key(rng: Random) -> str:
    leaf = rng.choice(["q_proj", "v_proj", "down_proj"])
    path = f"model.layers.{rng.randint(0, 2)}.self_attn.{leaf}"
    escaped = path.replace(".", r"\.")
    return rng.choice(
        [
            leaf,
            path,
            f"^{path}",
            escaped,
            f"^{escaped}$",
            f".*{leaf}",
            "proj",
            "self_attn",
            f"layers.{rng.randint(0, 1)}",
            r"layers\.(0|1)\.self_attn\.(q|v)_proj",
            "(q_proj|v_proj)",
            r"layers\.\d+\..*",
            f"base_model.model.{path}",
            path.replace("_", "."),
            f"{leaf[0]}.{leaf[2:]}",
            r"(?!.*q_proj).*",
            "[qv]_proj",
            "..proj",
            f"x.{path}",
        ]
    )


@mutates("config", "config text: whitespace and escapes", harmless=True)
def whitespace(text: bytes, rng: Random) -> bytes:
    if rng.random() < 0.5:
        return text.replace(b"\n", b" \r\n\t ") + b"\n\n"
    return text.replace(b'"r"', b'"\\u0072"').replace(b'"peft_type"', b'"peft\\u005ftype"')


@mutates("config", "config text: cut or spliced", weight=2)
def spliced(text: bytes, rng: Random) -> bytes:
    start, end = sorted(rng.randrange(len(text) + 1) for _ in "ab")
    return rng.choice([text[:start], text[end:], text[:start] + text[end:], text[:end] + text[start:]])


@mutates("config", "config text: bytes changed", weight=2)
def changed(text: bytes, rng: Random) -> bytes:
    raw = bytearray(text)
    for _ in range(rng.randint(1, 4)):
        raw[rng.randrange(len(raw))] = rng.choice([rng.randrange(256), *b'"{}[],:.-+eE0']) if raw else 0
    return bytes(raw)


@mutates("config", "config text: another encoding")
def encoding(text: bytes, rng: Random) -> bytes:
    decoded = text.decode("utf-8", "surrogatepass")
    return decoded.replace("base", "bäse").encode(
        rng.choice(["utf-16", "utf-32", "latin-1", "utf-16-le", "cp037"]), "replace"
    )


@mutates("config", "config text: odd literals", weight=2)
def literals(text: bytes, rng: Random) -> bytes:
    said = rng.choice(
        [
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"1e999",
            b"-1e999",
            b"1e-999",
            b"1" * 5000,
            b"0x10",
            b"08",
            b"+4",
            b"4.",
            b".5",
            b"1e5000000",
            b"-0",
            b"4e0",
            b"4.0",
            b"1E1",
            b"nul",
            b"True",
            b"'4'",
            b'"\\ud800"',
            b'"\\u0000"',
            b"4,",
            b"4 // four",
        ]
    )
    field = rng.choice([b'"r": ', b'"lora_alpha": ', b'"peft_version": ', b'"use_rslora": '])
    start = text.find(field) + len(field)
    end = text.find(b",", start)
    return text[:start] + said + text[end:]


@mutates("config", "config text: a key twice")
def twice(text: bytes, rng: Random) -> bytes:
    said = rng.choice(
        [b'"r": 4', b'"r": 1', b'"lora_alpha": 3', b'"peft_type": "LORA"', b'"peft_type": "IA3"', b'"use_dora": true']
    )
    return text[:1] + said + b"," + text[1:] if rng.random() < 0.5 else text[: text.rfind(b"}")] + b"," + said + b"}"


@mutates("config", "config text: something else")
def something_else(_text: bytes, rng: Random) -> bytes:
    return rng.choice(
        [
            b"",
            b" ",
            b"null",
            b"[]",
            b'"LORA"',
            b"4",
            b"{}",
            b"<html></html>",
            b"\x00" * 50,
            b"{" * 3,
            rng.randbytes(200),
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
            b"---\nr: 4\n",
            b'{"peft_type": "LORA"}',
        ]
    )


@mutates("config", "config text: a bomb", weight=0.15)
def bomb(text: bytes, rng: Random) -> bytes:
    n = rng.choice([1_000, 100_000, 5_000_000])
    body = rng.choice(
        [
            b"[" * n,
            b'{"a":' * (n // 5),
            b'"' + b"x" * n + b'"',
            b"[" + b"[]," * (n // 3) + b"0]",
            b"[" + b"{}," * (n // 3) + b"0]",
            b"[" + b"1.5," * (n // 4) + b"0]",
            b"{" + b",".join(b'"%d":0' % i for i in range(n // 12)) + b"}",
            b"9" * n,
            b'["' + b'","'.join(b"%d" % i for i in range(n // 10)) + b'"]',
            b"[" * 900 + b"]" * 900,
            b" " * (4 * n) + b"0",
        ]
    )
    field = rng.choice([b"zz", b"target_modules", b"rank_pattern", b"base_model_name_or_path", b"r", b"use_dora"])
    return b'{"' + field + b'":' + body + b"," + text[1:]
