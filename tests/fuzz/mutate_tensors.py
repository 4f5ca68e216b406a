"""What can be wrong with the tensors and their names while the file around them stays valid."""

import json
from collections.abc import Callable
from random import Random
from typing import Final

import numpy as np

from tests.fuzz.corpus import PREFIX, config, normal
from tests.fuzz.draft import TORCH_DTYPES, Draft, Stored, stored
from tests.fuzz.mutate_config import ODD
from tests.fuzz.mutation import mutates

FLOATS: Final = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
OTHERS: Final = ("I64", "I32", "I8", "U8", "BOOL", "C64")
BITS: Final = {  # little-endian: not a number, infinity, negative infinity, the largest, the smallest, minus zero
    "F64": [b"\0" * 6 + b"\xf8\x7f", b"\0" * 6 + b"\xf0\x7f", b"\0" * 6 + b"\xf0\xff", b"\xff" * 6 + b"\xef\x7f",
            b"\1" + b"\0" * 7, b"\0" * 7 + b"\x80"],
    "F32": [b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\x80\xff", b"\xff\xff\x7f\x7f", b"\1\0\0\0", b"\0\0\0\x80"],
    "F16": [b"\0\x7e", b"\0\x7c", b"\0\xfc", b"\xff\x7b", b"\1\0", b"\0\x80"],
    "BF16": [b"\xc0\x7f", b"\x80\x7f", b"\x80\xff", b"\x7f\x7f", b"\1\0", b"\0\x80"],
    "F8_E4M3": [b"\x7f", b"\xff", b"\x7e", b"\xfe", b"\1", b"\x80"],
    "F8_E5M2": [b"\x7e", b"\x7c", b"\xfc", b"\x7b", b"\1", b"\x80"],
}  # fmt: skip
NAMES: Final = (
    "", ".", "..", "a..b", "modèle.層.🦙", "a\nb", "\x1b[2J", "\x00", "\u2028", "\u202e", "\ufeff", "a" * 300,
    "x." * 2_000,
    "model.layers.99999999999999999999.q", "model.layers.٣.q_proj", "model.layers.-1.q", "lora_A", "x.lora_A",
    "A" * 100_000,
    "layers.0.lora_B.weight", "base_model.model.base_model.model.x", "experts.base_layer", "lora_unet_x", "x.oft_R",
    "1.2.3",
    "a b", "'", '"', "\\", "%s{0}", "model.layers.0.self_attn.q_proj", "é", "e\u0301", "../../etc/passwd",
    "\U0010ffff", "\x7f",
)  # fmt: skip
EXTRAS: Final = (
    "model.layers.0.self_attn.q_proj.lora_magnitude_vector",
    "model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight",
    "model.embed_tokens.lora_embedding_A", "model.embed_tokens.base_layer.weight", "x.lora_E", "x.lora_diag", "x.alpha",
    "model.embed_tokens.token_adapter.trainable_tokens_delta", "x.lora_down.weight", "x.lora_a", "score.weight",
    "x.hada_w1_a",
    "x.lora_A", "x.lora_C.weight", "model.layers.0.self_attn.q_proj.lora_B.bias", "x.lora_velora_embed",
    "norm.weight", "x",
    "mlp.experts.lora_A.weight", "mlp.experts.base_layer.lora_B.weight", "attn.base_layer.out_proj.lora_A.weight",
    "x.ia3_l",
    "model.layers.0.self_attn.q_proj.lora_A.other.weight", "y.lora_A.weight", "y.lora_B.weight", "lora_A.weight",
    "x.vera_A",
)  # fmt: skip


@mutates("draft", "tensors: NaN, infinity, extremes", weight=3)
def odd_number(draft: Draft, rng: Random) -> None:
    tensor = _any_number(draft, rng)
    bits = rng.choice(BITS.get(tensor.dtype, [b"\xff"]))
    raw = bytearray(tensor.data)
    for _ in range(rng.choice([1, 1, 3, len(raw)])):
        place = rng.randrange(max(1, len(raw) // len(bits))) * len(bits)
        raw[place : place + len(bits)] = bits
    tensor.data = bytes(raw[: len(tensor.data)])


@mutates("draft", "tensors: bits flipped", weight=3)
def flipped(draft: Draft, rng: Random) -> None:
    tensor = _any_number(draft, rng)
    raw = bytearray(tensor.data)
    for _ in range(rng.choice([1, 2, 8, 64])):
        if raw:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    tensor.data = bytes(raw)


@mutates("draft", "tensors: random bytes")
def noise(draft: Draft, rng: Random) -> None:
    tensor = _any_number(draft, rng)
    tensor.data = rng.randbytes(len(tensor.data))


@mutates("draft", "tensors: zeros", harmless=True)
def zeros(draft: Draft, rng: Random) -> None:
    side = rng.choice([".lora_A", ".lora_B", ".lora_"])
    for key, tensor in draft.tensors.items():
        if side in key and rng.random() < 0.7:
            tensor.data = bytes(len(tensor.data))


@mutates("draft", "tensors: tiny or huge", harmless=True, weight=3)
def scaled(draft: Draft, rng: Random) -> None:
    """By a power of two that the type has room for; in float64 the products leave its range."""
    for tensor in _factors(draft):
        room = {"F64": 240, "F32": 120, "BF16": 120, "F16": 10, "F8_E5M2": 10, "F8_E4M3": 6}.get(tensor.dtype, 0)
        values = tensor.torch().double().numpy() * 2.0 ** rng.randint(-room, room)
        _replace(tensor, stored(values, tensor.dtype))


@mutates("draft", "tensors: beyond what fits", weight=2)
def beyond(draft: Draft, rng: Random) -> None:
    size = 2.0 ** rng.choice([-1074, -1060, -1022, 600, 1000, 1020, -600, -149, 127, -24])
    for tensor in _factors(draft):
        wide = rng.choice([tensor.dtype, "F64"])
        with np.errstate(all="ignore"):
            _replace(tensor, stored(tensor.torch().double().numpy() * size, wide))


@mutates("draft", "tensors: another float type", harmless=True, weight=2)
def another_float(draft: Draft, rng: Random) -> None:
    for tensor in _factors(draft):
        if rng.random() < 0.6:
            _replace(tensor, stored(tensor.torch().double().numpy(), rng.choice(FLOATS)))


@mutates("draft", "tensors: another type")
def another_type(draft: Draft, rng: Random) -> None:
    tensor, dtype = _any_factor(draft, rng), rng.choice(OTHERS)
    converted = tensor.torch().to(TORCH_DTYPES["F32"]).mul(10).to(TORCH_DTYPES[dtype])
    _replace(tensor, Stored(dtype, tensor.shape, converted.numpy().tobytes()))


@mutates("draft", "tensors: graded or deficient", harmless=True, weight=3)
def graded(draft: Draft, rng: Random) -> None:
    """Directions that fall off steeply, that are copies of each other, or that are all but parallel."""
    for tensor in _factors(draft):
        values = tensor.torch().double().numpy()
        if values.ndim != 2:
            continue
        directions = values if tensor.shape[0] <= tensor.shape[-1] else values.T
        how = rng.randrange(4)
        if how == 0:
            directions *= 10.0 ** -np.linspace(0, rng.choice([2, 6, 14, 30]), directions.shape[0])[:, None]
        elif how == 1:
            directions[rng.randrange(directions.shape[0])] = directions[0]
        elif how == 2:
            directions[:] = directions[0] + directions * 10.0 ** rng.randint(-12, -2)
        _replace(tensor, stored(values, tensor.dtype))


@mutates("draft", "tensors: more rank than room", harmless=True)
def more_rank(draft: Draft, rng: Random) -> None:
    r, out, into = rng.choice([30, 64]), rng.randint(1, 8), rng.randint(1, 8)
    _single(draft, rng, r, out, into)


@mutates("draft", "tensors: rank without end", weight=0.1)
def endless_rank(draft: Draft, rng: Random) -> None:
    _single(draft, rng, rng.choice([3_000, 30_000, 300_000]), rng.randint(1, 3), rng.randint(1, 3))


@mutates("draft", "tensors: very wide", harmless=True, weight=0.1)
def wide(draft: Draft, rng: Random) -> None:
    _single(draft, rng, 2, rng.choice([1, 40]), 50_000)


@mutates("draft", "tensors: wrong shape", weight=2)
def wrong_shape(draft: Draft, rng: Random) -> None:
    tensor = _any_factor(draft, rng)
    n = int(np.prod(tensor.shape))
    tensor.shape = rng.choice(
        [
            [n],
            [1, n],
            [n, 1],
            tensor.shape[::-1],
            [*tensor.shape, 1],
            [*tensor.shape, 1, 1],
            [1, *tensor.shape],
            [1] * 20 + [n],
            [1] * 5 + tensor.shape,
        ]
    )


@mutates("draft", "tensors: empty or a scalar")
def empty(draft: Draft, rng: Random) -> None:
    tensor = _any_factor(draft, rng)
    shape = rng.choice([[0], [0, 0], [tensor.shape[0], 0], [0, *tensor.shape[1:]], []])
    _replace(
        tensor,
        Stored(
            tensor.dtype, shape, b"" if shape else tensor.data[: len(tensor.data) // max(1, int(np.prod(tensor.shape)))]
        ),
    )


@mutates("draft", "tensors: dropped", weight=2)
def dropped(draft: Draft, rng: Random) -> None:
    for key in rng.sample(sorted(draft.tensors), min(rng.choice([1, 1, 2, 99]), len(draft.tensors))):
        draft.tensors.pop(key)


@mutates("draft", "tensors: swapped")
def swapped(draft: Draft, rng: Random) -> None:
    one, two = rng.choices(sorted(draft.tensors), k=2)
    draft.tensors[one], draft.tensors[two] = draft.tensors[two], draft.tensors[one]


@mutates("draft", "tensors: in another order", harmless=True)
def reordered(draft: Draft, rng: Random) -> None:
    keys = list(draft.tensors)
    rng.shuffle(keys)
    draft.tensors = {key: draft.tensors[key] for key in keys}


@mutates("draft", "metadata: settings and notes", weight=2)
def settings(draft: Draft, rng: Random) -> None:
    """What diffusers and kohya leave beside the tensors."""
    odd = rng.choice(ODD)
    field = rng.choice(
        ["r", "lora_alpha", "alpha_pattern", "rank_pattern", "use_rslora", "use_dora", "peft_type", "x", ""]
    )
    fields = {"unet.r": 4, "text_encoder.r": 4, f"{rng.choice(['unet', 'text_encoder', 'vae'])}.{field}": odd}
    text = rng.choice([json.dumps(fields), json.dumps(fields)[:-3], json.dumps(odd), "[" * 2_000, "{}", "", "null"])
    draft.metadata["lora_adapter_metadata"] = text
    draft.metadata["ss_steps"] = rng.choice(["5", "-5", "", "9" * 30, "1e3", "٣", "²", "5.5"])


@mutates("draft", "keys: something beside the pairs", weight=2)
def extra(draft: Draft, rng: Random) -> None:
    shape = rng.choice([(4, 12), (12, 4), (12,), (3, 3), ()])
    draft.tensors[rng.choice([PREFIX, PREFIX, ""]) + rng.choice(EXTRAS)] = stored(normal(rng, *shape))


@mutates("draft", "keys: a module renamed", weight=3)
def renamed(draft: Draft, rng: Random) -> None:
    old = rng.choice(sorted(draft.tensors)).removeprefix(PREFIX).partition(".lora_")[0]
    new = rng.choice(NAMES)
    draft.tensors = {key.replace(old, new) if old else key: tensor for key, tensor in draft.tensors.items()}


@mutates("draft", "keys: characters changed", weight=2)
def letters(draft: Draft, rng: Random) -> None:
    old = rng.choice(sorted(draft.tensors))
    key = list(old) or ["x"]
    for _ in range(rng.randint(1, 3)):
        key[rng.randrange(len(key))] = rng.choice(
            ["", ".", "A", "B", "_", "é", "\n", "\x00", "\u200b", "lora_A", "weight", "0"]
        )
    draft.tensors = {"".join(key) if one == old else one: tensor for one, tensor in draft.tensors.items()}


@mutates("draft", "keys: prefix or adapter name", weight=2)
def prefixes(draft: Draft, rng: Random) -> None:
    change: Callable[[str], str] = rng.choice(
        [
            lambda key: key.removeprefix(PREFIX),
            lambda key: PREFIX + key,
            lambda key: key.replace("base_model.", "", 1),
            lambda key: key.replace(".weight", f".{rng.choice(['default', 'x', 'weight', '0'])}.weight"),
            lambda key: key.removesuffix(".weight"),
            lambda key: "module." + key,
            lambda key: key.upper(),
        ]
    )
    share = rng.choice([1.0, 1.0, 0.3])
    draft.tensors = {change(key) if rng.random() < share else key: tensor for key, tensor in draft.tensors.items()}


@mutates("draft", "keys: two that mean one module")
def collision(draft: Draft, rng: Random) -> None:
    key = rng.choice(sorted(draft.tensors))
    other = rng.choice([key.removeprefix(PREFIX), key.replace(".weight", ".default.weight"), PREFIX + key])
    draft.tensors[other] = draft.tensors[key]


def _factors(draft: Draft) -> list[Stored]:
    return [
        tensor
        for key, tensor in draft.tensors.items()
        if ".lora_" in key and "bias" not in key and 0 not in tensor.shape
    ]


def _any_number(draft: Draft, rng: Random) -> Stored:
    """A factor or an alpha."""
    return rng.choice(
        [tensor for key, tensor in draft.tensors.items() if key.endswith(".alpha")] + [_any_factor(draft, rng)] * 9
    )


def _any_factor(draft: Draft, rng: Random) -> Stored:
    return rng.choice(_factors(draft) or list(draft.tensors.values()) or [stored(np.zeros((1, 1)))])


def _replace(tensor: Stored, new: Stored) -> None:
    tensor.dtype, tensor.shape, tensor.data = new.dtype, new.shape, new.data


def _single(draft: Draft, rng: Random, r: int, out: int, into: int) -> None:
    """One module of this size instead of all."""
    draft.weights, draft.has_config, draft.metadata = "", True, {}
    draft.config = config(r, target_modules=["q_proj"])
    name = f"{PREFIX}model.layers.0.self_attn.q_proj"
    draft.tensors = {
        f"{name}.lora_A.weight": stored(normal(rng, r, into)),
        f"{name}.lora_B.weight": stored(normal(rng, out, r)),
    }
