"""A pickle read as data: its program is followed step by step, and where it asks for a call, the call is noted.

A pickle is a program for a small stack machine that may call anything. Here `pickletools` decodes its
instructions, and this machine carries them out on plain Python values only: a global stays a `Global` (two
strings, nothing is imported), a call or a new object becomes a `Made` (a record of what would have been called).
So reading a hostile file can neither run code nor allocate what the file claims; what may become of the records
is decided by `pickled_module`.
"""

from __future__ import annotations

import pickletools
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

MAX_INSTRUCTIONS = 3_000_000
"""A pickled model takes about 30,000 instructions per hundred layers; each can cost about a hundred bytes."""

MAX_UNUSUAL_KEYS = 5_000
"""Keys of dicts and sets that a file can choose to be of one hash: a dict of n such takes n^2 / 2 comparisons."""

_SMALL = 2**31
_PYTHON2_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg", "commands": "subprocess"}
_DICTS = {("collections", "OrderedDict"), ("collections", "defaultdict"), ("collections", "Counter")}
_SETS = {("builtins", "set"), ("builtins", "frozenset")}


@dataclass(frozen=True)
class Global:
    """A name the program asked for. Nothing is looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


class PickleError(ValueError):
    """The bytes are no pickle program, or one that no model needs; `names` is what it asked for until then."""

    names: frozenset[Global] = frozenset()


@dataclass(eq=False)
class Made:
    """A call (`called`) or the creation of an object that the program asked for, and the state it would get."""

    maker: Global
    args: tuple[Any, ...]
    called: bool
    state: Any = None


@dataclass(eq=False)
class Storage:
    """The bytes of a tensor, by the name of their type; they are never read."""

    kind: Any


@dataclass
class PickleProgram:
    """The value that a pickle program describes, and every name it asked for."""

    value: Any = None
    globals: set[Global] = field(default_factory=set)


def read_pickle(stream: IO[bytes]) -> PickleProgram:
    """Follow one pickle program of `stream` up to its end; raises `PickleError` where it is damaged."""
    machine = _Machine()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_INSTRUCTIONS:
                raise PickleError(f"it has more than {MAX_INSTRUCTIONS:,} instructions")
            machine.step(opcode.name, argument)
    except PickleError as error:
        error.names = frozenset(machine.program.globals)
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        raise PickleError("its pickle program is damaged") from error
    return machine.program


class _Machine:
    """The stack machine: values, marks and the memo."""

    def __init__(self) -> None:
        self.program = PickleProgram()
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.unusual_keys = 0

    def step(self, name: str, argument: Any) -> None:
        """Carry out one instruction."""
        if name in _PUSH_ARGUMENT:
            self.stack.append(argument)
        elif name in _PUSH_NEW:
            self.stack.append(_PUSH_NEW[name]())
        elif name in _PUT:
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif name in _GET:
            self.stack.append(self.memo[argument])
        elif name not in _IGNORED:
            action = _ACTIONS.get(name)
            if action is None:
                raise PickleError(f"its pickle program uses {name}, which no saved model needs")
            action(self, argument)

    def mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def pop_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def stop(self, _: Any) -> None:
        self.program.value = self.stack.pop()

    def pop(self, _: Any) -> None:
        self.stack.pop()

    def duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def drop_to_mark(self, _: Any) -> None:
        self.pop_mark()

    def tuple_of(self, count: int) -> None:
        items = self.stack[-count:]
        if len(items) < count:
            raise PickleError("its pickle program is damaged")
        self.stack[-count:] = [tuple(items)]

    def marked_tuple(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append(tuple(items))

    def marked_list(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append(items)

    def marked_dict(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append({})
        self._set_items(items)

    def marked_frozenset(self, _: Any) -> None:
        items = self.pop_mark()
        self.stack.append(frozenset(map(self._key, items)))

    def append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def appends(self, _: Any) -> None:
        self._extend(self.pop_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise PickleError("its pickle program appends to what is no list")
        self.stack[-1].extend(items)

    def set_item(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items([key, value])

    def set_items(self, _: Any) -> None:
        self._set_items(self.pop_mark())

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) not in (dict, OrderedDict) or len(items) % 2:
            raise PickleError("its pickle program sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[self._key(key)] = value

    def _key(self, key: Any) -> Any:
        """`key`, where hashing it is cheap and safe: a nested tuple's hash could overflow the C stack, and others than
        text and small integers can be chosen so that all of them collide."""
        parts = key if type(key) is tuple else (key,)
        if not all(part is None or isinstance(part, (str, bytes, int, float, Global, Made)) for part in parts):
            raise PickleError("its pickle program uses a key that no model needs")
        if not (isinstance(key, (str, bytes, Global, Made)) or (isinstance(key, int) and abs(key) < _SMALL)):
            self.unusual_keys += 1
            if self.unusual_keys > MAX_UNUSUAL_KEYS:
                raise PickleError(f"it has over {MAX_UNUSUAL_KEYS:,} keys that are neither text nor small integers")
        return key

    def add_items(self, _: Any) -> None:
        items = self.pop_mark()
        if type(self.stack[-1]) is not set:
            raise PickleError("its pickle program adds items to what is no set")
        self.stack[-1].update(map(self._key, items))

    def global_name(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_global(module, name)

    def stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise PickleError("its pickle program names a global by what is no text")
        self._push_global(module, name)

    def _push_global(self, module: str, name: str) -> None:
        wanted = Global(_PYTHON2_MODULES.get(module, module), name)
        self.program.globals.add(wanted)
        self.stack.append(wanted)

    def persistent(self, _: Any) -> None:
        """A storage, or in the legacy format a class that travels with its source code."""
        identity = self.stack.pop()
        match identity:
            case ("storage", kind, *_):
                self.stack.append(Storage(kind))
            case ("module", Global() as found, *_):
                self.stack.append(found)
            case _:
                raise PickleError("its pickle program refers to an object outside of the file")

    def reduce(self, _: Any) -> None:
        args, maker = self.stack.pop(), self.stack.pop()
        self._make(maker, args, called=True)

    def new_object(self, _: Any) -> None:
        args, maker = self.stack.pop(), self.stack.pop()
        self._make(maker, args, called=False)

    def _make(self, maker: Any, args: Any, *, called: bool) -> None:
        if not isinstance(maker, Global) or not isinstance(args, tuple):
            raise PickleError("its pickle program calls what is not named")
        name = (maker.module, maker.name)
        if name in _DICTS:
            self.stack.append(OrderedDict())
            if args and name[1] == "OrderedDict":
                self._set_items([part for pair in args[0] for part in pair])
        elif name in _SETS:
            self.stack.append({self._key(item) for item in (args[0] if args else ())})
        else:
            self.stack.append(Made(maker, args, called))

    def build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Made):
            target.state = state
        elif not isinstance(target, (OrderedDict, set)):  # whose attributes no model needs
            raise PickleError("its pickle program sets the state of what is no object")


_IGNORED = {"PROTO", "FRAME"}
_PUSH_ARGUMENT = {
    *("INT", "LONG", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_PUSH_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_PUT = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_GET = {"GET", "BINGET", "LONG_BINGET"}
_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "STOP": _Machine.stop,
    "POP": _Machine.pop,
    "DUP": _Machine.duplicate,
    "POP_MARK": _Machine.drop_to_mark,
    "TUPLE": _Machine.marked_tuple,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": _Machine.marked_list,
    "DICT": _Machine.marked_dict,
    "FROZENSET": _Machine.marked_frozenset,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.appends,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "ADDITEMS": _Machine.add_items,
    "GLOBAL": _Machine.global_name,
    "STACK_GLOBAL": _Machine.stack_global,
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.reduce,
    "NEWOBJ": _Machine.new_object,
    "BUILD": _Machine.build,
}
