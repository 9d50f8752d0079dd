"""The flags that a command has, read from its dataclass as tyro reads it."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

import tyro

Flags = dict[str, list[str]]
"""Flag -> the words that may follow it, where they are a fixed few; empty where anything may, or nothing."""

_NO_FLAG = [get_args(marked[int])[1] for marked in (tyro.conf.Positional, tyro.conf.Suppress)]
"""What marks a field that is no flag."""


def flag_fields(kind: type) -> Mapping[str, tuple[Any, type]]:
    """Field that a flag sets -> (its type, the dataclass that defines it).

    A field that is a dataclass itself gives its own fields, as under `tyro.conf.OmitArgPrefixes`.
    """
    found: dict[str, tuple[Any, type]] = {}
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        inner, *marks = get_args(hint) if get_origin(hint) is typing.Annotated else (hint,)
        if any(mark is none for mark in marks for none in _NO_FLAG):
            continue
        if isinstance(inner, type) and dataclasses.is_dataclass(inner):
            found |= flag_fields(inner)
        else:
            found[field.name] = inner, kind
    return found


def flags_of(kind: type) -> Flags:
    """Flags of a dataclass, and of those that it holds."""
    found: Flags = {}
    for name, (inner, _) in flag_fields(kind).items():
        flag = flag_of(name)
        found[flag] = [str(choice) for choice in get_args(inner)] if get_origin(inner) is Literal else []
        if inner is bool:
            found["--no-" + flag[2:]] = []
    return found


def flag_of(field: str) -> str:
    """The flag of a field: "inner_lr" -> "--inner-lr"."""
    return "--" + field.replace("_", "-")


def dataclasses_in(hint: Any) -> list[type]:
    """The dataclasses that a type names: itself, or those in a union or a tuple of it."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    if get_origin(hint) in (Union, types.UnionType, tuple):
        return [kind for part in get_args(hint) for kind in dataclasses_in(part)]
    return []
