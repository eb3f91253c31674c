#!/usr/bin/python3
"""Opens a page in Chromium and says, as JSON, what a person and the browser's console would see.

look.py URL [--width N] [--height N] [--dark] [--header 'Name: value'] [--open] [--screenshot FILE] [--whole]
"""

import argparse
import base64
import json
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # the container's only user is root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--disable-background-networking",
    "--disable-component-update",
)
_SEEN = """
const root = document.documentElement;
return {
  title: document.title,
  text: document.body.innerText,
  width: [root.scrollWidth, root.clientWidth],
  scripts: document.scripts.length,
  handlers: [...document.querySelectorAll("*")].flatMap(
    element => [...element.attributes].map(each => each.name).filter(name => /^on|^style$/.test(name))),
  elements: Object.fromEntries(
    ["script", "img", "iframe", "form", "input", "object", "b", "details", "table", "rect.sent", "rect.deferred", "rect.median"]
      .map(name => [name, document.querySelectorAll(name).length])),
  attributes: [...new Set([...document.querySelectorAll("*")].flatMap(
    element => [...element.attributes].map(each => each.name)))].sort(),
  background: getComputedStyle(root).backgroundColor,
  colour: getComputedStyle(document.body).color,
  verdict: getComputedStyle(document.querySelector(".verdict")).backgroundColor,
  stories: [...document.querySelectorAll(".messages > li")].map(each => each.textContent.replace(/\\s+/g, " ").trim()),
  ran: window.ran === undefined ? null : window.ran,
};
"""


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("url")
    asked.add_argument("--width", type=int, default=1280)
    asked.add_argument("--height", type=int, default=900)
    asked.add_argument("--dark", action="store_true")
    asked.add_argument("--open", action="store_true", help="unfold all that is folded")
    asked.add_argument("--header", action="append", default=[])
    asked.add_argument("--screenshot")
    asked.add_argument("--whole", action="store_true", help="all of the page is in the screenshot")
    print(json.dumps(look(asked.parse_args())))


def look(asked: argparse.Namespace) -> dict[str, object]:
    options = webdriver.ChromeOptions()
    for option in _OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        size = {
            "width": asked.width,
            "height": asked.height,
            "deviceScaleFactor": 1,
            "mobile": asked.width < 600,
        }
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if asked.dark else "light"}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        driver.execute_cdp_cmd("Network.enable", {})
        headers = dict(header.split(": ", 1) for header in asked.header)
        driver.execute_cdp_cmd("Network.setExtraHTTPHeaders", {"headers": headers})
        driver.get(asked.url)
        if asked.open:
            driver.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
        seen: dict[str, object] = driver.execute_script(_SEEN)
        seen["console"] = [entry["message"] for entry in driver.get_log("browser")]
        events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        seen["requests"] = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        if asked.screenshot:
            wanted = {"format": "png", "captureBeyondViewport": asked.whole}
            if asked.whole:
                wanted["clip"] = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"] | {
                    "scale": 1
                }
            taken = driver.execute_cdp_cmd("Page.captureScreenshot", wanted)
            Path(asked.screenshot).write_bytes(base64.b64decode(taken["data"]))
        return seen
    finally:
        driver.quit()


main()
