"""A real browser without a window, and what it tells of a page: console, requests, screenshots."""

import base64
import json
import pathlib
import time

from selenium import webdriver
from selenium.webdriver.chrome.service import Service


class Browser:
    """Debian's Chromium. Names resolve to nothing, so that nothing outside this machine can be reached."""

    def __init__(self):
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--force-color-profile=srgb",
                         "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-component-update", "--hide-scrollbars"):
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.driver.set_page_load_timeout(60)
        self.driver.set_script_timeout(60)

    def open(self, path, width=1280, height=900, scheme="light"):
        """Opens a file as a person would, from the disk."""
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}, {"name": "prefers-reduced-motion", "value": "reduce"}]})
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})
        self.driver.get_log("browser"), self.driver.get_log("performance")
        self.driver.get(pathlib.Path(path).resolve().as_uri())
        self.settle()

    def settle(self):
        """Two frames: what was asked for is drawn."""
        self.driver.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30)));")

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def console(self):
        return [entry for entry in self.driver.get_log("browser") if "favicon" not in entry["message"]]

    def requests(self):
        """Addresses that were asked for, but for the page itself and what is inside it."""
        urls = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                urls.append(message["params"]["request"]["url"])
        return [url for url in urls if not url.startswith(("file:", "data:"))]

    def set(self, selector, value, event="input"):
        self.js("const e = document.querySelector(arguments[0]); e.type === 'checkbox' ? e.checked = arguments[1] : e.value = arguments[1];"
                "for (const name of ['input', 'change']) e.dispatchEvent(new Event(name, {bubbles: true}));", selector, value)
        self.settle()

    def screenshot(self, path, whole=True):
        size = self.driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 8000), "scale": 1}} if whole else {}
        png = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", **clip})["data"]
        pathlib.Path(path).write_bytes(base64.b64decode(png))

    def pixels(self, selector):
        """What is seen of one element, as an array of RGB."""
        import io

        import numpy as np
        from PIL import Image
        self.js("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self.settle()
        png = self.driver.find_element("css selector", selector).screenshot_as_png
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)

    def close(self):
        self.driver.quit()
        time.sleep(0.1)
