"""The operator's pages at `/admin`: the same services as the API, for people."""

from __future__ import annotations

from fastapi import FastAPI


def install(api: FastAPI) -> None:
    """Every page. Imported here, because the API does not need them to be imported."""
    from api.pages import (
        answers,
        bench,
        cubes,
        keeping,
        limits,
        memories,
        overview,
        record,
        review,
        sharing,
        signing_in,
        work,
    )

    signing_in.install(api)
    for subject in (
        overview,
        cubes,
        memories,
        bench,
        work,
        answers,
        record,
        review,
        sharing,
        keeping,
        limits,
        signing_in,
    ):
        subject.pages.install(api)
