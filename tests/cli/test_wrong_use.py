"""Options that mean nothing, empty ones and impossible numbers: one sentence and exit code 2, before any work."""

from __future__ import annotations

import argparse
import shlex

import pytest

from pyprof.cli import options
from pyprof.cli.main import main

LONG = "a" * 300
ESCAPES = "a\x1b[2Jb\x07\u202ec\x9bd"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("profile bert --length 0", "--length must be at least 1, not 0"),
        ("profile bert --length -1", "--length must be at least 1, not -1"),
        ("profile bert --length 1.5", "--length must be a whole number, not '1.5'"),
        ("profile bert --length 99999999999", "--length must be at most 2147483647"),
        (f"profile bert --length {'9' * 5000}", "--length must be a whole number, not '999"),
        ("profile bert --batch 0", "--batch must be at least 1, not 0"),
        ("profile bert --batch 99999999999", "--batch must be at most 2147483647, not 99999999999"),
        ("overhead bert --batch 99999999999", "--batch must be at most"),
        ("compare bert bert --batch 0", "--batch must be at least 1"),
        *(
            (f"{command} --seconds {seconds}", "--seconds")
            for command in ("profile bert", "overhead bert", "compare bert bert", "attention", "env --check")
            for seconds in ("-1", "0", "nan", "inf", "-inf", "1e400", "1e300", "soon", "''")
        ),
        *((f"attention --tolerance {value}", "--tolerance must be") for value in ("nan", "inf", "0", "-1", "1e9", "x")),
        ("attention --threads 999999", "--threads must be from 1 to 4096, not 999999"),
        ("attention --threads 0", "--threads must be from 1 to 4096, not 0"),
        ("attention --heads 0", "--heads must be at least 1"),
        ("attention --head-dim 1e9", "--head-dim must be a whole number"),
        ("attention --lengths ''", "--lengths must name at least one"),
        ("attention --windows ,", "--windows must name at least one"),
        ("attention --impls ''", "--impls must name at least one"),
        ("study --threads 999999 --dry-run", "--threads must be from 1 to 4096, not 999999"),
        ("study --seed -1 --dry-run", "--seed must be at least 0, not -1"),
        ("study --seed 1e3 --dry-run", "--seed must be a whole number"),
        ("study --batch-limit 0 --dry-run", "--batch-limit must be at least 1"),
        ("study --models '' --dry-run", "--models must name at least one, such as a,b, not ''"),
        ("study --models , --dry-run", "--models must name at least one"),
        ("study --modes '' --dry-run", "--modes must name at least one"),
        ("study --metrics ' ' --dry-run", "--metrics must name at least one"),
        ("study --attention '' --dry-run", "--attention must name at least one"),
        ("study '' --dry-run", "STUDY must not be empty"),
        ("study ' ' --dry-run", "STUDY must not be empty"),
        ("study -o '' --dry-run", "-o/--output must not be empty"),
        ("study --device '' --dry-run", "--device must not be empty"),
        ("study --time-budget inf --dry-run", "'inf' is not a duration"),
        ("study --time-budget 1e300 --dry-run", "time_budget must be a time or a size that can be had"),
        ("study --timeout nan --dry-run", "'nan' is not a duration"),
        ("study --memory-budget 1e30 --dry-run", "memory_budget must be a time or a size that can be had"),
        ("study --weights bert=/nonexistent --dry-run", "the weights of bert are not there: check the path"),
        ("study --weights bert= --dry-run", "MODEL=PATH"),
        ("study --weights vit=no/such/file.safetensors --dry-run", "the weights of vit are not there"),
        ("study --lengths '' --dry-run", "--lengths must not be empty"),
        ("study --lengths 99999999999 --dry-run", "values must be at most"),
        ("profile ''", "MODEL must not be empty"),
        ("overhead ' '", "MODEL must not be empty"),
        ("compare '' bert", "A must not be empty"),
        ("compare bert ''", "B must not be empty"),
        ("report ''", "DIR must not be empty"),
        ("profile bert --weights ''", "--weights must not be empty"),
        ("profile my_model:f --inputs ''", "--inputs must not be empty"),
        (f"report {LONG}", "File name too long"),
        (f"study {LONG}", "File name too long"),
        (f"study {LONG}.toml", "File name too long"),
        (f"study --in-process -o {LONG}", "File name too long"),
        (f"profile {LONG}", "File name too long"),
        (f"compare {LONG} {LONG}", "File name too long"),
        ("report /dev/null", "holds no run"),
        ("study /dev/null --dry-run", "lacks the key 'name'"),
        ("study . --dry-run", "Is a directory"),
        ("profile bert --lenght 3", "there is no option '--lenght': did you mean '--length'?"),
        ("study --dryrun", "there is no option '--dryrun': did you mean '--dry-run'?"),
        ("profile bert --device=--", "--device: expected one argument"),
        ("attention --impl=--", "--impl: expected one argument"),
        ("report", "the following arguments are required: DIR"),
        ("", "the following arguments are required: COMMAND"),
        ("profil", "invalid choice: 'profil'"),
        ("profile bert --mode fast", "invalid choice: 'fast'"),
        (f"profile bert --mode={'9' * 5000}", "invalid choice: '999"),
        ("overhead bert --mode '" + 500 * 'it is "fast" ' + "'", "invalid choice: 'it is"),
        (f"profile bert --json={'9' * 5000}", "ignored explicit argument '999"),
        (f"env --check={'9' * 5000}", "ignored explicit argument '999"),
        ("9" * 5000, "invalid choice: '999"),
        *(
            (f"{command}={share}", "is not a share: write 3% or 0.03")
            for command in ("study --dry-run --precision", "compare bert bert --precision", "compare a b --fail-over")
            for share in ("5", "-5%", "nan", "5%%", "''", "1e400%")
        ),
        ("study --dry-run --precision 0%", "--precision must be above 0 and below 1, not 0.0"),
        ("compare bert bert --precision 100%", "--precision must be above 0 and below 1, not 1.0"),
        (f"study '{ESCAPES}'", r"there is no study 'a\x1b[2Jb\x07\u202ec\x9bd'"),
        (f"profile '{ESCAPES}'", r"there is no model 'a\x1b[2Jb\x07\u202ec\x9bd'"),
        (f"report '{ESCAPES}'", r"a\x1b[2Jb\x07\u202ec\x9bd holds no run"),
        (f"compare '{ESCAPES}' bert", r"there is no model 'a\x1b[2Jb\x07\u202ec\x9bd'"),
        (f"study --dry-run --time-budget '{ESCAPES}'", r"\x1b[2Jb"),
        (f"profile bert --{ESCAPES}", r"there is no option '--a\x1b[2Jb"),
    ],
)
def test_it_is_one_sentence_and_exit_code_2(capsys, tmp_path, monkeypatch, line, words):

    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("pyprof: ")
    assert len(err.splitlines()) == 1
    assert err.rstrip("\n").isprintable()
    assert len(err) < 700
    assert words in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["5%", "5 %", "0.05", ".05", " 5% ", "5e-2", "5.0%"])
def test_a_share_is_written_alike_everywhere(text):
    from pyprof.records.study import parse

    assert options.precision(text) == options.share(text) == 0.05
    block = {"vanilla": "bert", "lengths": [128]}
    study = parse({"name": "mine", "comparison": [block], "measure": {"precision": text}}, "mine")
    assert study.care.precision == 0.05


def test_times_may_have_units():
    assert [options.seconds(text) for text in ("3", "500 ms", "2min")] == [3.0, 0.5, 120.0]


def test_every_number_of_the_command_line_has_a_type_that_knows_its_range():
    """No option may take a bare int or float: `int` lets -1 through, and `float` NaN."""
    from pyprof.cli.main import build_parser

    waiting, seen = [build_parser()], 0
    while waiting:
        parser = waiting.pop()
        for action in parser._actions:
            assert action.type not in (int, float), action.option_strings
            seen += 1
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
    assert seen > 80
