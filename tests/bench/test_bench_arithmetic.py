"""What the benchmark computes: percentiles, spreads, ratios, costs per journey, signed requests, tables, charts."""

import time
from xml.etree import ElementTree

import pytest
from standardwebhooks import Webhook

from bench.arithmetic import Spread, difference, medians, per, percentile, ratio, spread
from bench.chart import draw, position
from bench.load import LoadSpec, parse_answer, requests_of
from bench.measuring import cost_figures, memory_figures
from bench.meter import Cost, others_share
from bench.report import aligned, table

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (1.0, 100)])
def test_a_percentile_is_a_sample_by_nearest_rank(share, expected):
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_no_samples_have_no_percentile_and_no_spread():
    assert percentile([], 0.5) is None
    assert spread([]) is None


def test_the_spread_of_rounds_is_their_median_with_the_extremes():
    assert spread([30.0, 10.0, 20.0]) == Spread(median=20.0, lowest=10.0, highest=30.0, rounds=3)


def test_a_ratio_needs_both_sides():
    assert ratio(50, 200) == 0.25
    assert ratio(None, 200) is None
    assert ratio(50, None) is None
    assert ratio(50, 0) is None


def test_counters_are_compared_by_name_and_new_ones_begin_at_zero():
    assert difference({"lpush": 12, "publish": 3}, {"lpush": 10, "gone": 7}) == {"lpush": 2, "publish": 3}


def test_amounts_per_journey_need_a_journey():
    assert per({"api": 2.0}, 4, factor=1000) == {"api": 500.0}
    assert per({"api": 2.0}, 0) == {}


def test_medians_leave_out_what_no_round_measured():
    found = medians([{"a": 1.0, "b": None}, {"a": 3.0, "b": None}, {"a": 2.0}])
    assert found == {"a": Spread(2.0, 1.0, 3.0, 3)}


def a_cost(**changed):
    known = {
        "seconds": 2.0,
        "cpu_seconds": {"api": 0.5, "postgres": 0.25, "agent-simulator": 0.125},
        "machine_busy_seconds": 1.5,
        "wal_bytes": 10_000,
        "transactions": 30,
        "redis_commands": {"lpush": 20.0, "publish": 10.0},
    }
    return Cost(**(known | changed))


def test_the_agent_and_the_generator_are_counted_apart():
    figures = cost_figures(a_cost(), 10, generator_seconds=0.0625)
    assert figures["cpu_ms"] == pytest.approx(75.0)
    assert figures["cpu_ms.api"] == pytest.approx(50.0)
    assert "cpu_ms.agent-simulator" not in figures
    assert figures["outside_cpu_ms.agent"] == pytest.approx(12.5)
    assert figures["outside_cpu_ms.generator"] == pytest.approx(6.25)
    assert (figures["transactions"], figures["wal_bytes"], figures["redis_commands"]) == (3.0, 1000.0, 3.0)


def test_a_run_without_a_finished_journey_has_no_cost_per_journey():
    assert cost_figures(a_cost(), 0)["cpu_ms"] is None


def test_what_others_took_is_what_was_busy_and_not_ours(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert others_share(a_cost(), also_ours=0.125) == pytest.approx((1.5 - 0.875 - 0.125) / 4)
    assert others_share(a_cost(machine_busy_seconds=0.1), also_ours=0.0) == 0.0


def test_memory_of_servers_and_simulator_is_not_the_contestants():
    one = {"peak_rss": 10.0, "pss": 5.0}
    figures = memory_figures({"api": one, "worker": one, "postgres": one, "redis": one, "agent-simulator": one})
    assert (figures["peak_rss_mb"], figures["pss_mb"]) == (20.0, 10.0)


def test_signed_requests_hold_under_the_standard_library_of_webhooks():
    spec = LoadSpec(port=1, path="/hooks/registrations", prefix="r1", count=2, connections=1, secret=SECRET)
    head, _, body = requests_of(spec, now=int(time.time()))[1].partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    assert headers["webhook-id"] == "msg-r1-1"
    assert int(headers["Content-Length"]) == len(body)
    assert Webhook(SECRET).verify(body, headers)["data"]["user_id"] == "r1-1"


def test_an_answer_is_read_only_when_all_of_it_is_there():
    whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nbody"
    assert parse_answer(whole[:20]) is None
    assert parse_answer(whole[:-1]) is None
    assert parse_answer(whole) == 202


def figure(value):
    return {"median": value, "lowest": value / 2, "highest": value * 2, "rounds": 3}


def a_result():
    def burst(rate, cpu, **more):
        figures = {"journeys_per_second": figure(rate), "cpu_ms": figure(cpu)}
        return {"burst": {"figures": figures | {name: figure(value) for name, value in more.items()}, "rounds": []}}

    return {
        "machine": {"cores": 2, "memory_mb": 4096, "python": "3.11", "load_before": [0.5, 0.5, 0.5]},
        "postgresql": {"server_version": "18.4", "fsync": "on", "synchronous_commit": "on"},
        "contestants": {"product": burst(400.0, 2.0), "peer": burst(100.0, 8.0, others_cpu_share=0.3, unfinished=2.0)},
    }


def test_the_table_sets_every_contestant_beside_the_product_and_says_what_is_doubtful():
    text = table(a_result())
    row = next(line for line in text.splitlines() if line.startswith("peer"))
    assert "100 (50–200)" in row
    assert row.split("100 (50–200)")[1].split()[0] == "0.25"
    assert "8.00 (4.00–16.00)  4.00" in row
    assert "! peer, burst: up to 4 journeys were not finished in time" in text
    assert "! peer, burst: others used up to 60% of the machine" in text
    assert "! product" not in text


def test_columns_are_aligned():
    assert aligned([["a", "b"], ["long", "x"]]) == "a     b\n----  -\nlong  x"


def test_positions_are_logarithmic_between_whole_decades():
    assert position(10, 10, 900) == 0.0
    assert position(100, 10, 900) == 0.5
    assert position(1000, 10, 900) == 1.0


def test_the_chart_is_xml_with_one_bar_a_contestant_and_panel():
    root = ElementTree.fromstring(draw(a_result()))
    bars = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("x")]
    assert len(bars) == 4
