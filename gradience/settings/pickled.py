"""The settings in a pickle, such as a Trainer's training_args.bin, read by a machine that can only push values.

Nothing is imported, called, built or hashed on the pickle's word: a name stays a name, a call is noted with its
arguments, a state is kept as it is written. Time and memory are those of the file's length, which has a limit.
"""

import io
import pickletools
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from gradience.errors import InputError

SIZE_LIMIT: Final = 8_000_000  # bytes, unpacked: a Trainer's arguments take some thousand
_MAGIC: Final = 0x1950A86A20F9469CFC6C  # torch's first pickle in a file that is no zip
_BEFORE: Final = 2  # pickles between it and the object: the protocol, and what the system was
_SCALARS: Final = (str, int, float, bool, type(None))
_BITS: Final = 1024  # of a whole number: what is longer is no setting, and no float holds it


class Named(msgspec.Struct):
    """A class, a function, or what one of them would have made: a name, the arguments, and a state."""

    name: str = ""
    arguments: tuple[Any, ...] = ()
    state: Any = None

    @property
    def plain(self) -> Any:
        """An enumeration's member or a device is the one value that makes it; of anything else nothing is said."""
        one = self.arguments[0] if len(self.arguments) == 1 else None
        return one if _is_scalar(one) else None


def load(path: Path) -> dict[str, Any]:
    """The attributes of the object in the file that are plain values.

    Raises:
        InputError: it cannot be read, is damaged, or holds no object with attributes.
    """
    try:
        raw = _content(path)
        found = _object(io.BytesIO(raw))
    except OSError as error:
        raise _refusal(path, str(error.strerror)) from error
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, StopIteration, MemoryError) as error:
        raise _refusal(path, f"the pickle is damaged, or is none ({type(error).__name__})") from error
    state = found.state if isinstance(found, Named) else found
    if not isinstance(state, Mapping) or not state:
        raise _refusal(path, "it holds no object with settings")
    plain = {key: _plain(value) for key, value in state.items() if not key.startswith("_")}
    return {key: value for key, value in plain.items() if value is not None}


def _content(path: Path) -> bytes:
    """The pickle: of a zip, as torch writes them, the member that is one."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return _limited(file)
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
            with archive.open(name) as member:
                return _limited(member)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError("the archive is damaged") from error


def _limited(file: Any) -> bytes:
    raw: bytes = file.read(SIZE_LIMIT + 1)
    if len(raw) > SIZE_LIMIT:
        raise ValueError("it is too large")
    return raw


def _object(file: BinaryIO) -> Any:
    first = _run(file)
    if first != _MAGIC:
        return first
    for _ in range(_BEFORE):
        _run(file)
    return _run(file)


def _run(file: BinaryIO) -> Any:
    machine = _Machine()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an odd escape in a text changes nothing here
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    raise ValueError("the pickle has no end")


def _plain(value: Any) -> Any:
    """A scalar, or a short list of scalars; None for all else."""
    value = value.plain if isinstance(value, Named) else value
    if isinstance(value, list | tuple):
        items = [item.plain if isinstance(item, Named) else item for item in value[:100]]
        return items if items and all(map(_is_scalar, items)) else None
    return value if _is_scalar(value) else None


def _is_scalar(value: Any) -> bool:
    return isinstance(value, _SCALARS) and not (isinstance(value, int) and value.bit_length() > _BITS)


class _Mark:
    pass


class _Machine:
    """The stack of a pickle. What an instruction would do to the world is left out."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[Any, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """One instruction."""
        if name in _VALUES:
            self.stack.append(_VALUES[name]())
        elif name in _STEPS:
            _STEPS[name](self, argument)
        elif argument is not None:
            self.stack.append(argument)  # all that is left with an argument pushes it
        else:
            raise ValueError(f"the instruction {name} is not known")

    def _marked(self) -> list[Any]:
        place = next(i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i] is _Mark)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def _put(self, place: Any) -> None:
        self._memo[place] = self.stack[-1]

    def _memoize(self, _: None) -> None:
        self._put(len(self._memo))

    def _get(self, place: Any) -> None:
        self.stack.append(self._memo[place])

    def _named(self, text: str) -> None:
        self.stack.append(Named(text))

    def _stack_named(self, _: None) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(Named(f"{module} {name}" if isinstance(name, str) and isinstance(module, str) else ""))

    def _noted(self, _: None) -> None:
        """A call, or the making of an object: what it is of, and its arguments."""
        arguments, called = self.stack.pop(), self.stack.pop()
        self._note(called, arguments)

    def _noted_with_names(self, _: None) -> None:
        _keywords, arguments, called = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._note(called, arguments)

    def _noted_marked(self, text: str | None) -> None:
        called, *arguments = [text, *self._marked()] if text else self._marked()
        self._note(Named(called) if isinstance(called, str) else called, tuple(arguments))

    def _note(self, called: Any, arguments: Any) -> None:
        name = called.name if isinstance(called, Named) else ""
        self.stack.append(Named(name, arguments if isinstance(arguments, tuple) else ()))

    def _built(self, _: None) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Named):
            self.stack[-1].state = state

    def _tuple(self, _: None) -> None:
        self.stack.append(tuple(self._marked()))

    def _tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    def _list(self, _: None) -> None:
        self.stack.append(self._marked())

    def _dict(self, _: None) -> None:
        items = self._marked()
        self.stack.append({})
        self._fill(items)

    def _append(self, _: None) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _appends(self, _: None) -> None:
        self._extend(self._marked())

    def _extend(self, items: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def _set_item(self, _: None) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill([key, value])

    def _set_items(self, _: None) -> None:
        self._fill(self._marked())

    def _fill(self, items: list[Any]) -> None:
        """Only texts are keys: to hash anything else could cost without bound."""
        target = self.stack[-1]
        if isinstance(target, dict):
            pairs = zip(items[::2], items[1::2], strict=True)
            target.update((key, value) for key, value in pairs if isinstance(key, str))

    def _pop(self, _: None) -> None:
        self.stack.pop()

    def _pop_mark(self, _: None) -> None:
        self._marked()

    def _dup(self, _: None) -> None:
        self.stack.append(self.stack[-1])

    def _persistent(self, _: Any) -> None:
        self.stack.append(Named())

    def _binary_persistent(self, _: None) -> None:
        self.stack[-1] = Named()

    def _nothing(self, _: Any) -> None:
        pass


_VALUES: Final[Mapping[str, Callable[[], Any]]] = {
    "MARK": lambda: _Mark,
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_TUPLE": tuple,
    "NEXT_BUFFER": Named,
}
_STEPS: Final[Mapping[str, Callable[[_Machine, Any], None]]] = {
    **dict.fromkeys(("PROTO", "FRAME", "READONLY_BUFFER"), _Machine._nothing),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), _Machine._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine._get),
    **dict.fromkeys(("REDUCE", "NEWOBJ"), _Machine._noted),
    **dict.fromkeys(("EXT1", "EXT2", "EXT4", "PERSID"), _Machine._persistent),
    "MEMOIZE": _Machine._memoize,
    "GLOBAL": _Machine._named,
    "STACK_GLOBAL": _Machine._stack_named,
    "NEWOBJ_EX": _Machine._noted_with_names,
    "OBJ": _Machine._noted_marked,
    "INST": _Machine._noted_marked,
    "BUILD": _Machine._built,
    "TUPLE": _Machine._tuple,
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "LIST": _Machine._list,
    "FROZENSET": _Machine._list,
    "DICT": _Machine._dict,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "ADDITEMS": _Machine._appends,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "POP": _Machine._pop,
    "POP_MARK": _Machine._pop_mark,
    "DUP": _Machine._dup,
    "BINPERSID": _Machine._binary_persistent,
}


def _refusal(path: Path, why: str) -> InputError:
    return InputError(
        f"cannot read training settings from {path}: {why}; save `trainer.args.to_json_string()` as "
        "training_args.json beside it, or give --lr and the like by hand"
    )
