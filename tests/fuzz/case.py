"""One case: an adapter of some kind, mutated and written. The seed and the number say everything about it."""

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec

from tests.fuzz import (
    corpus,
    draft,
    mutate_config,
    mutate_folder,
    mutate_header,
    mutate_pickle,
    mutate_tensors,
    mutate_weights,
)
from tests.fuzz.draft import Draft, Header
from tests.fuzz.mutation import REGISTER, STAGES, Mutation

_MODULES: Final = (mutate_config, mutate_folder, mutate_header, mutate_pickle, mutate_tensors, mutate_weights)
_COUNTS: Final = (1,) * 14 + (2,) * 4 + (3,) + (0,)  # mutations of a case: mostly one, so that it reaches deep


class Case(msgspec.Struct, frozen=True):
    """What was done to which kind of adapter; `harmless` if it must still be audited."""

    seed: int
    number: int
    kind: str
    weights: str  # the name of the file
    mutations: tuple[str, ...]
    harmless: bool

    def __str__(self) -> str:
        return f"{self.seed}:{self.number} {self.kind} [{', '.join(self.mutations)}]"


def write(seed: int, number: int, folder: Path) -> Case:
    """Write the case into the new directory `folder`."""
    rng = Random(f"{seed}:{number}")
    kind = rng.choice(sorted(corpus.KINDS))
    made = corpus.KINDS[kind](rng)
    chosen = _chosen(rng, made.form)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _write(made, chosen, rng, folder)
    return Case(
        seed, number, kind, made.weights_name, tuple(one.name for one in chosen), all(one.harmless for one in chosen)
    )


def _chosen(rng: Random, form: str) -> list[Mutation]:
    """Several may change the draft; of a later stage there is one, because what it leaves may be no file any more."""
    possible = [one for one in REGISTER if form in one.forms]
    found = rng.choices(possible, weights=[one.weight for one in possible], k=rng.choice(_COUNTS))
    later = {one.stage: one for one in found}
    return [one for one in found if one.stage == STAGES[0]] + [later[stage] for stage in STAGES[1:] if stage in later]


def _write(made: Draft, chosen: list[Mutation], rng: Random, folder: Path) -> None:
    later = {one.stage: one for one in chosen if one.stage != STAGES[0]}

    def changed(stage: str, given: Any) -> Any:
        return later[stage].apply(given, rng) if stage in later and given else given

    for one in chosen:
        if one.stage == STAGES[0] and made.tensors:  # another one may have dropped them all
            one.apply(made if made.initial is None else rng.choice([made, made.initial]), rng)
    if made.initial is not None:
        before = folder / "pissa_init"
        before.mkdir()
        _write(made.initial, [], rng, before)
    weights = made.pickled() if made.form != "safetensors" else _safetensors(made, changed("header", made.header()))
    (folder / made.weights_name).write_bytes(changed("weights", weights))
    if made.has_config:
        text = json.dumps(made.config, indent=2, sort_keys=True).encode("utf-8", "surrogatepass")
        (folder / mutate_folder.CONFIG).write_bytes(changed("config", text))
    changed("folder", folder)


def _safetensors(made: Draft, header: Header | bytes) -> bytes:
    text = header if isinstance(header, bytes) else draft.header_text(header)
    return draft.with_length(text, made.data())
