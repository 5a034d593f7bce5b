"""How the numbers were taken: machine, noise, precision, what failed and why, and what was published."""

from __future__ import annotations

from collections.abc import Iterable

from pyprof.quantity import format_bytes, format_longer, format_seconds
from pyprof.records.environment import Environment
from pyprof.records.study import Study
from pyprof.report.page.markup import Markup, Part, grid, tag
from pyprof.report.style import batch_words, length_range, plural
from pyprof.report.trust import trust_lines
from pyprof.report.view import View

_CLASSES = {"trust": "good", "trust with care": "care", "do not trust": "bad"}


def taken(view: View, study: Study, environments: Iterable[Environment]) -> list[Part]:
    """All about how one run came about; of several environments, each in turn."""
    return [
        *_judgement(view),
        *(tag("p", tag("span", "Warning: ", class_="care"), warning) for warning in view.warnings),
        _precision(study),
        _probed(view),
        *map(_machine, environments),
        *_missing(view),
        *_notes(view),
    ]


def _judgement(view: View) -> Iterable[Markup]:
    if view.trust is None or view.quiet is None:
        yield tag("p", "The records tell nothing of what disturbed them.")
        return
    first, *rest = (line.plain for line in trust_lines(view.trust, view.quiet))
    yield tag("p", tag("span", first, class_=_CLASSES[view.trust.level]))
    yield from (tag("p", line) for line in rest)


def _precision(study: Study) -> Markup:
    care = study.care
    return tag(
        "p",
        f"Figures are medians of {length_range(care.min_samples, care.max_samples)} samples after a warm-up, in rounds "
        "taken in turn with what they are compared with, until the 95 % interval is within "
        f"±{100 * care.precision:g} %, or "
        f"{format_seconds(care.max_seconds)} are over; a case may take {format_seconds(care.timeout)}. "
        f"Seed {study.seed}, {study.dtype}, {study.size} size.",
    )


def _probed(view: View) -> Markup | None:
    if view.probed is None:
        return None
    typical, most = map(format_longer, (view.probed.typical, view.probed.most))
    return tag(
        "p",
        f"Times of layers are of steps with probes, which took {typical} than those without (median of "
        f"{plural(view.probed.cases, 'case')}; {most} at most); no other figure is of these.",
    )


def _machine(environment: Environment) -> Markup:
    facts: list[tuple[str, Part]] = [
        ("processor", environment.cpu),
        ("cores", f"{environment.threads} of {environment.cores}"),
        ("pinned to", environment.pinned),
        ("memory", format_bytes(environment.memory_bytes)),
        ("GPUs", ", ".join(f"{gpu.name} ({format_bytes(gpu.memory_bytes)})" for gpu in environment.gpus) or None),
        ("system", f"{environment.system} {environment.kernel}, {environment.architecture}"),
        ("Python", environment.python),
        ("torch", environment.torch),
        ("transformers", environment.transformers),
        ("pyprof", environment.pyprof),
        ("instruction set", environment.cpu_capability),
        ("BLAS, oneDNN", ", ".join(filter(None, (environment.blas, environment.onednn)))),
        ("CUDA, cuDNN, driver", ", ".join(filter(None, (environment.cuda, environment.cudnn, environment.driver)))),
        ("allocator", environment.allocator),
        ("fingerprint", environment.fingerprint),
    ]
    return grid(["what", "value"], [(name, value) for name, value in facts if value], caption="Machine and software")


def _missing(view: View) -> Iterable[Markup]:
    if not view.omitted:
        yield tag("p", "Nothing that was asked for is missing.")
        return
    rows = [
        (
            "no figure" if each.status == "ok" else each.status,
            f"{(each.title or each.metric or '').lower()} of " * bool(each.metric) + plural(each.cases, "case"),
            ", ".join(each.subjects),
            f"{each.mode}{batch_words(each.batch)}",
            f"{length_range(each.shortest, each.longest)} {each.unit}s",
            each.reason + (" (the numbers differ)" if each.alike else ""),
        )
        for each in view.omitted
    ]
    yield grid(["status", "what", "models", "mode", "lengths", "why"], rows, caption="What is missing, and why")


def _notes(view: View) -> Iterable[Markup]:
    if view.notes:
        said = [
            tag("li", f"{note.text} ({plural(note.cases, 'case')}{', the numbers differ' if note.alike else ''})")
            for note in view.notes
        ]
        yield tag("h4", "Noted")
        yield tag("ul", said)
