"""The demo's page in headless Chromium: each panel comes to its end, on either server."""

from __future__ import annotations

import hashlib
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.client import eventually

webdriver = pytest.importorskip(
    "selenium.webdriver", reason="the session `browser` installs selenium"
)
chromium = shutil.which("chromium") or shutil.which("google-chrome")
chromedriver = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(
        not (chromium and chromedriver), reason="there is no Chromium here, or no ChromeDriver"
    ),
    pytest.mark.timeout(120),  # a browser takes its time to start
]

ROOT = Path(__file__).parents[2]

# It shall look for nothing outside, and need no screen; root has no sandbox.
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--window-size=1280,900"
)


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run the demo: where each of its servers is."""
    log = tmp_path_factory.mktemp("demo") / "log"
    command = [sys.executable, "-m", "nardis", "demo", "--bind", "127.0.0.1:0"]
    with (
        log.open("wb") as out,
        subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out) as process,
    ):
        try:
            eventually(lambda: log.read_text().count("/#me") == 2, 20)
            yield dict(
                zip(
                    ("trio", "asyncio"),
                    re.findall(r"(http://\S+)/#me", log.read_text()),
                    strict=True,
                )
            )
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    try:
        yield driver
    finally:
        driver.quit()


class Page:
    """The page, used as a visitor does."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def script(self, code: str) -> Any:
        return self.browser.execute_script(code)

    def click(self, selector: str) -> None:
        self.browser.find_element("css selector", selector).click()

    def slide(self, name: str, value: int) -> None:
        self.script(f"{name}.value = {value}; {name}.oninput()")

    def text(self, selector: str) -> str:
        return self.browser.find_element("css selector", selector).text

    def comes_to(self, panel: str, state: str) -> bool:
        return eventually(lambda: self.script(f"return {panel}.element.dataset.state") == state, 40)

    def shows(self, selector: str, text: str) -> bool:
        return eventually(lambda: text in self.text(selector), 20)


@pytest.fixture(scope="module", params=["trio", "asyncio"])
def page(request: pytest.FixtureRequest, urls: dict[str, str], browser: Any) -> Iterator[Page]:
    """
    Give the page of the trio server, switched to either server: to its own, and to one of another
    origin.
    """
    browser.get(urls["trio"])
    page = Page(browser)
    page.click(f"[name=server][value={request.param}]")
    page.shows("#link", f"hears from {request.param}")
    yield page
    assert [entry["message"] for entry in browser.get_log("browser")] == []


def test_a_stream_waits_for_its_reader_and_goes_on_with_it(page: Page) -> None:
    page.slide("pace", 4)
    page.click("#stream [data-do=start]")
    eventually(lambda: page.script("return stream.got > 1024 * 1024"))
    page.click("#stream [data-do=pause]")
    page.shows("#stream [data-is=handler]", "It waits in res.write().")
    page.shows("#stream [data-is=client]", "It does not read.")
    assert page.script(
        "return stream.got < stream.told.sent && stream.told.sent < facts.stream_bytes"
    )

    page.slide("pace", 8)
    page.comes_to("stream", "done")
    page.shows("#stream [data-is=handler]", "It ended: all sent.")
    assert (page.text("#stream [data-is=sent]"), page.text("#stream [data-is=got]")) == (
        "64.0 MiB",
        "64.0 MiB",
    )


def test_a_stream_that_is_left_ends(page: Page) -> None:
    page.slide("pace", 1)
    page.click("#stream [data-do=start]")
    eventually(lambda: page.script("return stream.got > 0"))
    page.click("#stream [data-do=leave]")

    page.comes_to("stream", "left")
    page.shows("#stream [data-is=handler]", "It ended: gone.")


def test_an_upload_tells_its_progress_meanwhile_and_both_ends_have_the_same_hash(
    page: Page,
) -> None:
    page.slide("take", 4)
    page.click("#upload [data-do=start]")
    eventually(
        lambda: page.script(
            "return upload.request && 0 < upload.told.hashed && upload.told.hashed < upload.size"
        )
    )

    page.comes_to("upload", "done")
    assert "the same" in page.text("#upload .verdict")
    assert re.fullmatch(r"[0-9a-f]{64}", page.text("#upload [data-is=ours]"))
    assert page.text("#upload [data-is=theirs]") == page.text("#upload [data-is=ours]")


def test_a_file_can_be_uploaded(page: Page, tmp_path: Path) -> None:
    page.click("#upload [name=what][value=file]")
    page.click("#upload [data-do=start]")
    page.shows("#upload .verdict", "Choose a file first.")
    (tmp_path / "file").write_bytes(b"abc")
    page.browser.find_element("css selector", "#upload [type=file]").send_keys(
        str(tmp_path / "file")
    )
    page.click("#upload [data-do=start]")

    assert page.shows("#upload .verdict", "the same")
    assert page.text("#upload [data-is=theirs]") == hashlib.sha256(b"abc").hexdigest()


def test_a_handler_says_that_its_client_left(page: Page) -> None:
    page.click("#leave [data-do=start]")
    page.shows("#leave .log", "began: a client waits")
    page.click("#leave [data-do=leave]")

    page.comes_to("leave", "done")
    page.shows("#leave .log li:last-child", "ended: gone")


def test_the_same_handler_runs_on_both_servers(page: Page) -> None:
    page.click("#race [data-do=start]")

    page.comes_to("race", "done")
    assert page.script("return document.querySelectorAll('#race .dots .on').length") == 2 * 15
    assert page.text("#race [data-server=trio] p") == "All ran on trio."
    assert page.text("#race [data-server=asyncio] p") == "All ran on asyncio."


@pytest.mark.skipif(shutil.which("curl") is None, reason="the lines are for curl")
def test_the_page_follows_its_curl_line(page: Page) -> None:
    command = page.text("#leave .curl code").split()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        page.shows("#leave .log li:last-child", "began: a client waits")
        client.terminate()  # a job in the background may ignore the signal of Ctrl-C
    page.shows("#leave .log li:last-child", "ended: gone")
    page.shows("#leave [data-is=waited]", "and left")
    page.shows("#leave [data-is=worked]", "ended: gone")


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_is_as_wide_as_the_screen(page: Page, width: int) -> None:
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    page.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert page.script("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


# The last one, because it leaves the page of the others.
@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_a_page_talks_to_the_server_that_it_is_from_and_bears_the_name_in_its_address(
    urls: dict[str, str], browser: Any, backend: str
) -> None:
    browser.get("about:blank")
    browser.get(f"{urls[backend]}/#me")
    page = Page(browser)

    assert page.shows("#link", f"hears from {backend}")
    assert page.script("return document.querySelector('[name=server]:checked').value") == backend
    assert page.text("#leave .curl code") == f"curl -N {urls[backend]}/leave/me"
