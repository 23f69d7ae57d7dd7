#!/usr/bin/env python3
"""Checks of the matrix itself, which need neither root nor peers: what tools say, ratios, the report."""
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import cpu  # noqa: E402
import figures  # noqa: E402
import loads  # noqa: E402
import loss  # noqa: E402
import options  # noqa: E402
import report  # noqa: E402
from cases import DEPTHS, MODES, Matrix, key, with_cpu  # noqa: E402

LATENCY = {"min": 1.0, "mean": 2.0, "p50": 10.0, "p90": 20.0, "p99": 30.0, "p999": 40.0, "max": 50.0}
COUNTS = {"lost": 0, "errors": 0, "retransmissions": 0, "duplicates": 0, "unexpected": 0, "overdue": 0}


def measured(iops, cpu_us=2.0, latency=None):
    return {"iops": iops, "cpu_us_per_io": cpu_us, "latency_us": latency or dict(LATENCY)}


def results(value):
    """Measurements of everything that is in the matrix."""
    asked = options.parse(["--mode", "generic"])
    asked.mode = "generic"
    matrix = Matrix(None, pathlib.Path(), pathlib.Path(), asked)
    matrix.build()
    found = {}
    for case in matrix.cases:
        found.setdefault(case.key, {})[case.subject] = [measured(value(case)) for _ in range(3)]
    return found


class Parsing(unittest.TestCase):
    def test_aoeload(self):
        kind = {"commands": 200, "latency_us": LATENCY}
        told = {"iops": 100.0, "read": kind, "write": None, "seconds": 2.0, "mode": "packet",
                "range_bytes": 1, "series": [], "losses": {"ways": []}, **COUNTS}
        got = loads.of_aoeload(told)
        self.assertEqual((got["iops"], got["latency_us"]["p999"], got["load_seconds"]), (100.0, 40.0, 2.0 + loads.WARMUP))
        slow = {"commands": 1, "latency_us": {**LATENCY, "p99": 99.0}}
        self.assertEqual(loads.of_aoeload({**told, "write": slow})["latency_us"]["p99"], 99.0)
        for wrong in ({}, {**told, "errors": 1}, {**told, "read": None}):
            with self.assertRaises(RuntimeError):
                loads.of_aoeload(wrong)

    def test_fio(self):
        percentiles = '{"50.000000":1000,"90.000000":2000,"99.000000":3000,"99.900000":4000}'
        text = ('note: something\n{"jobs":[{"error":0,"usr_cpu":10.0,"sys_cpu":40.0,"read":{"iops":500.0,"total_ios":1000,'
                '"runtime":2000,"clat_ns":{"max":9000,"percentile":' + percentiles + '}}}]}')
        got = loads.of_fio(text, "read")
        self.assertEqual((got["iops"], got["own_cpu"], got["latency_us"]["p99"]), (500.0, 0.5, 3.0))
        with self.assertRaises(RuntimeError):
            loads.of_fio(text.replace('"total_ios":1000', '"total_ios":0'), "read")

    def test_iscsi_tools(self):
        text = "iops average 100 (1 MB/s)\riops average 12462 (97 MB/s)   \n\nfinished.\n"
        self.assertEqual(loads.of_iscsi_perf(text, 2)["iops"], 12462.0)
        self.assertEqual(loads.of_qemu_img("Sending 5 write requests\nRun completed in 0.966 seconds.\n"), 0.966)
        for parse in (lambda: loads.of_iscsi_perf("Login Failed", 2), lambda: loads.of_qemu_img("Could not open")):
            self.assertRaises(RuntimeError, parse)

    def test_fio_takes_no_fractions_of_seconds(self):
        self.assertEqual(loads.milliseconds(0.3), "300ms")

    def test_cpu(self):
        used = {"process_seconds": 1.0, "softirq_seconds": 0.5}
        self.assertEqual(with_cpu({"iops": 1000.0, "load_seconds": 1.5}, used)["cpu_us_per_io"], 1000.0)
        self.assertGreaterEqual(cpu.process_seconds("self"), 0)
        self.assertGreaterEqual(cpu.softirq_seconds(0), 0)
        self.assertTrue(0 <= cpu.busy_part(0.05) <= 1)


class Ratios(unittest.TestCase):
    WHERE = ("here", "ours"), ("here", "theirs")

    def row(self, ours, theirs, bar=1.5, metric=figures.iops, at_most=False):
        rounds = {"here": {"ours": ours, "theirs": theirs}}
        return figures.Ratio("x", bar, metric, *self.WHERE, at_most=at_most).evaluate(rounds)

    def test_the_median_of_the_rounds_is_compared_with_the_bar(self):
        got = self.row([measured(n) for n in (300, 100, 200)], [measured(100)] * 3)
        self.assertEqual((got["median"], got["min"], got["max"], got["holds"]), (2, 1, 3, True))
        got = self.row([measured(120)], [measured(100)])
        self.assertFalse(got["holds"])
        self.assertAlmostEqual(got["part"], 0.8)

    def test_where_less_is_better_the_bar_is_a_ceiling(self):
        slow = measured(1, latency={**LATENCY, "p999": 60.0})
        got = self.row([slow], [measured(1)], 1.2, figures.latency("p999"), at_most=True)
        self.assertEqual((got["median"], got["holds"]), (1.5, False))
        self.assertAlmostEqual(got["part"], 0.8)

    def test_a_round_that_failed_is_left_out_and_a_peer_that_always_failed_is_named(self):
        failed = {"error": "did not start"}
        got = self.row([measured(300), measured(900)], [failed, measured(300)])
        self.assertEqual((got["median"], got["rounds"]), (3, 1))
        self.assertEqual(self.row([measured(300)], [failed])["error"], "did not start")
        # A tool that tells no latency is no zero.
        told = self.row([measured(1)], [{**measured(1), "latency_us": None}], metric=figures.latency("p50"))
        self.assertIn("error", told)

    def test_every_row_names_what_is_measured(self):
        found = results(lambda case: 300.0 if case.subject.startswith("ledged") else 100.0)
        for row in figures.rows(MODES, "generic"):
            self.assertNotIn("error", row.evaluate(found), row.title)
        self.assertIn(key("memory", "read", 8192, DEPTHS[-1]), found)


def lost_nothing():
    """A row in which all is well, as aoeload tells it."""
    row = lambda second, p99: {"second": second, "seconds": 1.0, "latency_us": {"p50": 1.0, "p99": p99, "max": 9.0}}
    way = {"missing": 0, "layers": [{"layer": "wire, back", "lost": 0, "seen": []}]}
    # The last second is cut short.
    series = [row(0, 30.0), row(1, 50.0), row(2, 900.0), {**row(3, 7000.0), "seconds": 0.1}]
    return {"counts": dict(COUNTS), "latency_us": dict(LATENCY), "losses": {"ways": [way]}, "series": series}


class Losses(unittest.TestCase):
    def test_missing_frames_are_told_by_layer_with_what_was_seen_of_them(self):
        sight = {"what": "shelf's requests no_buffer", "frames": 2}
        layers = [{"layer": "target", "lost": 3, "seen": [sight]}, {"layer": "wire, back", "lost": 0, "seen": []}]
        result = {**lost_nothing(), "losses": {"ways": [{"missing": 3, "layers": layers}]}}
        self.assertEqual(loss.losses_of(result), {"target": {"lost": 3, "seen": {"shelf's requests no_buffer": 2}}})
        self.assertEqual(loss.missing(result), 3)
        self.assertFalse(loss.verdict(result))

    def test_one_command_or_a_slow_hundredth_does_not_hold(self):
        good = lost_nothing()
        self.assertTrue(loss.verdict(good))
        for change in ({"counts": {**COUNTS, "lost": 1}}, {"counts": {**COUNTS, "overdue": 1}},
                       {"latency_us": {**LATENCY, "p99": loss.P99_US_MAX + 1}}):
            self.assertFalse(loss.verdict({**good, **change}), change)

    def test_the_median_second_is_one_of_the_whole_ones(self):
        self.assertEqual(loss.p99_of_seconds(lost_nothing()), 50.0)
        self.assertIsNone(loss.p99_of_seconds({"series": []}))


class Report(unittest.TestCase):
    def document(self):
        found = results(lambda case: 300.0 if case.subject.startswith("ledged") else 100.0)
        found[key("memory", "read", 8192, 32)]["vblade"] = [{"error": "a|b\nc"}]
        responder = {"iops": 150_000.0, "latency_us": {**LATENCY, "p99": 15.0}, "counts": COUNTS, "p99_of_seconds": 14.0}
        row = {**measured(150_000.0), "counts": COUNTS, "missing": 0, "layers": {}, "rate": float(loss.LINE_RATE),
               "p99_of_seconds": 50.0, "responder": responder, "holds": True}
        late = {**row, "latency_us": {**LATENCY, "p99": 4230.0}, "holds": False}
        dropped = {**row, "missing": 7, "layers": {"wire, back": {"lost": 7, "seen": {}}}, "holds": False}
        lost = {"raid0, random reads": row, "raid0, random writes": {"error": "no wire"}, "raid10, random reads": late,
                "raid10, random writes": dropped}
        stalls = {when: [{"cpu": cpu, "gaps": 1234, "gaps_part": 0.009, "waited_part": 0.0005, "longest_us": 11_000.0,
                          "late_part": part} for cpu in (0, 1)] for when, part in (("before", 0.004), ("after", 0.006))}
        return {"host": {"cpus": 2, "model": "X", "kernel": "6", "busy": 0.01}, "date": "2026-01-01", "rounds": 3,
                "seconds": 1.5, "loss_seconds": 60, "versions": {"vblade": "25"}, "mode": "generic",
                "elapsed_seconds": 100.0, "stolen_seconds": 0.0, "results": found,
                "ceiling": {"backend": "packet", "rates": {"packet": {"read": 1e5, "write": 1e5},
                                                           "xdp": {"read": "no XDP", "write": 1.0}}},
                "figures": [row.evaluate(found) for row in figures.rows(MODES, "generic")],
                "losses": figures.loss_rows(lost), "stalls": stalls}

    def test_it_has_every_row_and_every_failure_and_its_tables_are_whole(self):
        document = self.document()
        text = report.render(document, [("IOPS", "throughput.svg")])
        for words in ("| holds |", "a/b c", "not measured: no wire", "throughput.svg", "0 lost, p99 ≤ 423 µs", "vblade: 25",
                      "nothing lost; p99 10.0 times the bar", "frames missing 7 (wire, back 7)", "beside it",
                      "| 151,478/s of 8 KiB: raid0, random reads | 10.00 | 20.00 | 30.00 | 50.00 | 10.00 | 20.00 | 15.00 | "
                      "14.00 | 2.00 |", "| after the rows, CPU 1 | 1,234 | 0.90 % | 0.05 % | 11.0 | 0.60 % |",
                      "0.85 % to 0.85 % of the time of a CPU", "0.80 % to 1.20 %. So the machine alone takes the hundredth"):
            self.assertIn(words, text)
        self.assertIn("it got 100 reads/s from the bare responder in its best mode and 300 from the shelf", text)
        self.assertNotIn("was not quiet", text)
        widths = {}
        for line in text.splitlines():
            if line.startswith("|"):
                widths.setdefault(line.count("|"), line)
        self.assertEqual(sorted(widths), [4, 5, 7, 8, 11], widths)

    def test_latencies_of_what_did_not_keep_the_rate_are_not_compared(self):
        keeps = {"counts": COUNTS, "latency_us": dict(LATENCY)}
        behind = {"counts": {**COUNTS, "overdue": 1}, "latency_us": {**LATENCY, "p99": 0.0}}
        self.assertEqual(report.slowest_ratio({**keeps, "responder": keeps}), "1.00")
        self.assertEqual(report.slowest_ratio({**keeps, "responder": behind}), "responder did not keep the rate")

    def test_a_machine_that_had_other_things_to_do_is_said_so(self):
        document = self.document()
        document["host"]["busy"] = 0.3
        self.assertIn("was not quiet", report.render(document, []))


if __name__ == "__main__":
    unittest.main()
