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
        told = {"iops": 100.0, "read": kind, "write": None, "seconds": 2.0, "mode": "packet", **COUNTS}
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


class Losses(unittest.TestCase):
    def test_only_rises_of_losses_count(self):
        def read(frames, dropped):
            counts = {"nic": {"rx_dropped": frames}, "ring": {"rx_frames": frames, "rx_dropped": dropped}}
            return loss.counters({"ok": True, "data": [{"name": "eth1", "counters": counts}]})
        before, after = read(1, 1), read(9, 3)
        self.assertEqual(loss.rises(before, after), {"data/0/counters/ring/rx_dropped": 2})
        self.assertEqual(loss.rises(after, after), {})

    def test_one_frame_at_any_layer_or_a_slow_hundredth_does_not_hold(self):
        good = {"counts": dict(COUNTS), "latency_us": dict(LATENCY), "wire_drops": 0, "shelf_losses": {}}
        self.assertTrue(loss.verdict(good))
        for change in ({"counts": {**COUNTS, "lost": 1}}, {"counts": {**COUNTS, "overdue": 1}}, {"wire_drops": 1},
                       {"shelf_losses": {"x": 1}}, {"latency_us": {**LATENCY, "p99": loss.P99_US_MAX + 1}}):
            self.assertFalse(loss.verdict({**good, **change}), change)


class Report(unittest.TestCase):
    def document(self):
        found = results(lambda case: 300.0 if case.subject.startswith("ledged") else 100.0)
        found[key("memory", "read", 8192, 32)]["vblade"] = [{"error": "a|b\nc"}]
        lost = {"raid0, random reads": {**measured(150_000.0), "counts": COUNTS, "wire_drops": 0, "shelf_losses": {},
                                        "rate": float(loss.LINE_RATE), "holds": True},
                "raid0, random writes": {"error": "no wire"}}
        return {"host": {"cpus": 2, "model": "X", "kernel": "6", "busy": 0.01}, "date": "2026-01-01", "rounds": 3,
                "seconds": 1.5, "loss_seconds": 60, "versions": {"vblade": "25"}, "mode": "generic",
                "elapsed_seconds": 100.0, "stolen_seconds": 0.0, "results": found,
                "ceiling": {"backend": "packet", "rates": {"packet": {"read": 1e5, "write": 1e5},
                                                           "xdp": {"read": "no XDP", "write": 1.0}}},
                "figures": [row.evaluate(found) for row in figures.rows(MODES, "generic")],
                "losses": figures.loss_rows(lost)}

    def test_it_has_every_row_and_every_failure_and_its_tables_are_whole(self):
        document = self.document()
        text = report.render(document, [("IOPS", "throughput.svg")])
        for words in ("| holds |", "a/b c", "not measured: no wire", "throughput.svg", "0 lost, p99 ≤ 423 µs", "vblade: 25"):
            self.assertIn(words, text)
        self.assertIn("it got 100 reads/s from the bare responder in its best mode and 300 from the shelf", text)
        self.assertNotIn("was not quiet", text)
        widths = {}
        for line in text.splitlines():
            if line.startswith("|"):
                widths.setdefault(line.count("|"), line)
        self.assertEqual(sorted(widths), [4, 5, 8], widths)

    def test_a_machine_that_had_other_things_to_do_is_said_so(self):
        document = self.document()
        document["host"]["busy"] = 0.3
        self.assertIn("was not quiet", report.render(document, []))


if __name__ == "__main__":
    unittest.main()
