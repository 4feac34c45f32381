"""Frozen dataclasses to JSON or YAML and back, strictly: unknown, duplicate and ill-typed keys are errors."""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml

from reincarnate.errors import UserError
from reincarnate.files import limits
from reincarnate.files.numbers import whole_number
from reincarnate.files.records import loads
from reincarnate.files.regular import read_bounded
from reincarnate.plugins import Names, Registry

DIGITS = r"\d+(?:_\d+)*"
EXPONENT = re.compile(rf"[-+]?(?:{DIGITS}\.?(?:{DIGITS})?|\.{DIGITS})e[-+]?{DIGITS}\Z", re.I | re.A)
"""1e-4 and 1e5, which YAML 1.1 takes for texts."""


def to_dict(value: Any, names: Registry | Names) -> Any:
    """A dataclass as JSON values; one that is registered in `names` carries its name.

    Its `later`, if any, are settings younger than kept records: left out at their defaults, so that hashes stay.
    """
    if dataclasses.is_dataclass(value):
        later: frozenset[str] = getattr(value, "later", frozenset())
        told = [f for f in dataclasses.fields(value) if f.name not in later or getattr(value, f.name) != f.default]
        fields = {f.name: to_dict(getattr(value, f.name), names) for f in told}
        name = names.name_of(type(value))
        return {"name": name, **fields} if name else fields
    if isinstance(value, tuple):
        return [to_dict(item, names) for item in value]
    return str(value) if isinstance(value, Path) else value


def from_dict(kind: Any, value: Any, names: Mapping[str, Any], where: str = "") -> Any:
    """The dataclass `kind` from its dict. Raises UserError naming the key that is unknown, missing or ill-typed.

    A dict with a `name` becomes the dataclass registered under it; only keys that differ from the default are needed.
    What is annotated with a registry can be nothing else than one of that, and may be its name alone.
    """
    if registry := _registry(kind):
        return _registered(registry, value, names, where)
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if isinstance(value, dict) and "name" in value and _is_union(kind):
        if not isinstance(value["name"], str) or value["name"] not in names:
            raise UserError(f"{where or 'config'}: unknown name {value['name']!r}; known: {', '.join(names)}")
        kind = names[value["name"]]
        value = {k: v for k, v in value.items() if k != "name"}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _dataclass(kind, value, names, where)
    return _plain(kind, value, where)


def _registry(kind: Any) -> Registry | None:
    """The registry that an annotation names, if it names one."""
    told = get_args(kind)[1:] if get_origin(kind) is Annotated else ()
    return next((item for item in told if isinstance(item, Registry)), None)


def _registered(registry: Registry, value: Any, names: Mapping[str, Any], where: str) -> Any:
    """One of a registry, by its settings with its name, or by its name alone."""
    value = {"name": value} if isinstance(value, str) else value
    if not isinstance(value, dict) or "name" not in value:
        raise UserError(f"{where or 'config'}: expected the settings of {registry.one} with its name, found {value!r}")
    name = value["name"]
    if not isinstance(name, str) or name not in registry:
        raise UserError(f"{where or 'config'}: {registry.unknown(name)}")
    return _dataclass(registry[name], {k: v for k, v in value.items() if k != "name"}, names, where)


def _dataclass(kind: type, value: Any, names: Mapping[str, Any], where: str) -> Any:
    if not isinstance(value, dict):
        raise UserError(f"{where or 'config'}: expected a mapping, found {value!r}")
    if isinstance(value.get("name"), str) and names.get(value["name"]) is kind:
        value = {k: v for k, v in value.items() if k != "name"}
    hints = typing.get_type_hints(kind, include_extras=True)
    known = [f.name for f in dataclasses.fields(kind)]
    for key in value:
        if key not in known:
            raise UserError(f"unknown key {_join(where, key)!r}; known there: {', '.join(known)}")
    fields = {
        key: from_dict(_kind(kind, key, hints[key], item), item, names, _join(where, key))
        for key, item in value.items()
    }
    try:
        return kind(**fields)
    except TypeError as error:
        raise UserError(f"{where or 'config'}: {error}") from None


def _kind(owner: type, key: str, hint: Any, item: Any) -> Any:
    """What a field holds; of several dataclasses the default's, where the item does not name another."""
    field = next(f for f in dataclasses.fields(owner) if f.name == key)
    several = _is_union(hint) or _registry(hint) is not None
    unnamed = isinstance(item, dict) and "name" not in item
    return field.default_factory if unnamed and several and isinstance(field.default_factory, type) else hint


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, types.UnionType) or kind is Any


def _plain(kind: Any, value: Any, where: str) -> Any:
    """A value that is no dataclass, checked against its annotation."""
    if get_origin(kind) is tuple:  # one alone may stand for a list of one, as on the command line
        inner = get_args(kind)[0]
        return tuple(_plain(inner, item, where) for item in _items(inner, value))
    if _wants(int, kind) and isinstance(value, float | str):
        value = _whole(value)
        _refuse_long(value, where)
    if _wants(float, kind) and isinstance(value, int) and not isinstance(value, bool):
        _refuse_long(value, where)
        return float(value)
    if _fits(kind, value):
        return value
    raise UserError(f"{where}: expected {_named(kind)}, found {value!r}")


def _items(kind: Any, value: Any) -> Sequence[Any]:
    """The items of a list; where there may be several whole numbers a comma parts them, as on the command line."""
    items = value if isinstance(value, list | tuple) else [value]
    return [part for x in items for part in (x.split(",") if kind is int and isinstance(x, str) else [x])]


def _whole(value: float | str) -> Any:
    """A whole number as people write it (2e4, 20_000, 20,000) as an int; anything else as it is."""
    with suppress(ValueError):
        return whole_number(str(value))
    return value


def _refuse_long(value: Any, where: str) -> None:
    if isinstance(value, int) and abs(value) >= 10**limits.DIGITS:
        raise UserError(f"{where}: a number of over {limits.DIGITS} digits")


def _named(kind: Any) -> str:
    """A kind in messages."""
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if _is_union(kind) and kind is not Any:
        return " or ".join(map(_named, get_args(kind)))
    if get_origin(kind) is tuple:
        return f"a tuple of {_named(get_args(kind)[0])}"
    return "nothing" if kind is type(None) else getattr(kind, "__name__", str(kind))


def with_tuples(value: Any) -> Any:
    """Settings that were made in Python, themselves and those within, with tuples where lists stand for them."""
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    held = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    fresh = {name: _tupled(type(value), name, item) for name, item in held.items()}
    changed = {name: item for name, item in fresh.items() if item is not held[name]}
    return dataclasses.replace(value, **changed) if changed else value


def _tupled(owner: type, name: str, item: Any) -> Any:
    """A field of `owner` with a tuple for a list, where it should hold one."""
    if not isinstance(item, list):
        return with_tuples(item)
    with suppress(NameError):  # somebody's own class, annotated with names that are not there
        kind = typing.get_type_hints(owner)[name]
        if any(get_origin(option) is tuple for option in (get_args(kind) if _is_union(kind) else [kind])):
            return _deep(item)
    return item


def _deep(item: Any) -> Any:
    return tuple(map(_deep, item)) if isinstance(item, list) else item


def refuse_other_kinds(value: Any, where: str = "") -> None:
    """Of a dataclass that was made in Python. Raises UserError where a field holds another kind than its annotation."""
    try:
        hints = typing.get_type_hints(type(value), include_extras=True)
    except NameError:  # somebody's own class, annotated with names that are not there
        return
    for field in dataclasses.fields(value):
        _refuse_other(hints[field.name], getattr(value, field.name), _join(where, field.name))


def _refuse_other(kind: Any, item: Any, where: str) -> None:
    made = dataclasses.is_dataclass(item) and not isinstance(item, type)
    if (registry := _registry(kind)) and not made:
        name = item.__name__ if isinstance(item, type) else None
        hint = f"{name}()" if name else f"as {_example(registry)}()"
        raise UserError(f"{where}: expected the settings of {registry.one}, {hint}, found {item!r}")
    kind = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if made:
        refuse_other_kinds(item, where)
    elif get_origin(kind) is tuple:
        if not isinstance(item, list | tuple):
            raise UserError(f"{where}: expected {_named(kind)}, found {item!r}")
        for one in item:
            _refuse_other(get_args(kind)[0], one, where)
    elif not _fits(kind, item):
        raise UserError(f"{where}: expected {_named(kind)}, found {item!r}")


def _example(registry: Registry) -> str:
    return registry.ours[next(iter(registry))].rpartition(":")[2]


def _wants(number: type, kind: Any) -> bool:
    """A number of this type, or that or nothing."""
    return kind is number or (_is_union(kind) and kind is not Any and set(get_args(kind)) == {number, type(None)})


def _fits(kind: Any, value: Any) -> bool:
    if kind is Any:
        return True
    if get_origin(kind) is Literal:
        return isinstance(value, str | int | float | bool | None) and value in get_args(kind)
    if _is_union(kind):
        return any(_fits(option, value) for option in get_args(kind))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


class _Strict(yaml.SafeLoader):
    """YAML without duplicate keys, and with 1e-4 a number."""


def _mapping(loader: _Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]  # pyright: ignore
    seen: set[Any] = set()
    for key in keys:
        if not isinstance(key, str | int | float | bool | None):
            raise UserError(f"a {type(key).__name__} for a key in line {node.start_mark.line + 1}")
        if key in seen:
            raise UserError(f"duplicate key {key!r} in line {node.start_mark.line + 1}")
        seen.add(key)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


class _Writer(yaml.SafeDumper):
    """What quotes a text that would be read as a number."""


_Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
for _yaml in (_Strict, _Writer):  # of what is not in quotes
    _yaml.add_implicit_resolver("tag:yaml.org,2002:float", EXPONENT, list("+-.0123456789"))


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises UserError where the file is missing, not YAML, over the limits, or has a key twice."""
    payload = read_bounded(path, limits.YAML)
    try:
        loader = _Strict(payload)
        try:
            node = loader.get_single_node()
            _check_size(node, path)
            value = None if node is None else loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        said = f"byte {error.position} is not UTF-8" if error.encoding != "unicode" else "a letter is not allowed there"
        raise UserError(f"{path} is no text in UTF-8 ({said}): save it in that encoding") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    except UserError as error:
        raise UserError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except RecursionError:
        raise UserError(f"{path} is not YAML that can be read: nested over {limits.DEPTH} deep") from None
    except (ValueError, TypeError, OverflowError, AttributeError, KeyError) as error:  # of dates, numbers, base 64 …
        raise UserError(f"{path} is not YAML: {type(error).__name__}: {' '.join(str(error).split())[:160]}") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} must hold a mapping of settings")
    try:  # only what JSON can hold: a date or a set is no setting, and the record of a run could not keep it
        loads(json.dumps(value, default=str), path, numbers_may_be_none=True)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())[:160]}") from None
    return value


def _check_size(node: yaml.Node | None, path: Path) -> None:
    """UserError: too many values once every alias is written out, too deep, or an alias of what it lies in."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > limits.DEPTH:
            raise UserError(f"{path}: nested over {limits.DEPTH} deep, or in itself")
        if id(node) not in sizes:
            value = node.value
            inner = [x for pair in value for x in pair] if isinstance(node, yaml.MappingNode) else value
            sizes[id(node)] = 1 + (0 if isinstance(inner, str) else sum(size(x, depth + 1) for x in inner))
        if sizes[id(node)] > limits.YAML_VALUES:
            raise UserError(f"{path}: over {limits.YAML_VALUES:,} values once its aliases are written out")
        return sizes[id(node)]

    if node is not None:
        size(node, 1)


def to_yaml(value: dict[str, Any]) -> str:
    """YAML text in the order of the fields."""
    return yaml.dump(value, Dumper=_Writer, sort_keys=False)
