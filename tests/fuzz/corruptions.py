"""What can be wrong with a file: bytes, lines, values and names of JSON, and the file itself."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

DEEP = "[" * 50_000 + "]" * 50_000
# Written as JSON, since most of them are what no library writes.
VALUES = (
    "null", "true", "false", "0", "-1", "1", "-0.0", "0.5", "1e400", "-1e400", "1e308", "1e-308", "5e-324", "NaN",
    "Infinity", "-Infinity", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" * 400,
    "1" * 5000, '""', '" "', '"text"', '"1"', '"\\u0000"', '"\\u001b[2J\\u0007\\u009b31m"', '"\\ud800"', '"\\u202e"',
    '"[red]x[/red] [/]"', '"a\\nb"', f'"{"x" * 5000}"', '"largest"', '"cuda:0"', '"../../etc"', "[]", "{}", "[[]]",
    "[{}]", "[null]", "[0]", "[1, 2]", '{"": 1}', '{"a": {"a": {"a": {}}}}', '["a", "a"]', "[" * 30 + "]" * 30, DEEP,
)  # fmt: skip
BYTES = (b"\x00", b"\xff", b"\x1b[2J", b"\n", b"\r", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\xe2\x80\xae")
Place = tuple[Any, Any]


def spoil_bytes(random: random.Random, content: bytes) -> bytes:
    """A few bytes changed, left out, put in or doubled; or the end torn off."""
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        content = _spoiled_at(random, content, random.randrange(len(content) + 1), random.choice((1, 1, 2, 8, 64, 500)))
    return content


def _spoiled_at(random: random.Random, content: bytes, at: int, size: int) -> bytes:
    return random.choice(
        (
            content[:at] + bytes([random.randrange(256)]) + content[at + 1 :],
            content[:at] + content[at + size :],
            content[:at] + random.choice(BYTES) + content[at:],
            content[: at + size] + content[at:],
            content[:at],
        )
    )


def spoil_encoding(random: random.Random, content: bytes) -> bytes:
    """The whole text in another encoding, with other ends of lines, or something else altogether."""
    text = content.decode(errors="replace")
    return random.choice(
        (
            lambda: text.encode("utf-16"),
            lambda: text.encode("utf-32"),
            lambda: b"\xef\xbb\xbf" + content,
            lambda: text.replace("\n", "\r\n").encode(),
            lambda: text.replace("\n", "\r").encode(),
            lambda: b"",
            lambda: b"\n" * 50,
            lambda: b"\x00" * 1000,
            lambda: DEEP.encode(),
            lambda: random.randbytes(500),
            lambda: content[::-1],
            lambda: content + content,
        )
    )()


def places(data: Any) -> list[Place]:
    """Every item of every object and list within, as its container and its key or index."""
    found: list[Place] = []
    waiting = [data]
    while waiting:
        item = waiting.pop()
        keys = item if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            found.append((item, key))
            waiting.append(item[key])
    return found


def spoil_value(random: random.Random, text: str) -> str:
    """One JSON text with something in it changed that leaves it (mostly) JSON."""
    data = json.loads(text)
    marks: dict[str, str] = {}
    for _ in range(random.choice((1, 1, 1, 1, 2, 3))):
        found = places(data)
        if not found:
            break
        # Names of fields first: a run has far more samples than fields, and all samples are alike.
        container, key = random.choice([each for each in found if isinstance(each[0], dict)] or found)
        if isinstance(container[key], list) and container[key] and random.random() < 0.3:
            container, key = container[key], random.randrange(len(container[key]))
        action = random.choice((_other, _other, _other, _other, _scaled, _gone, _renamed, _more, _swapped))
        action(random, container, key, found, marks)
    written = json.dumps(data)
    for mark, literal in marks.items():
        written = written.replace(f'"{mark}"', literal)
    return written


def _other(random: random.Random, container: Any, key: Any, _: list[Place], marks: dict[str, str]) -> None:
    mark = f"literal {len(marks)}"
    marks[mark] = random.choice(VALUES)
    container[key] = mark


def _scaled(random: random.Random, container: Any, key: Any, *_: Any) -> None:
    value = container[key]
    if isinstance(value, int | float) and not isinstance(value, bool):
        factor = random.choice((-1, 0, 0.5, 3, 1e3, 1e-3, 1e9, 1e-9, 1e50, 1e-50, 1e58, 1e-58))
        container[key] = round(value * factor) if isinstance(value, int) and random.random() < 0.7 else value * factor
    elif isinstance(value, str):
        container[key] = value * random.choice((0, 2, 300))
    elif isinstance(value, list):
        container[key] = random.choice((value * 2, value[:-1], value[:1], value[::-1]))


def _gone(_: random.Random, container: Any, key: Any, *__: Any) -> None:
    del container[key]


def _renamed(random: random.Random, container: Any, key: Any, *_: Any) -> None:
    if isinstance(container, dict):
        value = container.pop(key)
        container[random.choice((f"{key}x", key[:-1], key.upper(), "", "\x1b[2J", "schema", "key"))] = value


def _more(random: random.Random, container: Any, key: Any, _: list[Place], marks: dict[str, str]) -> None:
    mark = f"literal {len(marks)}"
    marks[mark] = random.choice(VALUES)
    if isinstance(container, dict):
        container[random.choice(("more", "batch", "samples", "noise", "rounds", "peak", ""))] = mark
    else:
        container.insert(key, mark)


def _swapped(random: random.Random, container: Any, key: Any, found: list[Place], _: dict[str, str]) -> None:
    other, name = random.choice(found)
    value = container[key]
    # What holds the other one must not become a part of itself.
    if not any(place[0] is container for place in places(other[name])) and not isinstance(value, dict | list):
        container[key], other[name] = json.loads(json.dumps(other[name])), value


def spoil_lines(random: random.Random, content: bytes) -> bytes:
    """Values, order and number of a file's lines."""
    lines = content.decode(errors="replace").splitlines()
    if not lines:
        return content
    at = random.randrange(len(lines))
    action = random.choice(("value",) * 8 + ("twice", "gone", "order", "empty", "junk", "half", "joined"))
    if action == "value":
        lines[at] = spoil_value(random, lines[at])
    elif action == "twice":
        lines.insert(random.randrange(len(lines)), lines[at])
    elif action == "gone":
        del lines[at]
    elif action == "order":
        random.shuffle(lines)
    elif action in ("empty", "junk"):
        lines.insert(at, "" if action == "empty" else random.choice(VALUES))
    elif action == "half":
        lines[at] = lines[at][: random.randrange(len(lines[at]) + 1)]
    else:
        lines[at : at + 2] = ["".join(lines[at : at + 2])]
    return "\n".join(lines).encode() + b"\n" * random.choice((1, 1, 1, 0))


def spoil_document(random: random.Random, content: bytes) -> bytes:
    """A value of a JSON document."""
    return spoil_value(random, content.decode()).encode()


# What a key may just hold, or may just not: most other values are refused at once, and nothing is planned with them.
NEAR = {
    "precision": ("1e-300", "0.999999", '"99.9%"', "1e-9"),
    "min_samples": ("1", "1000000", "20"),
    "max_samples": ("6", "1000000", "1000001"),
    "max_seconds": ("1e9", "1e-300", '"1 ns"'),
    "timeout": ("1e-12", '"30 d"'),
    "time_budget": ("1e9", "1e-300", '"1 s"', '"365 d"', "1e9"),
    "memory_budget": ("1", '"8 TiB"', "9223372036854775807", '"0.5 B"'),
    "batch_limit": ("1", "2147483647"),
    "threads": ("1", "4096"),
    "seed": ("0", "9223372036854775807"),
    "metrics": ('["latency"]', '["throughput"]', '["parameters", "latency"]', '["os:getcwd"]', '["json:dumps"]'),
    "modes": ('["train"]', '["train", "infer"]', '["prefill", "generate"]'),
    "dtype": ('"float16"', '"bfloat16"', '"usual"'),
    "launches": ('["graph"]', '["graph", "eager"]', '["eager", "eager"]'),
    "device": ('"auto"', '"cuda:0"', '"tpu"', '"cuda:99999999999999999999"'),
    "size": ('"base"', '"tiny"'),
    "optimizer": ('"adamw"', '"sam"'),
    "optimizers": ('["sgd", "adamw"]', '["sam"]'),
    "costs": ('{ intensity = "380 g/kWh" }', '{ price = "-1 USD/h" }', '{ queries = 9223372036854775807 }', '"free"'),
    "loader": ('"json:loads"', '"no.such:thing"', '"nothing"'),
    "allocator": ('"keep"', '"jemalloc"', '"tcmalloc"'),
    "name": ('"a/b"', '".."', '"name with words"', f'"{"n" * 300}"'),
    "vanilla": ('"hubert"', '"swin"', '"vit"', '"json:dumps"', '"no.such:thing"', '"."', '"/dev/null"'),
    "variants": ("[]", '["l-hubert"]', '["bert"]', '["swin", "vit"]', '["json:loads"]', '["/"]'),
    "implementations": ('["now"]', '["sdpa/eager"]', '["/"]', '["then/"]', '["own"]', '["now", "then", "now/then"]'),
    "lengths": (
        "[1]", "[131072]", "[2147483647]", "[224]", "[512, 128]", "{ start = 1, stop = 131072, step = 14 }",
        "{ start = 128, stop = 4096, step = 1, auto = true }", "{ values = [128, 4096], auto = true, tolerance = 1 }",
        "{ start = 128, stop = 4096, step = 64, auto = true, tolerance = 9223372036854775807 }",
        "{ start = 32, stop = 10000, step = 1 }",
    ),
}  # fmt: skip


def spoil_toml(random: random.Random, content: bytes) -> bytes:
    """Values, keys and lines of a TOML file."""
    literals = (
        "0", "-1", "1", "2", "1.5", "nan", "inf", "-inf", "1e400", "1e-400", "9" * 400, "9" * 5000, "true", '""', '" "',
        '"text"', '"8 min"', '"5%"', '"1e400 s"', '"-3 s"', '"infer"', '"bert"', '"\\u001b[2J"', '"\\u202e"', "[]",
        "{}", "[[]]", "[1, 1]", '["bert"]', '["infer", "infer"]', "[{}]", "{ a = 1 }",
        "{ start = 1, stop = 9, step = 0 }",
        "{ start = 1, stop = 10000000000, step = 1 }", "{ values = [1], auto = true }", "2026-01-01", "0x10",
        "{ bert = \"/nonexistent\" }", DEEP, "[" * 300 + "]" * 300, '"no.such:factory"', '"cuda"', '"a\\nb"',
    )  # fmt: skip
    lines = content.decode().splitlines()
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        at = random.randrange(len(lines))
        key, equals, value = lines[at].partition("=")
        near = NEAR.get(key.strip())
        literal = random.choice(near if near and random.random() < 0.6 else literals)
        action = random.choice(("value",) * (20 if near else 6) + ("key", "gone", "twice", "table", "junk"))
        if action == "value" and equals:
            inner = value.strip().startswith(("[", "{")) and random.random() < 0.4
            lines[at] = f"{key}= {_within(random, value, literal) if inner else literal}"
        elif action == "key" and equals:
            other = random.choice((key.strip() + "x", key.strip()[:-1], "", '""', "name", "seed"))
            lines[at] = f"{other} = {value}"
        elif action == "gone":
            del lines[at]
        elif action == "twice":
            lines.insert(random.randrange(len(lines)), lines[at])
        elif action == "table":
            tables = (
                "[measure]",
                "[[comparison]]",
                "[weights]",
                "[families]",
                "[x]",
                "[[]]",
                "[allocators]",
                "[dtypes]",
            )
            lines.insert(at, random.choice(tables))
        else:
            lines.insert(at, random.choice((literal, f"{literal} = 1", f"x = {literal}", f"threads = {literal}")))
        if not lines:
            break
    return "\n".join(lines).encode() + b"\n"


def _within(random: random.Random, value: str, literal: str) -> str:
    parts = value.split(",")
    at = random.randrange(len(parts))
    head, equals, _ = parts[at].partition("=")
    ends = [letter for letter in "]}" if parts[at].rstrip().endswith(letter)]
    opens = [letter for letter in "[{" if parts[at].lstrip().startswith(letter)]
    parts[at] = f"{head}= {literal}" if equals else f"{''.join(opens)}{literal}"
    parts[at] += "".join(ends)
    return ",".join(parts)


def spoil_file(random: random.Random, path: Path) -> None:
    """The file itself: gone, a directory, a link to itself or to nothing, or a device."""
    path.unlink()
    random.choice(
        (
            lambda: None,
            path.mkdir,
            lambda: path.symlink_to(path.name),
            lambda: path.symlink_to("/dev/null"),
            lambda: path.symlink_to("a" * 200),
            lambda: shutil.copy(path.parent / "study.toml", path) if path.name != "study.toml" else None,
        )
    )()


def spoil_tables(random: random.Random, path: Path) -> None:
    """A value, a name, a row or a table of an SQLite file."""
    odd = (
        None,
        -1,
        0,
        1,
        2**62,
        -(2**63),
        1.5,
        1e308,
        "",
        "text",
        "\x1b[2J",
        "\udcff".encode(errors="surrogateescape"),
    )
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            table = random.choice(names)
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            rows = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            row, column = random.randrange(rows + 1), random.choice(columns)
            statement = random.choice(
                (
                    *[f"UPDATE {table} SET {column} = ? WHERE rowid = {row}"] * 6,
                    f"UPDATE {table} SET {column} = ?",
                    f"DELETE FROM {table} WHERE rowid = {row}",
                    f"DELETE FROM {table}",
                    f"INSERT INTO {table} SELECT * FROM {table} WHERE rowid = {row}",
                    f"ALTER TABLE {table} RENAME COLUMN {column} TO {column}x",
                    f"DROP TABLE {table}",
                )
            )
            # What the table's own rules refuse stays as it is.
            with suppress(sqlite3.Error):
                connection.execute(statement, (random.choice(odd),) if "?" in statement else ())
            names = [name for name in names if statement != f"DROP TABLE {name}"]
        connection.commit()


def spoil_run(random: random.Random, directory: Path) -> str:
    """Spoil a run directory in one way, and say how."""
    name = random.choice(("records.jsonl",) * 8 + ("resolved.json", "resolved.json", "environment.json", "study.toml"))
    path = directory / name
    if not path.exists():  # a run of schema 1 has no resolved.json
        name, path = "records.jsonl", directory / "records.jsonl"
    how = random.choices(("value", "bytes", "encoding", "file"), (10, 4, 1, 1))[0]
    if how == "file":
        spoil_file(random, path)
        return f"{name}: file"
    by_kind: dict[str, Callable[[random.Random, bytes], bytes]] = {".jsonl": spoil_lines, ".json": spoil_document}
    spoil = {
        "value": by_kind.get(path.suffix, spoil_toml),
        "bytes": spoil_bytes,
        "encoding": spoil_encoding,
    }[how]
    path.write_bytes(spoil(random, path.read_bytes()))
    return f"{name}: {how}"
