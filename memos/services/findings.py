"""What an examination finds: a check, how it went, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. `advice` is what to do; empty when all is well."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    return Finding(check, Verdict.OK, detail)


def warn(check: str, detail: str, advice: str) -> Finding:
    return Finding(check, Verdict.WARN, detail, advice)


def fail(check: str, detail: str, advice: str) -> Finding:
    return Finding(check, Verdict.FAIL, detail, advice)
