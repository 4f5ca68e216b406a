"""What the callback costs a Trainer: the time inside its hooks over that of the steps, with every sink on.

Run it as a program: `python -m tests.benchmarks.bench_callback`. A step takes 50 ms, every step is logged, each
request to a real MLflow server takes 2 s, and W&B records offline. Exits with 1 when a bar is not met.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import peft
import transformers
from gradience_transformers.callback import GradienceCallback
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from tests.integrations.faults.proxy import Fault, Proxy
from tests.integrations.faults.server import Server
from tests.integrations.peft_adapters import llama

BAR: Final = 0.01  # of a step
STEP_S: Final = 0.05
STEPS: Final = 200
DATA: Final = [{"input_ids": [1, 2, 3, 4], "labels": [1, 2, 3, 4]}] * 8
HOOKS: Final = ("on_train_begin", "on_log", "on_step_end", "on_save", "on_train_end")
ONCE: Final = ("on_train_begin", "on_train_end")


class Timed(GradienceCallback):
    """The callback, with the seconds that each call of its hooks took."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.spent: dict[str, list[float]] = {name: [] for name in HOOKS}
        for name in HOOKS:
            setattr(self, name, self._timed(name, getattr(self, name)))

    def _timed(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **given: Any) -> None:
            began = time.perf_counter()
            hook(*arguments, **given)
            self.spent[name].append(time.perf_counter() - began)

        return timed


class Work(transformers.TrainerCallback):
    """Makes a step as long as it is meant to be."""

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Wait."""
        time.sleep(STEP_S)


def main() -> int:
    """Print what was spent."""
    with tempfile.TemporaryDirectory() as name, _slow_server(Path(name)) as address:
        folder = Path(name)
        os.environ |= {f"WANDB_{kind}": name for kind in ("DIR", "DATA_DIR", "CACHE_DIR", "CONFIG_DIR")}
        sinks = [{"type": "mlflow", "tracking_uri": address}, {"type": "wandb", "mode": "offline", "project": "bench"}]
        callback = Timed(sinks=sinks, close_timeout_s=2.0, audit="save")
        began = time.perf_counter()
        _train(folder / "out", callback)
        return _judge(callback.spent, time.perf_counter() - began)


def _train(out: Path, callback: Timed) -> None:
    arguments = transformers.TrainingArguments(
        output_dir=str(out),
        max_steps=STEPS,
        logging_steps=1,
        save_steps=STEPS // 4,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    lora = peft.LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(llama(), lora)
    transformers.Trainer(model=model, args=arguments, train_dataset=DATA, callbacks=[callback, Work()]).train()


def _judge(spent: dict[str, list[float]], took_s: float) -> int:
    for name, times in spent.items():
        print(
            f"{name:>14}: {len(times):4d} calls, {sum(times) * 1e3:8.1f} ms in all, longest {max(times) * 1e3:7.2f} ms"
        )
    in_steps = sum(sum(times) for name, times in spent.items() if name not in ONCE)
    share = in_steps / (STEPS * STEP_S)
    print(f"a training of {STEPS} steps of {STEP_S * 1e3:.0f} ms took {took_s:.1f} s")
    print(f"time in the hooks over the steps: {share:.3%} (bar {BAR:.0%})")
    return int(share > BAR)


@contextmanager
def _slow_server(folder: Path) -> Iterator[str]:
    """The address of an MLflow server whose every answer is late."""
    fresh = folder / "fresh.db"
    SqlAlchemyStore(f"sqlite:///{fresh}", str(folder / "files"))  # type: ignore[no-untyped-call]
    server = Server(folder / "server", fresh)
    server.start()
    try:
        with closing(Proxy(server.port)) as proxy:
            proxy.fault = Fault.SLOW
            yield proxy.address
    finally:
        server.kill()


if __name__ == "__main__":
    sys.exit(main())
