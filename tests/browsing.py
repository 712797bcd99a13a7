"""Chromium without a window, for tests of what people see."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

__all__ = ["chromium_at", "until"]

SOON = 30  # seconds: a page stands within one or two, and /status asks every two, on a busy machine too

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the sandbox refuses to work for root, which the other tests marked `system` need
    "--disable-dev-shm-usage",  # /dev/shm of a container is small
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP evil.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1300,1500",
)


@contextmanager
def chromium_at(profile: Path) -> Iterator[webdriver.Chrome]:
    """A browser with a profile of its own, which reaches this machine alone."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("NO_PROXY", "*"), ("no_proxy", "*"), ("SE_OFFLINE", "true"), ("SE_AVOID_STATS", "true")):
            patch.setenv(name, value)
        browser = webdriver.Chrome(options, Service(shutil.which("chromedriver") or "chromedriver"))
        try:
            yield browser
        finally:
            browser.quit()


def until(browser: webdriver.Chrome, condition: Callable[[webdriver.Chrome], Any]) -> Any:
    """What a page gives as soon as it is true. Raises TimeoutException."""
    return WebDriverWait(browser, SOON, poll_frequency=0.05).until(condition)
