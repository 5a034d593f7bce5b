from __future__ import annotations

import pytest

from pyprof.errors import UsageError
from pyprof.quantity import format_bytes, format_count, format_longer, format_seconds, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90 s", 90),
        ("8 min", 480),
        ("1.5h", 5400),
        ("2 Hours", 7200),
        ("250ms", 0.25),
        ("3 µs", 3e-6),
        (".5", 0.5),
        (7, 7),
    ],
)
def test_durations_are_read(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2 GiB", 2 * 2**30),
        ("2GB", 2 * 10**9),
        ("512 mib", 2**29),
        ("1.5 KiB", 1536),
        ("17", 17),
        (2**40, 2**40),
        ("0 B", 0),
    ],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "s", "-3 s", "1e999 s", "nan", "inf", "3 s 4", "3,5 s", "1e400"])
def test_what_is_no_duration_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration") as caught:
        parse_duration(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["-1 B", "many", "5 s"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


def test_a_mistyped_unit_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'min'"):
        parse_duration("8 mn")
    with pytest.raises(UsageError, match="did you mean 'GiB'"):
        parse_size("3 GiBs")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (32e-9, "32.0 ns"),
        (1.234e-6, "1.23 µs"),
        (12.34e-3, "12.3 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (1.53, "1.53 s"),
        (-1.53, "-1.53 s"),
        (65.44, "65.4 s"),
        (119.4, "119 s"),
        (119.6, "2 min"),
        (312.2, "5 min 12 s"),
        (3599.7, "1 h"),
        (7380, "2 h 03 min"),
        (-7380, "-2 h 03 min"),
    ],
)
def test_seconds_are_written_with_three_digits(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (17_301_504, "16.5 MiB"),
        (2**29, "512 MiB"),
        (1.2 * 2**30, "1.20 GiB"),
    ],
)
def test_bytes_are_written_in_binary_units(size: float, text: str) -> None:
    assert format_bytes(size) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (999.6, "1.0 k"),
        (1200, "1.2 k"),
        (999_960, "1.0 M"),
        (109_482_240, "109.5 M"),
        (1.3e9, "1.3 G"),
    ],
)
def test_counts_are_written_in_powers_of_a_thousand(count: float, text: str) -> None:
    assert format_count(count) == text


@pytest.mark.parametrize("value", [3.14e-8, 5.5e-5, 0.0123, 1.53, 59.9])
def test_a_written_time_reads_back_as_itself(value: float) -> None:
    assert parse_duration(format_seconds(value)) == pytest.approx(value, rel=0.005)


@pytest.mark.parametrize("value", [100, 2**15 + 3, 3 * 2**28, 5 * 2**40])
def test_a_written_size_reads_back_as_itself(value: int) -> None:
    assert parse_size(format_bytes(value)) == pytest.approx(value, rel=0.005)


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (1.0031, "0.31 % longer"),
        (1.0, "0.00 % longer"),
        (0.99999, "0.00 % longer"),
        (0.524, "47.6 % shorter"),
        (1.125, "12.5 % longer"),
        (3.0, "200 % longer"),
    ],
)
def test_a_ratio_says_whether_it_is_longer_or_shorter(ratio: float, said: str) -> None:
    assert format_longer(ratio) == said
