"""From counts to what is exposed: sums over rollups and live counts, cumulated buckets, and zeros for what is known."""

from collections import defaultdict
from collections.abc import Sequence

from prometheus_client.core import CounterMetricFamily, Exemplar, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as Family

from models import StepName
from queries import exemplars
from queries.figures import INFINITE, Count
from services.figures_catalog import METRICS, Kind, Labels, Metric, Part
from services.journey_plan import PLANS

# The record knows the step; the page says the queue it stands in, as the plan has it now.
_QUEUES = {step.name: step.queue for plan in PLANS.values() for step in plan}
_BY_QUEUE = "registration_queue_wait_seconds"


class Figures:
    """The figures of one part of the page while they are gathered."""

    def __init__(self, part: Part) -> None:
        self._metrics = {metric.name: metric for metric in METRICS if metric.part is part}
        self._values: dict[str, dict[Labels, float]] = defaultdict(dict)
        self._buckets: dict[str, dict[Labels, dict[float, int]]] = defaultdict(dict)
        self._sums: dict[tuple[str, Labels], float] = {}
        self._exemplars: dict[tuple[str, Labels, float], Exemplar] = {}
        for metric in self._metrics.values():
            for labels in metric.zeros:
                if metric.kind is Kind.HISTOGRAM:
                    self._buckets[metric.name][labels] = {}
                else:
                    self._values[metric.name][labels] = 0

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set a counter's or gauge's value."""
        self._values[name][labels] = value

    def count(self, count: Count) -> None:
        """Add events to a counter or to a histogram's bucket. A figure this release does not know is left out."""
        metric = self._metrics.get(count.figure)
        if metric is None:
            return
        labels = (str(_QUEUES[StepName(count.labels[0])]),) if count.figure == _BY_QUEUE else count.labels
        if metric.kind is Kind.COUNTER:
            values = self._values[metric.name]
            values[labels] = values.get(labels, 0) + count.events
            return
        buckets = self._buckets[metric.name].setdefault(labels, {})
        buckets[count.le] = buckets.get(count.le, 0) + count.events
        self._sums[metric.name, labels] = self._sums.get((metric.name, labels), 0) + count.sum_us

    def set_histogram(
        self, name: str, cumulated: Sequence[tuple[float, int]], sum_seconds: float, *labels: str
    ) -> None:
        """Set a histogram that was cumulated elsewhere."""
        buckets, below = {}, 0
        for bound, number in cumulated:
            buckets[bound] = number - below
            below = number
        self._buckets[name][labels] = buckets
        self._sums[name, labels] = round(sum_seconds * 1_000_000)

    def point_to(self, example: exemplars.Exemplar) -> None:
        """Let a histogram's bucket point to the trace of one of its journeys (OpenMetrics' exemplar)."""
        place = (example.figure, example.labels, example.le)
        self._exemplars[place] = Exemplar({"trace_id": example.journey_id.hex}, example.seconds, example.at.timestamp())

    def total(self, name: str, *, up_to: float = INFINITE) -> int:
        """Return how many events a counter without labels, or such a histogram up to a bound, holds."""
        if name in self._buckets:
            return sum(number for bound, number in self._buckets[name].get((), {}).items() if bound <= up_to)
        return int(self._values[name].get((), 0))

    def families(self) -> list[Family]:
        """Return the metrics of this part that have a value, in the catalogue's order."""
        made = (self._family(metric) for metric in self._metrics.values())
        return [family for family in made if family.samples]

    def _family(self, metric: Metric) -> Family:
        if metric.kind is Kind.HISTOGRAM:
            return self._histogram(metric)
        kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
        family = kind(metric.name, metric.help, labels=metric.labels)
        for labels, value in sorted(self._values[metric.name].items()):
            family.add_metric(labels, value)
        return family

    def _histogram(self, metric: Metric) -> Family:
        family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, counted in sorted(self._buckets[metric.name].items()):
            # Bounds of an earlier release stay where their counts are; a count never moves to a smaller bound.
            bounds = sorted({*metric.bounds, *counted, INFINITE})
            cumulated: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            below = 0
            for bound in bounds:
                below += counted.get(bound, 0)
                bucket = ("+Inf" if bound == INFINITE else str(bound), float(below))
                exemplar = self._exemplars.get((metric.name, labels, bound))
                cumulated.append(bucket if exemplar is None else (*bucket, exemplar))
            family.add_metric(labels, cumulated, self._sums.get((metric.name, labels), 0) / 1_000_000)
        return family
