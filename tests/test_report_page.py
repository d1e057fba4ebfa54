"""report.html in a real browser: what it shows is what the run's files say, whatever they say.

Broken by: a curve that is scaled, shifted or smoothed differently than it says, a NaN drawn as zero, a prompt that becomes
markup, a slider that shows another step's pictures, a script or picture from elsewhere, a colour that cannot be read.
"""

import base64
import fcntl
import io
import json
import math
import os
import pathlib
import re
import socket

import numpy as np
import pytest
from browser import Browser
from made_runs import NASTY, losses, metrics_line, run_folder
from PIL import Image
from tiny import t2i


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = run_folder(tmp_path_factory.mktemp("report") / "first run")
    done = t2i("report", folder)
    assert re.fullmatch(r"\S.*report\.html: 600 steps, loss 0\.\d+, 12 pictures, [\d.]+ kB\n", done.stdout) and done.stderr == ""
    return folder


@pytest.fixture
def page(browser, run):
    browser.open(run / "report.html")
    yield browser
    assert browser.console() == [], "errors, or what the content security policy refused"
    assert browser.requests() == []


def close(seen, wanted):
    assert len(seen) == len(wanted)
    for s, w in zip(seen, wanted):
        assert (s is None) == (w is None or not math.isfinite(w))
        assert s is None or s == pytest.approx(w, rel=1e-6)  # seven digits of nine: more than float32 has


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines() if line.endswith("}")]


def drawn(browser, chart, path):
    """The curve as it is on the screen: its corners, turned back into numbers by the labels of the axis."""
    ticks, corners = browser.js("""
      const svg = document.querySelectorAll('.chart svg')[arguments[0]];
      const ticks = [...svg.querySelectorAll('.tick')].filter(t => t.getAttribute('text-anchor') === 'end' && t.getAttribute('x') < 60).map(t => [t.textContent, Number(t.getAttribute('y')) - 4]);
      return [ticks, svg.querySelectorAll(arguments[1])[0].getAttribute('d')];""", chart, path)
    known = [(float(text.replace(",", "")), y) for text, y in ticks]
    (v0, y0), (v1, y1) = known[0], known[-1]
    return [v0 + (float(y) - y0) / (y1 - y0) * (v1 - v0) for y in re.findall(r"[ML][-\d.]+,([-\d.]+)", corners)], abs((v1 - v0) / (y1 - y0))


def test_the_curves_are_those_of_the_file(page, run):
    lines = metrics(run)
    names = page.js("return charts.map(c => [c.title, c.lines.map(l => l.label)])")
    assert [title for title, _ in names] == ["Loss", "Learning rate", "Gradient norm", "Images per second", "Seconds of a step", "Memory", "grad/attention_qk"]
    assert names[0][1] == ["loss"], "raw_loss is the same here, so it is not drawn twice"
    keys = {0: ["loss"], 1: ["lr"], 2: ["grad_norm"], 3: ["images_per_second"], 4: ["step_seconds", "data_seconds"], 5: ["memory_bytes", "peak_memory_bytes"], 6: ["grad/attention_qk"]}
    for chart, series in keys.items():
        for line, key in enumerate(series):
            close(page.js("return charts[arguments[0]].lines[arguments[1]].mean", chart, line), [m.get(key) for m in lines])
    assert page.js("return charts[0].lines[0].points.steps") == [m["step"] for m in lines]
    close(page.js("return charts[0].lines[0].points.seconds"), np.cumsum([m["step_seconds"] for m in lines]))
    # And on the screen: without smoothing the line's corners are the values, to half a pixel.
    page.set("#smoothing", "0")
    page.set("#outliers", False)
    values, of_a_pixel = drawn(page, 0, ".line")
    wanted = [m["loss"] for m in lines if m["loss"] is not None]
    assert len(values) == len(wanted) and max(abs(v - w) for v, w in zip(values, wanted)) < 0.5 * of_a_pixel + 1e-9


def test_smoothing_is_that_of_tensorboard(page, run):
    """Its formula: last = last·w + (1 − w)·x, divided by 1 − w^n; values that are no number are passed over."""
    raw = [m["loss"] for m in metrics(run)]
    for weight in (0.6, 0.95):
        page.set("#smoothing", str(weight))
        last, n, wanted = 0.0, 0, []
        for x in raw:
            if x is not None:
                last, n = last * weight + (1 - weight) * x, n + 1
            wanted.append(None if x is None else last / (1 - weight**n))
        close(page.js("return charts[0].shown(charts[0].lines[0])"), wanted)
        values, of_a_pixel = drawn(page, 0, ".line:not(.raw)")
        assert abs(values[-1] - wanted[-1]) < 0.5 * of_a_pixel + 1e-9
    assert page.js("return document.querySelectorAll('.chart svg')[0].querySelectorAll('.raw').length") == 1, "what was logged stays to be seen behind it"


def test_what_is_no_number_and_where_the_run_went_on(page):
    assert page.js("return [...document.querySelectorAll('.chart svg')[0].querySelectorAll('.bad title')].map(t => t.textContent)") == ["step 100: loss is no number", "step 101: loss is no number"]
    assert page.js("return document.querySelectorAll('.chart svg')[0].querySelector('.line').getAttribute('d').match(/M/g).length") == 2, "the line is broken there"
    assert page.js("return [...document.querySelectorAll('.chart svg')[0].querySelectorAll('.resume title')].map(t => t.textContent)") == ["went on after step 250, 2026-11-21 21:10:00 UTC"]
    page.js("charts[0].svg.focus(); setCursor(100)")
    assert "no number" in page.js("return charts[0].values[0].textContent")


def test_logarithm_zoom_and_keys(page, run):
    page.set("#log", True)
    ticks = page.js("return [...document.querySelectorAll('.chart svg')[0].querySelectorAll('.tick')].filter(t => t.getAttribute('x') < 60).map(t => [Number(t.textContent), Number(t.getAttribute('y'))])")
    per_decade = {round((b[1] - a[1]) / math.log10(b[0] / a[0]), 0) for a, b in zip(ticks, ticks[1:])}
    assert len(ticks) >= 2 and max(per_decade) - min(per_decade) <= 2, "equal factors are equal distances"
    page.set("#log", False)
    from selenium.webdriver.common.action_chains import ActionChains
    svg = page.driver.find_elements("css selector", ".chart svg")[0]
    page.js("arguments[0].scrollIntoView({block: 'center'})", svg)
    box = svg.rect
    ActionChains(page.driver).move_to_element_with_offset(svg, -int(box["width"] / 4), 0).click_and_hold().move_by_offset(int(box["width"] / 4), 0).release().perform()
    page.settle()
    low, high = page.js("return view.range")
    assert 120 < low < 160 and 280 < high < 310, (low, high)  # a quarter and the half, less the margin of the axis
    assert page.js("return charts.map(c => c.domain()[0])") == [low] * 7, "all charts show the same steps"
    assert not page.js("return document.getElementById('whole').disabled")
    from selenium.webdriver.common.keys import Keys
    svg.send_keys(Keys.ESCAPE)
    page.settle()
    assert page.js("return view.range") is None
    svg.send_keys(Keys.HOME)
    svg.send_keys(Keys.ARROW_RIGHT * 9)
    loss = metrics(run)[9]["loss"]
    assert page.js("return document.getElementById('where').textContent") == "step 10"
    said = page.js("return document.getElementById('spoken').textContent")
    assert said.startswith("step 10: loss ") and float(re.search(r"\(([\d.]+)\)", said)[1]) == pytest.approx(loss, rel=1e-3)  # four digits are said
    svg.send_keys("++")
    page.settle()
    low, high = page.js("return view.range")
    assert low <= 10 <= high and high - low < 200
    page.js("document.activeElement.blur()")
    page.set("#axis", "epochs")
    assert page.js("return charts[0].domain()[1]") == pytest.approx(600 / 80)
    page.set("#axis", "seconds")
    assert page.js("return charts[0].domain()[1]") == pytest.approx(sum(m["step_seconds"] for m in metrics(run)))


def shown_pictures(page):
    """The pictures on the page, decoded."""
    return [Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGB") for uri in page.js("return [...document.querySelectorAll('.shot img')].map(i => i.src)")]


def test_the_slider_shows_the_pictures_of_its_step(page, run):
    for place, step in enumerate((0, 200, 400, 600)):
        page.set("#step", str(place))
        assert page.js("return document.getElementById('picture-step').textContent") == f"{step} ({place + 1} of 4)"
        seen = shown_pictures(page)
        assert len(seen) == 3
        for i, picture in enumerate(seen):  # small files are embedded as they are
            assert picture.tobytes() == Image.open(run / "validation_images" / f"step-{step:07}" / f"{i:03}-0.png").tobytes()
    assert page.js("return [...document.querySelectorAll('.shot img')].every(i => i.complete && i.naturalWidth === 32 && getComputedStyle(i).imageRendering === 'pixelated')")
    page.js("document.querySelectorAll('.shot')[2].click()")
    from selenium.webdriver.common.keys import Keys
    page.driver.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    assert "step 400 · a green disc" in page.js("return document.querySelector('dialog').textContent")
    assert page.js("return document.getElementById('step').value") == "2"
    page.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert page.js("return document.querySelector('dialog').open") is False
    page.driver.find_element("id", "step").send_keys(Keys.ARROW_LEFT)
    assert page.js("return document.getElementById('picture-step').textContent") == "200 (2 of 4)"


def test_text_stays_text(page):
    prompts = page.js("return [...document.querySelectorAll('.sample .prompt')].map(p => p.textContent)")
    assert prompts[1] == NASTY
    assert page.js("return document.querySelectorAll('img[src=x], .prompt *, .text *').length") == 0
    assert page.js("return [...document.querySelectorAll('#bad td')].map(d => d.textContent)")[2] == f"{NASTY}: PNG ends after 40 % of the rows"
    assert any(NASTY in text for text in page.js("return [...document.querySelectorAll('.events .text')].map(p => p.textContent)"))


def test_nothing_can_be_loaded(page):
    """The policy of the page itself: a script that got in after all could neither fetch nor run inline."""
    refused = page.driver.execute_async_script("const done = arguments[0]; fetch('http://127.0.0.1:9/x').then(() => done('sent'), (e) => done('refused'));")
    assert refused == "refused"
    page.js("const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s); const i = new Image(); i.src = 'http://127.0.0.1:9/y.png'; document.body.append(i);")
    page.settle()
    assert page.js("return window.ran") is None
    kinds = [entry["message"] for entry in page.console()]
    assert len(kinds) >= 2 and all("Content Security Policy" in message for message in kinds)
    page.requests()


def test_messages_data_and_configuration(page, run):
    kinds = page.js("return [...document.querySelectorAll('#message-list > .events li .kind')].map(k => k.textContent)")
    assert kinds == ["notice", "warning", "warning", "resumed", "skipped"]
    rows = page.js("return [...document.querySelectorAll('#buckets tr')].map(r => [r.querySelector('th').textContent, r.querySelector('.number').textContent, r.querySelector('.bar').getBoundingClientRect().width])")
    assert [row[:2] for row in rows] == [["384 × 768", "7"], ["448 × 640", "96"], ["512 × 512", "320"], ["640 × 448", "140"], ["768 × 384", "12"]]
    widths = {row[0]: row[2] for row in rows}
    assert widths["640 × 448"] / widths["512 × 512"] == pytest.approx(140 / 320, rel=0.02)  # pixels
    settings = page.js("return [...document.querySelectorAll('.settings tr')].map(r => [r.className, r.querySelector('th').textContent, r.querySelector('code').textContent])")
    known = json.loads(t2i("schema").stdout)["properties"]
    sections = page.js("return Object.fromEntries(data.config.map(s => [s.section, s.keys.map(k => k.key.split('.').pop())]))")
    for name, entry in known.items():
        if entry.get("additionalProperties") is False and name != "optimizer":
            assert sections[name] == list(entry["properties"]), "every key, once"
        elif name != "optimizer":
            assert name in sections[""]
    assert "adam_beta1" in sections["optimizer"] and "lr_scheduler" in sections["optimizer"] and "prodigy_d0" not in sections["optimizer"], "what this optimizer does not read is left out"
    assert len(settings) == sum(map(len, sections.values()))
    changed = {name: value for kind, name, value in settings if kind == "set"}
    assert changed["train_batch_size"] == "8" and changed["learning_rate"] == "0.0001" and changed["task"] == "text" and "keep" not in changed
    colours = page.js("return ['set', 'default'].map(c => { const r = [...document.querySelectorAll('.settings .' + c + ' code')].find(e => e.checkVisibility()); return [getComputedStyle(r).color, getComputedStyle(r).opacity]; })")
    assert colours[0] != colours[1], "defaults are grey"
    page.set("#only-changed", True)
    assert page.js("return [...document.querySelectorAll('.settings tr')].filter(r => r.checkVisibility()).length") == sum(kind == "set" for kind, _, _ in settings)


def luminance(colour):
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (int(x) / 255 for x in re.findall(r"\d+", colour)[:3]))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read(browser, run, tmp_path, scheme, width):
    """Contrast as WCAG's AA asks for, nothing wider than the screen; the screenshots are kept with the test."""
    browser.open(run / "report.html", width=width, scheme=scheme)
    background = browser.js("return getComputedStyle(document.querySelector('section')).backgroundColor")
    assert (luminance(background) > 0.5) == (scheme == "light")
    for selector in ("h2", ".hint", ".chip", ".fact .label", "nav a", ".events .kind", ".tick", ".settings .set code"):
        colour = browser.js("const e = document.querySelector(arguments[0]); return getComputedStyle(e)[e instanceof SVGElement ? 'fill' : 'color']", selector)
        bright, dim = sorted((luminance(colour), luminance(background)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, (selector, colour, background)
    assert browser.js("return document.documentElement.scrollWidth") <= width
    assert browser.js("return [...document.querySelectorAll('.chart svg')].every(s => s.getBoundingClientRect().width > 250 && s.querySelector('.line'))")
    browser.screenshot(tmp_path / f"report-{scheme}-{width}.png")
    assert Image.open(tmp_path / f"report-{scheme}-{width}.png").size[0] == width
    assert browser.console() == [] and browser.requests() == []


def test_a_million_steps(browser, tmp_path):
    """The page stays small, and the band holds the smallest and the largest of what it stands for."""
    steps = 1_000_000
    values = losses(steps, seed=3).astype(np.float64)
    values[123_456] = 9.5
    folder = tmp_path / "long"
    folder.mkdir()
    with open(folder / "metrics.jsonl", "w") as file:
        file.writelines(f'{{"step":{i + 1},"loss":{v:.6g},"lr":1e-05}}\n' for i, v in enumerate(values))
    t2i("report", folder)
    assert (folder / "report.html").stat().st_size < 1_000_000
    browser.open(folder / "report.html")
    line = browser.js("const l = charts[0].lines[0]; return {steps: l.points.steps, mean: l.mean, low: l.low, high: l.high}")
    assert 1000 <= len(line["steps"]) <= 2048 and line["steps"][-1] == steps
    values = np.array([float(f"{v:.6g}") for v in values])
    begin = 0
    for step, mean, low, high in zip(line["steps"], line["mean"], line["low"], line["high"]):
        part = values[begin:step]
        assert low == part.min() and high == part.max() and mean == pytest.approx(part.mean(), rel=1e-7)  # nine digits are kept
        begin = step
    assert "A point stands for 512 steps" in browser.js("return document.getElementById('curves-hint').textContent")
    assert browser.js("return document.querySelectorAll('.band').length") >= 1
    browser.screenshot(tmp_path / "long.png")
    assert browser.console() == []


def test_a_run_that_is_still_going_on(browser, tmp_path):
    """A last line without its end, damaged lines before it, a lock that is held, no pictures, no data.json yet."""
    folder = run_folder(tmp_path / "going", steps=40, total=100, resumed_at=(), nan_steps=(), pictures=(), buckets=False, end=None)
    with open(folder / "metrics.jsonl", "a") as file:
        file.write("garbage\n" + metrics_line(41, 0.1) + "\n" + metrics_line(42, 0.2)[:50])
    with open(folder / "run.lock", "w") as lock:
        lock.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "boot": "x", "started": "now"}))
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = t2i("report", folder, "--output", tmp_path / "going.html")
        assert "notice: 1 lines of metrics.jsonl were passed over" in done.stdout
        browser.open(tmp_path / "going.html")
        assert browser.js("return document.querySelector('#state .chip').textContent") == "running"
        assert browser.js("return charts[0].lines[0].points.steps").__len__() == 41
        hint = browser.js("return document.getElementById('curves-hint').textContent")
        assert "1 damaged lines" in hint and "was not finished" in hint
        assert browser.js("return [...document.querySelectorAll('main section')].map(s => s.id)") == ["curves", "messages", "settings"]
    t2i("report", folder, "--output", tmp_path / "going.html")
    browser.open(tmp_path / "going.html")
    assert browser.js("return document.querySelector('#state .chip').textContent") == "interrupted", "nobody holds the lock and the run has no end"
    assert browser.console() == []


def test_a_run_without_a_step_and_with_a_configuration_of_another_version(browser, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "config.yaml").write_text("of_tomorrow: 3\nprompt: '</script>'\n")
    t2i("report", folder)
    browser.open(folder / "report.html")
    assert "No step has been logged yet" in browser.js("return document.getElementById('charts').textContent")
    config = browser.js("return document.getElementById('config').textContent")
    assert "of_tomorrow: 3" in config and "[T2I-E1001]" in config and "</script>" in config
    assert browser.console() == []


def test_large_pictures_are_shrunk_and_that_is_said(browser, tmp_path):
    folder = run_folder(tmp_path / "large", steps=20, total=20, resumed_at=(), nan_steps=(), pictures=(0, 20), side=1024, prompts=("a large disc",))
    t2i("report", folder)
    browser.open(folder / "report.html")
    seen = shown_pictures(browser)[0]
    original = Image.open(folder / "validation_images" / "step-0000020" / "000-0.png")
    assert seen.size == (512, 512)
    assert "at most 512 pixels" in browser.js("return document.getElementById('pictures-hint').textContent")
    error = np.abs(np.asarray(seen).astype(int) - np.asarray(original.resize((512, 512), Image.LANCZOS)).astype(int)).mean()
    assert error < 3  # of 255: WebP's losses on a smooth picture
    originals = sum(path.stat().st_size for path in folder.rglob("*.png"))
    assert originals > 1_000_000 and (folder / "report.html").stat().st_size < 0.3 * originals


def test_the_picture_that_was_edited_stands_beside_its_edit(browser, tmp_path):
    folder = run_folder(tmp_path / "edits", steps=20, total=20, resumed_at=(), nan_steps=(), pictures=(0, 20), prompts=("make it red", "make it blue"))
    sources = []
    for i in range(2):
        sources.append(tmp_path / f"source-{i}.png")
        Image.new("RGB", (20, 20), (40 * i, 90, 160)).save(sources[-1])
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("prompts:", f"images: {json.dumps([str(s) for s in sources])}, prompts:"))
    t2i("report", folder)
    browser.open(folder / "report.html")
    uris = browser.js("return [...document.querySelectorAll('.source img')].map(i => i.src)")
    assert [Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))).convert("RGB").getpixel((3, 3)) for uri in uris] == [(0, 90, 160), (40, 90, 160)]
    assert browser.console() == []
