"""Trains tiny models with good, too high and broken settings, and keeps their curves for `bench_detectors`.

`python -m tests.benchmarks.make_curves [FAMILY...]`; two minutes on two cores. The same version of torch gives the same
curves.
"""

import math
import sys
from collections.abc import Iterator
from typing import Final, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.benchmarks import curves_of
from tests.benchmarks.curves_of import Curve

STEPS: Final = 300
BATCH: Final = 32
HELD_OUT: Final = 400
VOCABULARY, LENGTH, WIDTH = 24, 12, 32
LINEAR: Final = {
    "qkv": (WIDTH, 3 * WIDTH),
    "out": (WIDTH, WIDTH),
    "up": (WIDTH, 2 * WIDTH),
    "down": (2 * WIDTH, WIDTH),
    "head": (WIDTH, VOCABULARY),
}
FEATURES, CLASSES = 20, 5


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is trained, and what the detectors should make of it."""

    name: str
    intends: tuple[str, ...] = ()
    lr: float = 3e-3
    seeds: int = 3
    warm_up: float = 0.1  # of the steps, in which the rate rises to its peak
    schedule: Literal["cosine", "constant"] = "cosine"
    clip: float = math.inf
    examples: int = 8192
    labels: Literal["true", "random"] = "true"
    spoil: Literal["", "nan", "half", "batch"] = ""
    evals: int = 10


GROWN: Final = ("overfitting", "memorization_gap", "eval_regression")
BLOWN: Final = ("loss_diverged", "loss_spike", "grad_explosion", "eval_regression", "never_improved")
SETTINGS: Final[dict[str, tuple[Setting, ...]]] = {
    "mlp": (
        Setting(name="good", seeds=6, clip=1.0),
        Setting(name="good, slow", lr=5e-4),
        Setting(name="good, constant rate", schedule="constant", clip=1.0),
        Setting(name="rate too high", intends=BLOWN, lr=0.3, warm_up=1.0, schedule="constant", seeds=4),
        Setting(name="random labels", intends=("never_improved", *GROWN), labels="random", examples=512, lr=1e-2),
        Setting(name="few examples", intends=GROWN, examples=96, lr=1e-2, seeds=4, evals=20),
        Setting(name="NaN in a batch", intends=("loss_nonfinite",), spoil="nan"),
        Setting(name="half precision overflows", intends=("loss_nonfinite",), spoil="half"),
        Setting(name="one bad batch", intends=("loss_spike",), spoil="batch", seeds=4),
        Setting(name="rate of nothing", intends=("loss_plateau", "never_improved"), lr=1e-8, schedule="constant"),
    ),
    "lora": (
        Setting(name="good", lr=5e-3, seeds=6, clip=1.0),
        Setting(name="good, slow", lr=5e-4),
        Setting(name="good, constant rate", lr=5e-3, schedule="constant", clip=1.0),
        Setting(name="rate too high", intends=BLOWN, lr=0.3, warm_up=1.0, schedule="constant", seeds=4),
        Setting(name="few examples", intends=GROWN, examples=24, lr=1e-2, seeds=4, evals=20),
        Setting(name="random labels", intends=("never_improved", *GROWN), labels="random", examples=512, lr=1e-2),
        Setting(name="NaN in a batch", intends=("loss_nonfinite",), lr=5e-3, spoil="nan", seeds=2),
        Setting(name="rate of nothing", intends=("loss_plateau", "never_improved"), lr=1e-8, schedule="constant"),
    ),
    "rnn": (
        Setting(name="good", clip=1.0, lr=1e-3),
        Setting(name="no clipping", intends=BLOWN, lr=2e-2, warm_up=0.8, schedule="constant", seeds=6),
    ),
}


class Task(msgspec.Struct, frozen=True):
    """A model, and examples to train it on and to judge it by."""

    model: nn.Module
    x: Tensor
    y: Tensor
    x_held: Tensor
    y_held: Tensor


def main() -> int:
    """Train what is named, or everything."""
    torch.set_num_threads(1)
    for family in sys.argv[1:] or SETTINGS:
        path = curves_of.write(family, _curves(family))
        print(f"{path}: {path.stat().st_size / 1024:.0f} KiB")
    return 0


def _curves(family: str) -> Iterator[Curve]:
    for setting in SETTINGS[family]:
        for seed in range(setting.seeds):
            print(f"{family}: {setting.name}, seed {seed}", flush=True)
            yield trained(family, setting, seed)


def trained(family: str, setting: Setting, seed: int) -> Curve:
    """One training, step by step."""
    torch.manual_seed(1000 + seed)
    task = {"mlp": _mlp, "lora": _lora, "rnn": _rnn}[family](setting)
    parameters = [one for one in task.model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=setting.lr)
    curve = Curve(
        family=family, setting=setting.name, seed=seed, intends=list(setting.intends),
        loss=[], lr=[], grad_norm=[], evals=[],
    )  # fmt: skip
    at = STEPS // 2 + 17 * seed
    curve.evals.append([1.0, *_judged(task)])
    for step in range(1, STEPS + 1):
        lr = setting.lr * _share(step, setting)
        optimizer.param_groups[0]["lr"] = lr
        loss = _loss(task, setting, is_spoilt=step == at, is_late=step >= at)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        norm = nn.utils.clip_grad_norm_(parameters, setting.clip)
        optimizer.step()
        curve.loss.append(loss.item())
        curve.lr.append(lr)
        curve.grad_norm.append(norm.item())
        if step % (STEPS // setting.evals) == 0:
            curve.evals.append([float(step), *_judged(task)])
    return curve


def _share(step: int, setting: Setting) -> float:
    """Of the peak: a warm-up, then constant or half a cosine."""
    warm = int(STEPS * setting.warm_up)
    if step < warm:
        return step / warm
    return 1.0 if setting.schedule == "constant" else 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (STEPS - warm))


def _loss(task: Task, setting: Setting, *, is_spoilt: bool, is_late: bool) -> Tensor:
    chosen = torch.randint(len(task.x), (BATCH,))
    x, y = task.x[chosen], task.y[chosen]
    if is_spoilt and setting.spoil == "batch":
        y = (y + 1) % CLASSES
        x = 5.0 * x
    logits = task.model(x)
    if is_spoilt and setting.spoil == "nan":
        logits = logits * math.nan
    if is_late and setting.spoil == "half":
        logits = (logits * 1e5).half().float()
    return functional.cross_entropy(logits.flatten(0, -2), y.flatten())


def _judged(task: Task) -> list[float]:
    with torch.no_grad():
        logits = task.model(task.x_held).flatten(0, -2)
    y = task.y_held.flatten()
    right = (logits.argmax(-1) == y).float().mean().item()
    return [functional.cross_entropy(logits, y).item(), right, float(len(y))]


def _mlp(setting: Setting) -> Task:
    """Classes by a random network, with noise."""
    teacher = nn.Sequential(nn.Linear(FEATURES, 32), nn.Tanh(), nn.Linear(32, CLASSES))
    student = nn.Sequential(nn.Linear(FEATURES, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    x = torch.randn(setting.examples + HELD_OUT, FEATURES)
    with torch.no_grad():
        logits = 6.0 * teacher(x)
    return _split(student, x, _drawn(logits), setting)


def _rnn(setting: Setting) -> Task:
    """The class of a sequence's first element, over many steps without gates."""
    x = torch.randn(setting.examples + HELD_OUT, 30, 4)
    return _split(_Recurrent(), x, x[:, 0].argmax(-1), setting)


class _Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.RNN(4, 32, nonlinearity="relu", batch_first=True)
        self.head = nn.Linear(32, 4)
        self.cell.weight_hh_l0 = nn.Parameter(torch.eye(32))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.cell(x)[0][:, -1])
        return logits


def _lora(setting: Setting) -> Task:
    """A causal transformer that knows one language, adapted to another by LoRA on every linear layer."""
    model = _Transformer()
    before = _split(model, *_language(2048), Setting(name="base"))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        torch.autograd.backward(_loss(before, Setting(name="base"), is_spoilt=False, is_late=False))
        optimizer.step()
    model.adapt()
    return _split(model, *_language(setting.examples + HELD_OUT // 8), setting, HELD_OUT // 8)


def _language(count: int) -> tuple[Tensor, Tensor]:
    """Sentences of a random Markov chain; the next word is to be told."""
    chain = 2.5 * torch.randn(VOCABULARY, VOCABULARY)
    words = [torch.randint(VOCABULARY, (count,))]
    for _ in range(LENGTH):
        words.append(_drawn(chain[words[-1]]))
    text = torch.stack(words, dim=1)
    return text[:, :-1], text[:, 1:]


class _LoRA(nn.Module):
    def __init__(self, base: nn.Module, width: int, out: int, r: int = 4, alpha: int = 8) -> None:
        super().__init__()
        self.base, self.scale = base, alpha / r
        self.a = nn.Parameter(torch.randn(r, width) / width**0.5)
        self.b = nn.Parameter(torch.zeros(out, r))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + self.scale * (x @ self.a.T @ self.b.T)
        return out


class _Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(0.1 * torch.randn(LENGTH, WIDTH))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.linear = nn.ModuleDict({name: nn.Linear(*sizes) for name, sizes in LINEAR.items()})

    def adapt(self) -> None:
        """Only what LoRA adds is trained from now on."""
        self.requires_grad_(requires_grad=False)
        for name, sizes in LINEAR.items():
            self.linear[name] = _LoRA(self.linear[name], *sizes)

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) + self.places
        q, k, v = self.linear["qkv"](self.norms[0](x)).chunk(3, dim=-1)
        x = x + self.linear["out"](functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        x = x + self.linear["down"](functional.gelu(self.linear["up"](self.norms[1](x))))
        logits: Tensor = self.linear["head"](x)
        return logits


def _drawn(logits: Tensor) -> Tensor:
    """One of the last dimension for each row."""
    return torch.multinomial(logits.softmax(-1), 1).squeeze(-1)


def _split(model: nn.Module, x: Tensor, y: Tensor, setting: Setting, held: int = HELD_OUT) -> Task:
    if setting.labels == "random":
        y = torch.randint_like(y, int(y.max()) + 1)
    return Task(model, x[held:], y[held:], x[:held], y[:held])


if __name__ == "__main__":
    sys.exit(main())
