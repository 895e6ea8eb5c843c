"""The command: `python -m e2e`; see --help."""

import argparse
import contextlib
import shutil
import signal
import sys
import time
from pathlib import Path

from playwright.sync_api import Error

from e2e.browser import Profile, running_browser
from e2e.scenarios import SCENARIOS, Failure, log_in
from e2e.stack import prepare, running_site
from e2e.waiting import TooLate, expect_progress

_ROOT = Path(__file__).resolve().parent.parent
_OUTPUT = _ROOT / "build" / "e2e"


def main() -> int:
    """Show the scenarios that the command line names; return the exit code."""
    options = _options()
    # Both are to end all processes. A shell lets its background jobs ignore the first.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.default_int_handler)
    if options.prepare:
        prepare(options.home, options.superset)
        return 0
    shutil.rmtree(_OUTPUT, ignore_errors=True)
    _OUTPUT.mkdir(parents=True)
    begin = time.monotonic()
    expect_progress()
    passed = failed = 0
    with (
        running_site(options.home, options.superset, _OUTPUT / "site") as site,
        running_browser() as browser,
        contextlib.closing(Profile(browser)) as profile,
    ):
        log_in(site, profile, _OUTPUT / "login.png")
        print(f"started and logged in after {time.monotonic() - begin:.1f} s", flush=True)
        for number, scenario in enumerate(SCENARIOS, 1):
            if options.numbers and number not in options.numbers:
                continue
            expect_progress()
            started = time.monotonic()
            picture = _OUTPUT / f"scenario-{number}.png"
            try:
                seen = scenario.show(site, browser, profile, picture)
                passed += 1
            except (Failure, TooLate, Error) as error:
                seen = f"FAILED: {error}; see {picture} and the logs in {_OUTPUT / 'site'}"
                failed += 1
            seconds = time.monotonic() - started
            print(f"{number:2}. {scenario.title:<63} {seconds:5.1f} s  {seen}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m e2e", description=__doc__)
    parser.add_argument("numbers", nargs="*", type=int, help="the scenarios; all if none")
    parser.add_argument("--superset", type=Path, required=True, help="its venv")
    parser.add_argument("--home", type=Path, required=True, help="its prepared data base")
    parser.add_argument("--prepare", action="store_true", help="make the data base, and end")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
