"""The pickle of a state dict, read by a machine that knows only what torch writes into one.

Nothing is imported, called or hashed on the pickle's word: any other instruction or name ends the reading. Time and
memory are those of the pickle's own length.
"""

import pickletools
import warnings
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, Final

import msgspec

from gradience.audit.refusal import quoted

_DTYPES: Final = {
    "torch DoubleStorage": "F64", "torch FloatStorage": "F32", "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16", "torch LongStorage": "I64", "torch IntStorage": "I32",
    "torch ShortStorage": "I16", "torch CharStorage": "I8", "torch ByteStorage": "U8", "torch BoolStorage": "BOOL",
    "torch.storage UntypedStorage": "U8", "torch UntypedStorage": "U8",
    "torch float8_e4m3fn": "F8_E4M3", "torch float8_e5m2": "F8_E5M2",
}  # fmt: skip


class ForeignPickleError(ValueError):
    """The pickle holds what a plain dictionary of tensors does not."""


class Name(msgspec.Struct, frozen=True):
    """A global that the pickle names, as "module name"."""

    text: str


class Storage(msgspec.Struct, frozen=True):
    """The memory behind some tensors: `numel` numbers of `dtype`."""

    key: str
    dtype: str
    numel: int


class View(msgspec.Struct, frozen=True):
    """A tensor: numbers of its storage from `offset` on, `dtype` and strides its own."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read(file: BinaryIO) -> Any:
    """The next pickled value of `file`, which then stands behind it.

    Raises:
        ValueError: the pickle is damaged; `ForeignPickleError` if it is something else.
    """
    machine = _Machine()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is odd in a text of the pickle is refused, or harmless
            return machine.run(pickletools.genops(file))
    except (IndexError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise ValueError("the pickle is damaged") from error


class _Mark:
    pass


class _Machine:
    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, operations: Iterable[tuple[pickletools.OpcodeInfo, Any, int | None]]) -> Any:
        for opcode, argument, _ in operations:
            if opcode.name == "STOP":
                return self.pop()
            self._step(opcode.name, argument)
        raise ValueError("the pickle has no end")

    def pop(self) -> Any:
        return self._stack.pop()

    def _step(self, name: str, argument: Any) -> None:
        if name in _PUSHED:
            self._stack.append(argument)
        elif name in _MADE:
            self._stack.append(_MADE[name]())
        elif name in _IGNORED:
            return
        elif name in _STEPS:
            _STEPS[name](self, argument)
        else:
            raise ForeignPickleError(f"the instruction {name}")

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    def _memoize(self, _argument: None) -> None:
        self._put(len(self._memo))

    def _get(self, place: int) -> None:
        self._stack.append(self._memo[place])

    def _tuple(self, _argument: None) -> None:
        self._stack.append(tuple(self._marked()))

    def _tuple_of(self, count: int) -> None:
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        self._stack.append(items)

    def _global(self, text: str) -> None:
        self._stack.append(Name(text))

    def _stack_global(self, _argument: None) -> None:
        name, module = self.pop(), self.pop()
        self._stack.append(Name(f"{module} {name}"))

    def _append(self, _argument: None) -> None:
        item = self.pop()
        self._list().append(item)

    def _appends(self, _argument: None) -> None:
        items = self._marked()
        self._list().extend(items)

    def _set_item(self, _argument: None) -> None:
        value, key = self.pop(), self.pop()
        self._fill([key, value])

    def _set_items(self, _argument: None) -> None:
        self._fill(self._marked())

    def _persistent(self, _argument: None) -> None:
        self._stack.append(_storage(self.pop()))

    def _reduce(self, _argument: None) -> None:
        arguments, called = self.pop(), self.pop()
        self._stack.append(_called(called, arguments))

    def _build(self, _argument: None) -> None:
        self.pop()  # the versions of the modules that a state dict came from
        if not isinstance(self._stack[-1], dict):
            raise ForeignPickleError("an object with a state")

    def _marked(self) -> list[Any]:
        place = next(i for i in range(len(self._stack) - 1, -1, -1) if self._stack[i] is _Mark)
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def _list(self) -> list[Any]:
        if not isinstance(self._stack[-1], list):
            raise ForeignPickleError("an object that is appended to")
        return self._stack[-1]

    def _fill(self, items: list[Any]) -> None:
        target = self._stack[-1]
        keys = items[::2]
        # A hash of anything but a text could cost without bound.
        if not isinstance(target, dict) or not all(isinstance(key, str) for key in keys):
            raise ForeignPickleError("a key that is not a text")
        target.update(zip(keys, items[1::2], strict=True))


_PUSHED: Final = {"BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "NONE"}
_IGNORED: Final = {"PROTO", "FRAME"}
_MADE: Final[dict[str, Callable[[], Any]]] = {
    "MARK": lambda: _Mark,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
}
_STEPS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "BINPUT": _Machine._put,
    "LONG_BINPUT": _Machine._put,
    "MEMOIZE": _Machine._memoize,
    "BINGET": _Machine._get,
    "LONG_BINGET": _Machine._get,
    "TUPLE": _Machine._tuple,
    "TUPLE1": lambda machine, _: machine._tuple_of(1),
    "TUPLE2": lambda machine, _: machine._tuple_of(2),
    "TUPLE3": lambda machine, _: machine._tuple_of(3),
    "GLOBAL": _Machine._global,
    "STACK_GLOBAL": _Machine._stack_global,
    "APPEND": _Machine._append,
    "APPENDS": _Machine._appends,
    "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._set_items,
    "BINPERSID": _Machine._persistent,
    "REDUCE": _Machine._reduce,
    "BUILD": _Machine._build,
}


def _storage(identity: Any) -> Storage:
    kind, name, key, _location, numel = identity[:5]
    if kind != "storage" or not isinstance(name, Name) or name.text not in _DTYPES or any(identity[5:]):
        raise ForeignPickleError("a storage of an unknown kind")
    if not isinstance(key, str) or not isinstance(numel, int):
        raise ForeignPickleError("a storage without a name or a length")
    return Storage(key, _DTYPES[name.text], numel)


def _called(called: Any, arguments: Any) -> Any:
    name = called.text if isinstance(called, Name) else ""
    if name == "collections OrderedDict" and arguments == ():
        return {}
    if name == "torch Size":
        return tuple(arguments[0])
    if name == "torch._utils _rebuild_parameter":
        return arguments[0]
    if name == "torch._utils _rebuild_tensor_v2":
        return _view(arguments[0].dtype, *arguments[:4])
    if name == "torch._utils _rebuild_tensor_v3" and isinstance(arguments[6], Name):
        return _view(_DTYPES.get(arguments[6].text, arguments[6].text), *arguments[:4])
    raise ForeignPickleError(f"a call of {quoted(name)}")


def _view(dtype: str, storage: Any, offset: Any, shape: Any, stride: Any) -> View:
    numbers = (offset, *shape, *stride)
    if not isinstance(storage, Storage) or len(shape) != len(stride):
        raise ValueError("a tensor is damaged")
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError("a tensor has an impossible shape")
    return View(storage, dtype, offset, tuple(shape), tuple(stride))
