"""What a config targets: whole layers (`target_modules`), or bare parameters of a module (`target_parameters`).

PEFT takes a layer or some of its parameters, never both. It wraps a module once per parameter, in the order of their
declaration, so that the first one lies deepest below `base_layer`. The name of a parameter without its module may be
that of any module that is no targeted layer: for stacked experts PEFT itself turns "all-linear" into such names.
"""

import re
from collections.abc import Collection, Iterator
from pathlib import Path

from gradience.audit.disk import expressions
from gradience.audit.disk.config import LoraConfig
from gradience.audit.disk.expressions import BrokenError
from gradience.audit.refusal import listed, quoted, refuse

_DECLARED = ("gate_up_proj", "gate_proj", "up_proj", "down_proj")  # the order in which models declare them
_LIMIT_S = 1.5  # for a regular expression of layers; PEFT would hang


class Targets:
    """The targets of one config, to be looked up for `modules` and no others.

    Raises:
        AdapterError: `target_modules` is an expression that is broken, or takes too long to try.
    """

    def __init__(self, config: Path, settings: LoraConfig, modules: Collection[str]) -> None:
        self._config = config
        self._by_module: dict[str, set[str]] = {}
        for target in settings.target_parameters or ():
            module, _, parameter = target.rpartition(".")
            self._by_module.setdefault(module, set()).add(parameter)
        self._layers = self._matched(settings.target_modules or (), modules) if self._by_module else frozenset()

    def parameters(self, module: str, depth: int) -> list[str]:
        """The parameters of `module` that are targeted, outermost first of PEFT's `depth` wrappers; none of a layer.

        Raises:
            AdapterError: they are not as many as the wrappers, or their order is not known.
        """
        if module in self._layers:
            return []
        named = {leaf for end in _ends(module) for leaf in self._by_module.get(end, ())}
        nameless = self._by_module.get("", set())
        found = named if len(named) == depth else named | nameless
        if not found:
            return []
        if len(found) != depth:
            wrong = f"the weights have factors for {depth} parameters of {quoted(module)}, but it names {len(found)}"
            raise refuse(self._config, wrong, "put the config of this training run beside the weights")
        if depth > 1 and not found <= set(_DECLARED):
            wrong = f"the order of the parameters of {quoted(module)} ({listed(sorted(found))}) is not known"
            raise refuse(self._config, wrong, "train each parameter in an adapter of its own to have it audited")
        return [f"{module}.{leaf}" for leaf in sorted(found, key=_place, reverse=True)]

    def _matched(self, layers: list[str] | str | tuple[()], modules: Collection[str]) -> frozenset[str]:
        if not isinstance(layers, str):
            wanted = frozenset(layers)
            return frozenset(name for name in modules if not wanted.isdisjoint(_ends(name)))
        try:
            tried = expressions.matches([rf"(?:{layers})\Z"], modules, limit_s=_LIMIT_S)
        except BrokenError as error:
            wrong = f"target_modules {quoted(layers)} is no regular expression"
            raise refuse(self._config, wrong, "mend the config; PEFT cannot load it") from error
        except TimeoutError as error:
            wrong = f"to match the regular expression of target_modules takes longer than {_LIMIT_S} s"
            raise refuse(self._config, wrong, "name the modules by their plain paths there") from error
        return frozenset(name for name, found in tried.items() if found)


def _ends(module: str) -> Iterator[str]:
    """The path and its ends, from whole part to whole part."""
    yield module
    yield from (module[match.end() :] for match in re.finditer(r"\.", module))


def _place(leaf: str) -> int:
    return _DECLARED.index(leaf) if leaf in _DECLARED else 0
