"""What can be typed to move memories: export, import, backup, restore, reembed. Each reads its options and calls a function."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from memos.cli.load import load_settings
from memos.errors import Invalid

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="MEMOS_DATA_DIR", help="Where servers, models and the owner key live."),
]
Tenant = Annotated[str, typer.Option(help="Whose cube; a tenant's name or id.")]


class Ceiling(StrEnum):
    PUBLIC = "public"
    NORMAL = "normal"
    PERSONAL = "personal"
    SECRET = "secret"  # noqa: S105 - a label


class System(StrEnum):
    ITEMS = "items"
    MEM0 = "mem0"
    LETTA = "letta"
    LANGGRAPH = "langgraph"


def install(cli: typer.Typer) -> None:
    """Add these commands to the program."""
    cli.command("export")(export)
    cli.command("import")(import_)
    cli.command("backup")(backup)
    cli.command("restore")(restore)
    cli.command("reembed")(reembed)


def export(
    cube: Annotated[str, typer.Argument(help="The cube, by name or id.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; standard output without it.")] = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Only what is alive, an item a line, without history.")
    ] = False,
    branch: Annotated[str, typer.Option(help="With --lines: the branch.")] = "main",
    vectors: Annotated[
        bool, typer.Option("--vectors", help="With the vectors: larger, and quicker to import.")
    ] = False,
    ceiling: Annotated[
        Ceiling, typer.Option("--max-sensitivity", help="What is more sensitive leaves only its commitments.")
    ] = Ceiling.SECRET,
    usage: Annotated[bool, typer.Option(help="With recall counts and strengths.")] = True,
    tenant: Tenant = "default",
    data_dir: DataDir = None,
) -> None:
    """Write a cube to a file: a signed package with its whole history, or lines."""
    from memos.cli import moving
    from memos.rules.packages import Profile

    settings = load_settings(data_dir)
    if lines:
        n_bytes = moving.export_jsonl(settings, cube, output, tenant=tenant, branch=branch)
    else:
        profile = Profile(max_sensitivity=ceiling.value, vectors=vectors, usage=usage)
        n_bytes = moving.export_package(settings, cube, output, tenant=tenant, profile=profile)
    typer.echo(f"{n_bytes:,} bytes{f' in {output}' if output else ''}", err=True)


def import_(
    file: Annotated[Path, typer.Argument(help="A package, lines, or what another system wrote (gzip or not).")],
    system: Annotated[System, typer.Option("--from", help="Whose file it is, when it is no package.")] = System.ITEMS,
    cube: Annotated[str | None, typer.Option(help="The cube for items; made when it is not there.")] = None,
    branch: Annotated[str, typer.Option(help="The branch for items.")] = "main",
    name: Annotated[str | None, typer.Option(help="Another name for the cube of a package.")] = None,
    key: Annotated[
        Path | None, typer.Option(help="Keys to trust: what GET /v1/receipts/key of its maker gave.")
    ] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Take a package whoever signed it.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Only read the package to its end; keep nothing.")] = False,
    tenant: Tenant = "default",
    data_dir: DataDir = None,
) -> None:
    """Read a file into a cube: a package becomes the cube it was, items are added one by one."""
    from memos.cli import moving

    settings = load_settings(data_dir)
    if system is System.ITEMS and moving.is_package(file):
        whom = moving.trusted(key, anybody=trust)
        if check:
            manifest = moving.check_package(settings, file, whom)
            typer.echo(f"The package holds: {manifest.counts}")
            return
        done = moving.import_package(settings, file, tenant=tenant, name=name, trust=whom)
        typer.echo(
            f"{done.name} ({done.cube_id}) {'was here already' if done.outcome == 'known' else 'is here'}, at revision "
            f"{done.revision}. Embedded anew: {done.embedded}. Kept erased: {done.kept_erased}."
        )
        if done.marks_skipped:
            typer.echo(f"{done.marks_skipped} marks of erased texts are of another secret and were left out.", err=True)
        return
    if cube is None:
        raise Invalid("say with --cube where the items are to go")
    told = moving.import_items(settings, file, system=system.value, cube=cube, branch=branch, tenant=tenant)
    typer.echo(", ".join(f"{n} {how}" for how, n in sorted(told.items())) or "nothing in it")
    if told["error"]:
        sys.exit(1)


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    keys: Annotated[
        bool, typer.Option("--with-keys", help="With the owner key and the service's secret: guard it.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Write everything to one file, while the service runs: the database, KV blobs, and keys when asked."""
    from memos.cli.backup import backup as run

    typer.echo(run(load_settings(data_dir), file, with_keys=keys))


def restore(
    file: Annotated[Path, typer.Argument(help="What 'memos backup' wrote.")],
    data_dir: DataDir = None,
) -> None:
    """Make a service from a backup, in an empty data directory or database; then compare it with what was backed up."""
    from memos.cli.restore import restore as run

    typer.echo(run(load_settings(data_dir), file))


def reembed(
    cube: Annotated[str | None, typer.Argument(help="The cube; all of the tenant's without one.")] = None,
    model: Annotated[str | None, typer.Option(help="As in MEMOS_EMBEDDER. Without it: show the cube's spaces.")] = None,
    activate: Annotated[bool, typer.Option("--activate", help="Change over once every text has a vector.")] = False,
    back: Annotated[bool, typer.Option("--back", help="Change back to the space that was active before.")] = False,
    tenant: Tenant = "default",
    data_dir: DataDir = None,
) -> None:
    """Move cubes to another embedding model while they are in use, and back."""
    from memos.cli import reembed as run

    settings = load_settings(data_dir)
    if model is not None:
        sys.exit(1 if run.reembed_cubes(settings, cube, model=model, activate=activate, tenant=tenant) else 0)
    if cube is None:
        raise Invalid("name a cube, or a model with --model")
    typer.echo(run.change_back(settings, cube, tenant=tenant) if back else run.show(settings, cube, tenant=tenant))
