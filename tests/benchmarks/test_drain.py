"""The drain benchmark measures a correct agent and refuses to measure a wrong one."""

from __future__ import annotations

import io
import json
import shlex
import shutil
import sys
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from benchmarks import drain

FAKE = Path(__file__).resolve().parent.parent / "real" / "fakeagent.py"


class DrainCase(SynchronousTestCase):
    def setUp(self) -> None:
        if shutil.which("cc") is None:
            raise SkipTest("there is no C compiler (Debian: gcc, libc6-dev)")
        self.output = io.StringIO()
        self.patch(sys, "stdout", self.output)
        self.patch(sys, "stderr", self.output)

    def drain(self, habit: str, *more: str) -> int:
        """Run the benchmark with a fake agent of that habit and give its exit status."""
        command = shlex.join([sys.executable, "-S", "-E", str(FAKE), habit])
        return drain.main(["--no-anchor", "--messages", "30", "--pairs", "1", "--agent", command, *more])


class AnHonestAgent(DrainCase):
    def test_is_measured_in_every_mode(self) -> None:
        self.assertEqual(self.drain("honest", *drain.MODES), 0, self.output.getvalue())

    def test_leaves_its_figures_in_the_json_file(self) -> None:
        path = Path(self.mktemp())
        self.drain("honest", "plain", "--json", str(path))
        runs = json.loads(path.read_text())["runs"]["plain"]["zsmtp"]
        self.assertEqual([len(runs), runs[0]["cpu"] > 0], [1, True])


class AWrongAgent(DrainCase):
    def test_that_marks_nothing_has_no_figures(self) -> None:
        self.assertEqual(self.drain("never-marks", "plain"), 1)
        self.assertIn("30 recipients are not marked", self.output.getvalue())

    def test_that_forgets_reports_has_no_figures(self) -> None:
        self.assertEqual(self.drain("marks-late", "plain"), 1)
        self.assertIn("30 recipients were fed", self.output.getvalue())


class AWrongCommandLine(DrainCase):
    def test_of_an_unknown_mode_names_the_modes(self) -> None:
        self.assertRaises(SystemExit, self.drain, "honest", "fast")
        self.assertIn("there are pipelining, chunking, lmtp, plain", self.output.getvalue())
