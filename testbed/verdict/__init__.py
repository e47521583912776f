"""Judges a run directory from its files: PASS, FAIL, INCONCLUSIVE or ERROR, each with evidence."""

from testbed.verdict.judge import judge, judge_run, write_judgement

__all__ = ["judge", "judge_run", "write_judgement"]
