"""The command line of the simulated Pinterest."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from app.sandbox.pinterest_apps import DEFAULT_APP_ID, DEFAULT_APP_SECRET, DEFAULT_REDIRECT_URI, App
from app.sandbox.pinterest_behaviour import Behaviour
from app.sandbox.pinterest_faults import FAULTS

DEFAULT_TOKEN = "pina_test"  # noqa: S105 - opens only the simulator
DEFAULT_AD_ACCOUNT = "549770000001"


def read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was asked for; ends the process with a message where it makes no sense."""
    return _parser().parse_args(arguments)


def app_of(options: argparse.Namespace) -> App:
    redirect_uris = {DEFAULT_REDIRECT_URI, *options.redirect_uri}
    return App(options.app_id, options.app_secret, redirect_uris)


def behaviour_of(options: argparse.Namespace) -> Behaviour:
    return Behaviour(
        writes_per_minute=options.writes_per_minute or None,
        reads_per_minute=options.reads_per_minute or None,
        processing_seconds=options.ready_after,
        match_rate=options.match_rate,
        minimum_matched=options.minimum_matched,
        refuse_small_audience=options.refuse_small_audience,
        max_records=options.max_records,
        max_body_bytes=options.max_body_bytes,
        keep_history=not options.forget_records,
        count_only=options.count_only,
        trial=options.trial,
    )


def _chance(text: str) -> tuple[str, float]:
    fault, _, chance = text.partition("=")
    if fault not in FAULTS:
        raise argparse.ArgumentTypeError(f"unknown fault {fault!r}")
    return fault, float(chance)


def _parser() -> argparse.ArgumentParser:
    usual = Behaviour()
    parser = argparse.ArgumentParser(
        prog="python -m app.sandbox.pinterest",
        description="A simulated Pinterest (ads API v5) on 127.0.0.1. Give a client the base URL "
        "http://127.0.0.1:PORT/v5; read the books at http://127.0.0.1:PORT/_sandbox/summary.",
        epilog=f"Faults: {', '.join(sorted(FAULTS))}.",
    )
    add = parser.add_argument
    add("--port", type=int, default=8089, help="port on loopback; 0 takes a free one (%(default)s)")
    add(
        "--token",
        action="append",
        metavar="T",
        help=f"access token (again for more); else {DEFAULT_TOKEN}",
    )
    add(
        "--ad-account",
        action="append",
        metavar="ID",
        help=f"ad account (again for more); else {DEFAULT_AD_ACCOUNT}",
    )
    add(
        "--writes-per-minute",
        type=int,
        default=usual.writes_per_minute,
        metavar="N",
        help="quota of writes per token; 0 lifts it (%(default)s)",
    )
    add(
        "--reads-per-minute",
        type=int,
        default=usual.reads_per_minute,
        metavar="N",
        help="quota of reads per token; 0 lifts it (%(default)s)",
    )
    add(
        "--ready-after",
        type=float,
        default=usual.processing_seconds,
        metavar="SECONDS",
        help="how long lists stay PROCESSING and audiences INITIALIZING (%(default)s)",
    )
    add(
        "--match-rate",
        type=float,
        default=usual.match_rate,
        metavar="SHARE",
        help="share of members that are Pinterest accounts (%(default)s)",
    )
    add(
        "--minimum-matched",
        type=int,
        default=usual.minimum_matched,
        metavar="N",
        help="fewer matches than this are TOO_SMALL (%(default)s)",
    )
    add(
        "--refuse-small-audience",
        action="store_true",
        help="answer 400 to an audience of a list that is too small",
    )
    add("--max-records", type=int, metavar="N", help="more records in one request are answered 413")
    add("--max-body-bytes", type=int, metavar="N", help="larger bodies are answered 413")
    add(
        "--books",
        type=Path,
        metavar="FILE",
        help="load lists and audiences from FILE, save them there at the end",
    )
    add(
        "--forget-records",
        action="store_true",
        help="keep the membership, but not the records of each request",
    )
    add("--count-only", action="store_true", help="for benchmarks: only count records")
    add(
        "--fault",
        type=_chance,
        action="append",
        metavar="NAME=P",
        help="let writes meet a fault with probability P (again for more)",
    )
    add("--seed", type=int, default=0, help="seed of the faults (%(default)s)")
    add("--trial", action="store_true", help="the app has trial access: 300 writes a day in all")
    add("--app-id", default=DEFAULT_APP_ID, help="id of the registered app (%(default)s)")
    add("--app-secret", default=DEFAULT_APP_SECRET, help="secret of the app (%(default)s)")
    add(
        "--redirect-uri",
        action="append",
        default=[],
        metavar="URI",
        help=f"registered with the app besides {DEFAULT_REDIRECT_URI} (again for more)",
    )
    return parser
