"""All that a renderer of a run may see: computed, sorted, in plain numbers with their units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pyprof.analysis.arena import ArenaTable
from pyprof.analysis.arena_scores import ArenaScores
from pyprof.analysis.case_columns import CaseColumns
from pyprof.analysis.growth import GrowthLine
from pyprof.analysis.noise import RunNoise
from pyprof.analysis.omitted import Note, Omission
from pyprof.analysis.probed_steps import ProbedSteps
from pyprof.analysis.published import Agreement, Side
from pyprof.analysis.ranking import Longer
from pyprof.analysis.ranks import RankedCase
from pyprof.analysis.ratio import RatioPoint
from pyprof.analysis.shares import ShareRow
from pyprof.analysis.speech_rates import SpeechRates
from pyprof.analysis.system_time import SystemSummary
from pyprof.analysis.tipping import Tipping
from pyprof.analysis.usage import Usage
from pyprof.printing import ShownInNotebook
from pyprof.records.comparison import Comparison
from pyprof.records.costs import Costs
from pyprof.records.indicator import IndicatorFacts, OfIndicator
from pyprof.records.published import DataSet, TippingFinding
from pyprof.records.trust import Judgement
from pyprof.report.view_column import Column as Column
from pyprof.report.view_disagreement import DisagreementLine
from pyprof.report.view_printed import PrintedFigure

SCHEMA = 2


@dataclass(frozen=True)
class Cell:
    """One figure in the table's unit with its 95 % interval, or the status that stands in its place.

    `status` is None where the case was never asked for. `cheaper_in` names the comparisons in which the interval of the
    ratio to the vanilla model shows that this costs less. `launch_bound` says of a latency that the device works for
    less than half of it. `detail` holds what belongs to the figure: a batch, say.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    status: str | None = None
    cheaper_in: tuple[str, ...] = ()
    launch_bound: bool = False
    detail: Mapping[str, float | int | str] | None = None


@dataclass(frozen=True)
class TableRow:
    length: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table(OfIndicator):
    """One indicator over length in one mode: a row for each length, a column for each model and implementation.

    `unit` is the indicator's. `setting` names in words what tells this table from the
    others of its indicator and mode; empty where nothing does. `counted` says that the figures are exact, so that they
    need no interval. `brief` are the indices of the rows that a short print shows, and `compared` the number of
    comparisons that each column takes part in as the variant.
    """

    indicator: IndicatorFacts
    unit: str
    length_unit: str
    mode: str
    setting: str
    counted: bool
    columns: tuple[Column, ...]
    compared: tuple[int, ...]
    rows: tuple[TableRow, ...]
    brief: tuple[int, ...]


@dataclass(frozen=True)
class ShareChartRow:
    """The shares at one length in each mode that was measured there."""

    length: int
    modes: Mapping[str, ShareRow]


@dataclass(frozen=True)
class ShareChart:
    """Where a model's time goes over length; `brief` as in a table, `device` is what the model ran on."""

    column: Column
    setting: str
    rows: tuple[ShareChartRow, ...]
    brief: tuple[int, ...]
    device: str = "cpu"


@dataclass(frozen=True)
class ShareLine:
    """The mean share of latency outside self-attention below a length, beside the published one (of 1)."""

    comparison: str
    mode: str
    setting: str
    share: float
    below: int
    models: tuple[str, ...]
    shortest: int
    longest: int
    published: float


@dataclass(frozen=True)
class Placement:
    """Where a data set's mean length lies with respect to a tipping point."""

    data_set: str
    length: int
    side: Side


@dataclass(frozen=True)
class TippingLine(OfIndicator):
    """One tipping point with the ratios behind it, beside the published one.

    `time_was_up`: there is no answer because the study's time ended before lengths that would give it.
    """

    comparison: Comparison
    indicator: IndicatorFacts
    mode: str
    setting: str
    tipping: Tipping
    shortest: int | None
    longest: int | None
    published: TippingFinding | None
    agreement: Agreement | None
    data_sets: tuple[Placement, ...]
    points: tuple[RatioPoint, ...]
    time_was_up: bool = False


@dataclass(frozen=True)
class RankingPlace:
    """A model's place in a ranking: its figure in the indicator's unit, and its cost in units of the least.

    The ratio and its 95 % interval are None for the one that costs least. `shown`: the interval, widened for the
    number of models, shows that it costs more, or it is counted and costs exactly as much.
    """

    column: Column
    value: float
    ratio: float | None
    low: float | None
    high: float | None
    shown: bool


@dataclass(frozen=True)
class RankingLine(OfIndicator):
    """What the models of one sense (`name`: then, now, ...) cost at one length in one mode, the least first.

    `leaders` are those that may cost least: one where that is `decided`, several where it is not, or where counted
    figures are equal. `allocator` hands out the host's memory, and all are of one `dtype`. `missing` are those without
    a figure, with the status in its place. `longer` says what would decide it, where more samples can.
    """

    name: str
    allocator: str
    dtype: str
    indicator: IndicatorFacts
    mode: str
    setting: str
    length: int
    places: tuple[RankingPlace, ...]
    leaders: tuple[Column, ...]
    decided: bool
    missing: tuple[tuple[Column, str], ...]
    longer: Longer | None


@dataclass(frozen=True)
class Reign:
    """Neighbouring measured lengths at which the same models may cost least: one alone where that is shown."""

    shortest: int
    longest: int
    leaders: tuple[Column, ...]


@dataclass(frozen=True)
class LeastLine(OfIndicator):
    """Which model costs least over all measured lengths, in one sense and mode."""

    name: str
    indicator: IndicatorFacts
    mode: str
    setting: str
    reigns: tuple[Reign, ...]


@dataclass(frozen=True)
class MeasureLonger:
    """What would decide the rankings that are not: the command to paste, and its predicted seconds of measuring."""

    command: str
    seconds: float


@dataclass(frozen=True)
class Axis:
    """The range of lengths that a modality is shown on, with what lies there."""

    low: int
    high: int
    data_sets: tuple[DataSet, ...]
    published: TippingFinding | None


@dataclass(frozen=True)
class FixedFigure:
    """An indicator that does not vary with the length: its lowest and highest value over the cases.

    `low` and `high` are the interval of the value where one case alone has one, None elsewhere.
    """

    indicator: IndicatorFacts
    lowest: float
    highest: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ModelLine:
    """A model's parameters: fewest and most over the lengths (positions grow with them), and shares by kind (of 1).

    `fixed` are the other indicators that do not vary with the length.
    """

    column: Column
    family: str | None
    fewest: int | None
    most: int | None
    shares: Mapping[str, float]
    fixed: tuple[FixedFigure, ...] = ()


@dataclass(frozen=True)
class ModalityView:
    """All about one modality; `unit` is what its `lengths` count. At one length there is no `tipping` and no `axis`."""

    name: str
    unit: str
    tables: tuple[Table, ...]
    shares: tuple[ShareChart, ...]
    share_lines: tuple[ShareLine, ...]
    tipping: tuple[TippingLine, ...]
    axis: Axis | None
    models: tuple[ModelLine, ...]
    rankings: tuple[RankingLine, ...] = ()
    least: tuple[LeastLine, ...] = ()
    disagreements: tuple[DisagreementLine, ...] = ()
    printed: tuple[PrintedFigure, ...] = ()
    lengths: tuple[int, ...] = ()

    @property
    def one_length(self) -> bool:
        """Whether there is one length only, so that nothing can tip."""
        return len(self.lengths) == 1


@dataclass(frozen=True)
class DifferenceLine(OfIndicator):
    """What a model costs in the run `after` in units of what it cost in the run `before`, at each common length."""

    before: str
    after: str
    column: Column
    modality: str
    unit: str
    indicator: IndicatorFacts
    mode: str
    settings: tuple[str, str]
    points: tuple[RatioPoint, ...]


@dataclass(frozen=True)
class View(ShownInNotebook):
    """A whole run: what the header needs, one part for each modality, and what is missing.

    `counts` has the number of cases by status; of the skipped ones, those that were not needed are counted apart, and
    `out_of_time` is the number of those that no time was left for. `machine` describes the machine and its software in
    one line, `started` is an ISO 8601 time in UTC, `seconds` what all cases took together. `warnings` are sentences.
    `quiet` tells how quiet the machine was, `trust` what that means for the times, and `system` what the system took of
    the steps, if the records do; `probed` what the probes cost the steps of which the layers' shares are. `cases` has
    all cases, column by column, as ``analysis.case_columns`` says. `longer` is what to measure where a headline ranking
    is not decided at the only length, `resume` the command that goes on where the study's time was up. `growth`
    tells how the costs of models whose sources claim a growth grow with the length, `arena` has the arena's models
    beside its table, `scores` what models achieve on its tasks, `speech` their word error rates. `usage` is what models
    take in all, in training and for all queries, by the `costs`. `ranks` are the processes of sharded models.
    """

    study: str
    machine: str
    started: str | None
    seconds: float
    counts: Mapping[str, int]
    source: str
    modalities: tuple[ModalityView, ...]
    omitted: tuple[Omission, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    quiet: RunNoise | None = None
    trust: Judgement | None = None
    indicators: tuple[IndicatorFacts, ...] = ()
    system: SystemSummary | None = None
    probed: ProbedSteps | None = None
    longer: MeasureLonger | None = None
    resume: str | None = None
    cases: CaseColumns = field(default_factory=dict)
    out_of_time: int = 0
    growth: tuple[GrowthLine, ...] = ()
    arena: tuple[ArenaTable, ...] = ()
    scores: tuple[ArenaScores, ...] = ()
    speech: tuple[SpeechRates, ...] = ()
    usage: tuple[Usage, ...] = ()
    ranks: tuple[RankedCase, ...] = ()
    costs: Costs = field(default_factory=Costs)
    schema: int = SCHEMA
