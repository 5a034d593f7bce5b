"""Command lines at random: every command, every option, values that make sense and values that do not."""

from __future__ import annotations

import random
from argparse import ArgumentParser, _SubParsersAction

from pyprof.cli.main import build_parser

ODD = (
    "", " ", "0", "-1", "1", "2", "4.5", "nan", "inf", "-inf", "1e400", "1e-400", "99999999999", "9" * 5000, "x", ",",
    "a,b", "bert", "bert,bert", "5%", "500%", "-5%", "5", "0.05", "3 s", "8 min", "1e300", "2 GiB", "1e30", "true",
    "a\x1b[2Jb", "\u202e", "\udcff", "[red]x", "a" * 300, "/nonexistent", "/dev/null", ".", "no.such:thing",
    "json:dumps", "os:getcwd", "sys:exit", ":", "a:b:c", "--", "-", "bert/eager", "bert=", "bert=/nonexistent",
    "16:4:-1",
    "4:16:4",
    "auto", "cuda", "cuda:99", "cpu", "cpu:1", "0-", "0,0", "9999", "float16", "infer", "train", "tiny", "latency",
)  # fmt: skip
# Of a command that is not here, which may take long, the options are tried and nothing is done.
OPERANDS = {
    "study": ("STUDY", "quick", "diwan2023"),
    "report": ("RUN", "RUN", "BROKEN"),
    "status": ("RUN", "RUN", "BROKEN"),
    "merge": ("RUN", "RUN", "BROKEN"),
    "export": ("RUN", "RUN", "BROKEN"),
    "advise": ("RUN", "RUN", "BROKEN"),
    "compare": ("RUN", "RUN", "BROKEN", "bert", "bert/eager"),
    "profile": ("bert", "vit", "swin", "BROKEN"),
    "nsys": ("EXPORT", "EXPORT", "STUDY", "/dev/null"),
    "kineto": ("TRACE", "TRACE", "EXPORT", "/dev/null"),
    "match": ("bert", "vit", "swin"),
    "attention": (),
    "models": (),
    "env": (),
}
# What sense looks like, where a random value would hardly ever be it; and nothing that takes long.
SENSE = {
    "--length": ("8", "16", "32"), "--batch": ("1", "2"), "--seconds": ("0.01", "10 ms"), "--lengths": ("16", "8,16"),
    "--windows": ("2", "2:0"), "--heads": ("1", "2"), "--head-dim": ("8", "16"), "--threads": ("1", "2"),
    "--models": ("bert", "bert,vit"), "--metrics": ("latency",), "--attention": ("now", "then", "best", "eager"),
    "--impls": ("sdpa", "auto", "reference,sdpa"), "--dtypes": ("float32", "bfloat16"), "--modes": ("infer", "forward"),
    "--tolerance": ("2",), "--precision": ("5%", "0.1"), "--fail-over": ("3%", "0.5"), "--seed": ("1",),
    "--time-budget": ("1 s", "1 min"), "--timeout": ("1 min",), "--memory-budget": ("1 GiB",), "--tools": ("pyprof",),
    "--device": ("cpu",), "--pin": ("0",), "--dtype": ("float32",), "--launch": ("eager",), "--allocator": ("default",),
    "--batch-limit": ("2",), "--optimizer": ("none", "sgd,sam"), "--weights": ("bert=/dev/null",), "--size": ("tiny",),
    "--mode": ("infer", "train", "generate"), "--intensity": ("380 g/kWh", "much"), "--price": ("2.50 USD/h", "3"),
    "--queries": ("1000",), "--examples": ("10",), "--loader": ("json:loads",),
}  # fmt: skip
# Always given, so that a line which makes sense takes no time; a second one of the same name may follow.
CHEAP = {
    "match": ("--to", "vit", "--size", "tiny", "--length", "32", "--seconds", "0.1", "--by", "parameters"),
    "advise": ("--lengths", "100,20"),
    "merge": ("-o", "NEW"),
    "study": ("--dry-run", "--size", "tiny"),
    "profile": ("--size", "tiny", "--length", "32", "--seconds", "0.01"),
    "compare": ("--size", "tiny", "--length", "16", "--seconds", "0.05"),
    "attention": ("--lengths", "16", "--windows", "2", "--heads", "1", "--head-dim", "8", "--seconds", "0.01"),
    "env": ("--check", "--seconds", "0.01"),
}


def _commands() -> dict[str, ArgumentParser]:
    (action,) = (each for each in build_parser()._actions if isinstance(each, _SubParsersAction))
    return dict(action.choices)


def line(random: random.Random, paths: dict[str, str]) -> list[str]:
    """One command line; `paths` has what RUN, BROKEN and STUDY stand for."""
    commands = _commands()
    name = random.choice([*commands] * 8 + ["", "profil", "--version", "--help", "\x1b[2J"])
    if name not in commands:
        return [name, *random.choices(ODD, k=random.randrange(3))]
    options = [action for action in commands[name]._actions if action.option_strings]
    arguments = [name, *_operands(random, name)]
    if name not in ("report", "models") and not (name == "compare" and "RUN" in arguments):
        arguments += CHEAP.get(name, ())
    for _ in range(random.choice((0, 1, 1, 1, 2, 2, 3))):
        action = random.choice(options)
        option = random.choice(action.option_strings)
        if option in ("-h", "--help", "-o", "--output", "--resume") and random.random() < 0.8:
            continue
        value = random.choice(SENSE.get(option, ODD) if random.random() < 0.35 else ODD)
        if action.nargs == 0:
            arguments.append(option if random.random() < 0.95 else f"{option}={value}")
        elif random.random() < 0.95:
            arguments += [f"{option}={value}"] if random.random() < 0.6 else [option, value]
        else:
            arguments.append(option)
    if random.random() < 0.05:
        arguments.append(random.choice(ODD))
    if name not in OPERANDS:
        arguments.append("--help")
    return [paths.get(argument, argument) for argument in arguments]


def _operands(random: random.Random, name: str) -> list[str]:
    count = {
        "study": 1,
        "report": 1,
        "export": 1,
        "status": 1,
        "merge": 2,
        "advise": 1,
        "compare": 2,
        "match": 1,
        "profile": 1,
        "overhead": 1,
        "gate": 1,
        "nsys": 1,
        "kineto": 1,
    }.get(name, 0)
    count += random.choice((0,) * 12 + (1, -1))
    sense = OPERANDS.get(name) or ("bert",)
    return [random.choice(sense if random.random() < 0.75 else ODD) for _ in range(max(count, 0))]
