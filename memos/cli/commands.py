"""What can be typed. Each command reads its options, calls one function, and says what came of it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from memos.cli import portability
from memos.cli.load import load_settings
from memos.errors import Misconfigured
from memos.rules.lanes import Lane

cli = typer.Typer(
    help="A memory service for agents: 'memos serve' starts everything.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
keys = typer.Typer(help="API keys, made and revoked at the console, directly in the database.", no_args_is_help=True)
cli.add_typer(keys, name="keys")
portability.install(cli)

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="MEMOS_DATA_DIR", help="Where servers, models and the owner key live."),
]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Port = Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@cli.command()
def serve(host: Host = "127.0.0.1", port: Port = 8000, data_dir: DataDir = None) -> None:
    """Start everything and keep it running: API, worker, beat, and the servers that DATABASE_URL, REDIS_URL do not name."""
    from memos.cli.serve import serve as run

    sys.exit(run(load_settings(data_dir), host, port))


@cli.command()
def api(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    fd: Annotated[
        int | None, typer.Option(min=3, help="A bound socket handed down by a supervisor, instead of host and port.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Serve the API alone, on the servers that DATABASE_URL and REDIS_URL name."""
    from memos.cli.parts import run_api

    run_api(load_settings(data_dir), host, port, fd)


@cli.command()
def restart(data_dir: DataDir = None) -> None:
    """Replace the processes of a running 'memos serve' by fresh ones, without losing a request."""
    from memos.cli.serve import restart as run

    typer.echo(run(load_settings(data_dir)))


@cli.command()
def worker(
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Jobs at a time, each in a process.")] = 1,
    lane: Annotated[
        list[Lane] | None,
        typer.Option(help="Only jobs of this lane: 'kv' builds caches, 'main' is all else. By default both."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Run background jobs."""
    from memos.cli.parts import run_worker

    run_worker(load_settings(data_dir), concurrency, lane or tuple(Lane))


@cli.command()
def beat(data_dir: DataDir = None) -> None:
    """Send the periodic messages: one of these for any number of workers."""
    from memos.cli.parts import run_beat

    run_beat(load_settings(data_dir))


@cli.command()
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database to this version's schema, and make the owner key if there is no key yet."""
    from memos.cli.migrate import migrate as run

    typer.echo(run(load_settings(data_dir)))


@cli.command()
def widen(data_dir: DataDir = None) -> None:
    """Make room for a wider embedding model (MEMOS_VECTOR_WIDTH), while nothing serves."""
    from memos.cli.widen import widen as run

    typer.echo(run(load_settings(data_dir)))


@cli.command()
def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="Rebuild indexes that disagree with the memories.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Say what is wrong, and what to do. Exit code 1 when something is."""
    from memos.cli.doctor import doctor as run

    sys.exit(run(load_settings(data_dir), repair=repair, as_json=as_json))


@cli.command("verify-receipt")
def verify_receipt(
    receipt: Annotated[Path, typer.Argument(help="What GET /v1/receipts/ID returned.")],
    key: Annotated[Path, typer.Option("--key", help="What GET /v1/receipts/key returned.")],
) -> None:
    """Check the receipt of an erasure, offline. Exit code 1 when it does not hold."""
    from memos.cli.verify_receipt import told
    from memos.cli.verify_receipt import verify_receipt as verify

    typer.echo(told(verify(receipt, key)))


@cli.command()
def demo(
    url: Annotated[str | None, typer.Option(help="A running service, instead of a fresh one.")] = None,
    key: Annotated[str | None, typer.Option(envvar="MEMOS_KEY", help="Its key.")] = None,
) -> None:
    """A walk through the service in the terminal, in less than a minute."""
    from memos.demo.run import demo as run

    sys.exit(run(url, key))


@cli.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
)
def eval(context: typer.Context) -> None:  # noqa: A001 - the command's name
    """Measure quality and speed: 'memos eval' lists the benchmarks."""
    try:
        benchmarks = importlib.import_module("benchmarks.cli")
    except ModuleNotFoundError as error:
        if error.name not in {"benchmarks", "benchmarks.cli"}:
            raise
        raise Misconfigured(
            "the benchmarks are not installed here; run this from a clone of the repository, after 'make install'"
        ) from None
    sys.exit(benchmarks.main(context.args or ["--help"]))


@cli.command()
def version() -> None:
    """The version of this program."""
    from memos.cli.load import program_version

    typer.echo(f"memos {program_version()}")


@keys.command("create")
def create_key(
    scopes: Annotated[
        str, typer.Option(help="Any of read, write, freeze, erase, admin, kv; with commas.")
    ] = "read,write",
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    cube: Annotated[list[str] | None, typer.Option(help="Bind it to this cube; may be repeated.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose key; a tenant's name or id.")] = "default",
    days: Annotated[int | None, typer.Option(min=1, help="Until it expires.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key. It is printed once, alone on standard output."""
    from memos.cli.keys import create

    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    made = create(load_settings(data_dir), scopes=wanted, name=name, cubes=cube, tenant=tenant, days=days)
    typer.echo(f"Key {made.id} of tenant {tenant!r} may {', '.join(made.scopes)}. Shown only now:", err=True)
    typer.echo(made.key)


@keys.command("list")
def list_keys(
    tenant: Annotated[str, typer.Option(help="Whose keys; a tenant's name or id.")] = "default",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List keys, without their secrets."""
    from memos.cli.keys import show

    show(load_settings(data_dir), tenant, as_json=as_json)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's id, as 'memos keys list' shows it.")],
    data_dir: DataDir = None,
) -> None:
    """Revoke a key. Running servers notice within seconds."""
    from memos.cli.keys import revoke

    revoke(load_settings(data_dir), key_id)
    typer.echo(f"Key {key_id} is revoked.")


@keys.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(help="The key's id, as 'memos keys list' shows it.")],
    overlap_hours: Annotated[
        float, typer.Option(min=0, max=720, help="How long the secret before this one still works.")
    ] = 24.0,
    data_dir: DataDir = None,
) -> None:
    """Give a key a new secret. It is printed once, alone on standard output."""
    from datetime import timedelta

    from memos.cli.keys import rotate

    made = rotate(load_settings(data_dir), key_id, timedelta(hours=overlap_hours))
    typer.echo(
        f"Key {made.id} has a new secret; the old one works until {made.previous_until}. Shown only now:", err=True
    )
    typer.echo(made.key)


@keys.command(name="rotate-master")
def rotate_master_key(data_dir: DataDir = None) -> None:
    """Wrap the keys of all stored caches with a new master key. No cache is read, and the service may run meanwhile."""
    from memos.cli.keys import rotate_master

    done = rotate_master(load_settings(data_dir))
    typer.echo(f"{done.changed} cube keys wrapped anew, {done.current} were already.")
