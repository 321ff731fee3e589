"""Random damage to files and command lines, for `tools/mutate.py`: bytes, JSON, XML, tables, tensors, arguments."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file

TRAP = "trap_module"
"""A module that lies beside every damaged file. A file that makes somebody import it has run code."""
HOSTILE_TEXTS = (
    *(
        "",
        " ",
        "0",
        "-1",
        "1e308",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "1000000000000",
        "0x10",
        "1,2",
        "1 2 3 4 5 6 7 8",
    ),
    *("../../../etc/passwd", "a/b", "\u00e9\u4e2d\U0001f600", "x" * 300, "{", "<", "%s", "None", "true"),
    *(
        f"{TRAP}:ikp/Insertion-v0",
        f"__import__('{TRAP}')",
        f"!!python/object:{TRAP}.Trap",
        "$(touch executed)",
    ),
)
HOSTILE_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 0.5, 1e308, -1e308, float("nan"), float("inf"), 10**12, 2**63, 10**30),
    *([], {}, [[]], [None], [1, 2], {"a": 1}, *HOSTILE_TEXTS),
)
HOSTILE_WORDS = (
    *(
        "",
        "-",
        "0",
        "-1",
        "1",
        "2.5",
        "1e9",
        "nan",
        "inf",
        "1000000000000",
        "99999999999999999999999",
        "0x10",
    ),
    *(
        "True",
        "None",
        "a/b",
        "a=b",
        "=",
        "x=1",
        "a=[",
        "\u00e9\u4e2d",
        "x" * 300,
        "1-2",
        "0-99999999999",
        "9x9",
        "0x0",
    ),
    *(
        "missing.urdf",
        "missing/deep",
        "base.json",
        "cut.safetensors",
        ".",
        "/dev/null",
        "/dev/full",
        "/dev/null/x",
    ),
    *("insertion", "sweeping", "ur5e", "iiwa14_dual", "raw", "explicit", "state", "cuda", "--", "--help"),
)


def flip_bit(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """One bit flipped."""
    if not data:
        return data, "nothing to flip"
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    return data[:place] + bytes([data[place] ^ (1 << bit)]) + data[
        place + 1 :
    ], f"bit {bit} of byte {place} flipped"


def damage_bytes(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """One of the accidents that files meet: flipped, cut, emptied, a run of bytes zeroed, doubled, lost or strange."""
    place = rng.randrange(len(data) + 1)
    length = rng.choice((1, 4, 64, 512))
    changes: dict[str, Callable[[], bytes]] = {
        "cut": lambda: data[:place],
        "emptied": lambda: b"",
        "zeroed": lambda: data[:place] + bytes(min(length, len(data) - place)) + data[place + length :],
        "doubled": lambda: data[: place + length] + data[place:],
        "lost": lambda: data[:place] + data[place + length :],
        "strange": lambda: data[:place] + rng.randbytes(length) + data[place:],
    }
    name = rng.choice(("flipped", *changes))
    return flip_bit(data, rng) if name == "flipped" else (changes[name](), f"{name} at byte {place}")


def change_json(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """One value of a JSON file replaced, removed, renamed or moved elsewhere."""
    values = json.loads(data)
    places = list(_places(values, ()))
    path = rng.choice(places)
    holder = _at(values, path[:-1])
    key, change = (
        path[-1],
        rng.choice(("replaced", "replaced", "replaced", "removed", "renamed", "swapped", "nested")),
    )
    if change == "replaced":
        holder[key] = rng.choice(HOSTILE_VALUES)
    elif change == "removed":
        del holder[key]
    elif change == "renamed" and isinstance(holder, dict):
        holder[rng.choice(HOSTILE_TEXTS)] = holder.pop(key)
    elif change == "nested":
        holder[key] = json.loads("[" * 900 + "]" * 900)
    else:
        holder[key] = json.loads(json.dumps(_at(values, rng.choice(places))))
    return json.dumps(values).encode(), f"{change} {'.'.join(map(str, path))}: {str(holder)[:120]}"


def _places(values: Any, path: tuple) -> Any:
    items = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    )
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _at(values: Any, path: tuple) -> Any:
    for key in path:
        values = values[key]
    return values


def change_xml(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """One attribute or element of an XML file replaced, removed, renamed, doubled or moved."""
    root = ElementTree.fromstring(data)
    elements = list(root.iter())
    element = rng.choice(elements)
    change = rng.choice(
        ("value", "value", "value", "attribute", "removed", "doubled", "renamed", "moved", "added")
    )
    said = f"{change} <{element.tag}>"
    if change in ("value", "attribute") and element.attrib:
        name = rng.choice(sorted(element.attrib))
        if change == "attribute":
            element.attrib[rng.choice(("name", "type", "link", "xyz", "a"))] = element.attrib.pop(name)
        else:
            others = [value for other in elements for value in other.attrib.values()]
            element.attrib[name] = rng.choice((*HOSTILE_TEXTS, *others))
        said += f" {name}: {str(element.attrib)[:100]}"
    elif change == "renamed":
        element.tag = rng.choice(
            ("robot", "mujoco", "joint", "link", "body", "include", "plugin", "x", "mimic")
        )
    elif change == "added":
        child = ElementTree.SubElement(element, rng.choice([other.tag for other in elements]))
        child.attrib.update({"count": "1000000", "file": rng.choice(HOSTILE_TEXTS), "name": "x"})
    else:
        parents = {child: parent for parent in root.iter() for child in parent}
        if element in parents:
            if change != "doubled":
                parents[element].remove(element)
            if change != "removed":
                rng.choice(
                    [other for other in elements if other not in set(element.iter())] or [root]
                ).append(element)
    return ElementTree.tostring(root), said


def change_table(path: Path, rng: random.Random) -> str:
    """Rows or a column of a Parquet file changed, so that the file itself stays whole."""
    table = pq.read_table(path)
    order = np.arange(len(table))
    name = rng.choice(table.column_names)
    place = table.column_names.index(name)
    change = rng.choice(
        ("shuffled", "halved", "doubled", "dropped", "renamed", "emptied", "retyped", "reversed")
    )
    if change == "shuffled":
        table = table.take(np.random.default_rng(rng.randrange(2**32)).permutation(order))
    elif change == "halved":
        table = table.slice(0, len(table) // 2)
    elif change == "doubled":
        table = pa.concat_tables([table, table])
    elif change == "dropped":
        table = table.drop_columns([name])
    elif change == "renamed":
        table = table.rename_columns(
            [rng.choice(HOSTILE_TEXTS) if c == name else c for c in table.column_names]
        )
    elif change == "emptied":
        table = table.set_column(place, name, pa.nulls(len(table), table.schema.field(name).type))
    elif change == "retyped":
        table = table.set_column(place, name, pa.array(["text"] * len(table)))
    else:
        table = table.take(order[::-1])
    pq.write_table(table, path)
    return f"{change} ({name})"


def change_tensors(path: Path, rng: random.Random) -> str:
    """A tensor of a safetensors file changed, so that the file itself stays whole."""
    tensors = load_file(path)
    name = rng.choice(sorted(tensors))
    change = rng.choice(("nan", "inf", "removed", "renamed", "reshaped", "retyped", "huge", "added"))
    value = tensors[name]
    if change in ("nan", "inf", "huge") and value.numel() and value.is_floating_point():
        value.view(-1)[rng.randrange(value.numel())] = {"nan": torch.nan, "inf": torch.inf, "huge": 1e38}[
            change
        ]
    elif change == "removed":
        del tensors[name]
    elif change == "renamed":
        tensors[rng.choice(("x", "", f"{TRAP}.weight"))] = tensors.pop(name)
    elif change == "reshaped":
        tensors[name] = torch.cat([value.flatten(), value.flatten()])
    elif change == "retyped":
        tensors[name] = value.to(rng.choice((torch.float64, torch.int8, torch.bool, torch.bfloat16)))
    else:
        tensors["more"] = torch.zeros(3)
    save_file(tensors, path)
    return f"{change} {name}"


def change_arguments(words: Sequence[str], rng: random.Random) -> list[str]:
    """One or two words of a command line replaced, lost, doubled, moved or added."""
    words = list(words)
    for _ in range(rng.choice((1, 1, 2))):
        values = [place for place, word in enumerate(words) if place and not word.startswith("--")]
        place = rng.choice(values) if values and rng.random() < 0.7 else rng.randrange(len(words))
        change = rng.choice(("replaced",) * 6 + ("lost", "doubled", "moved", "added"))
        if change == "replaced":
            words[place] = rng.choice(HOSTILE_WORDS)
        elif change == "lost" and len(words) > 1:
            del words[place]
        elif change == "doubled":
            words.insert(place, words[place])
        elif change == "moved":
            words.insert(rng.randrange(len(words)), words.pop(place))
        else:
            words.insert(place, rng.choice(HOSTILE_WORDS))
    return words
