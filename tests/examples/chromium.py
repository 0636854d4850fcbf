"""Headless Chromium, for the examples that have a page."""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

__all__ = ["needs_chromium", "started"]

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")

# It shall look for nothing outside, and need no screen; root has no sandbox. It may play a sound
# although nobody clicked.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--window-size=1280,900 --mute-audio --autoplay-policy=no-user-gesture-required"
)

needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and CHROMEDRIVER and find_spec("selenium")),
    reason="there is no Chromium here, or no ChromeDriver, or no selenium",
)


@contextmanager
def started(profile: Path) -> Generator[Any]:
    """Start Chromium with *profile* as its folder, and give its driver."""
    webdriver = import_module("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(CHROMEDRIVER))
    try:
        yield driver
    finally:
        driver.quit()
