"""t2i compare: runs beside each other and folders of pictures, in a real browser, and the numbers by scikit-image.

Broken by: pictures paired by their place and not by prompt, seed and step; a wipe that shows the wrong side; a difference
that is measured on shrunk pictures; a setting that differs and is not listed.
"""

import json
import pathlib
import re

import numpy as np
import pytest
from browser import Browser
from made_runs import NASTY, picture, run_folder, scene
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from tiny import t2i


@pytest.fixture(scope="module")
def browser():
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The second run has the same prompts in another order, one more, and one step less."""
    root = tmp_path_factory.mktemp("compare")
    first = run_folder(root / "a" / "base", steps=600, pictures=(0, 200, 400, 600), prompts=("a red disc", NASTY))
    second = run_folder(root / "b" / "faster", steps=500, total=500, seed=0, lr=2e-4, level=0.04, resumed_at=(), nan_steps=(), pictures=(0, 200, 400), prompts=("another", NASTY, "a red disc"), hue=0.5)
    return root, first, second


@pytest.fixture(scope="module")
def said(runs):
    root, first, second = runs
    done = t2i("compare", first, second, "--output", root / "compare.html")
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def page(browser, runs, said):
    browser.open(runs[0] / "compare.html")
    yield browser
    assert browser.console() == [] and browser.requests() == []


def test_the_terminal_says_the_short_of_it(said, runs):
    lines = [re.split(r"\s{2,}", line.strip()) for line in said.splitlines()]
    assert ["base", "faster"] in lines and ["steps", "600", "500"] in lines and ["state", "done", "done"] in lines
    assert ["optimizer.learning_rate", "0.0001", "0.0002"] in lines and ["train.max_train_steps", "800", "500"] in lines
    keys = {line[0] for line in lines if "." in line[0] and line[0].count(".") == 1 and " " not in line[0]}
    assert keys == {"optimizer.learning_rate", "train.max_train_steps", "validation.prompts"}, "and nothing that is the same"
    assert "6 pictures of the same prompt, seed and step" in said
    assert re.fullmatch(r".*compare\.html: [\d.]+ kB", said.splitlines()[-1])


def test_settings_and_curves(page, runs):
    rows = page.js("return [...document.querySelectorAll('#differences tbody tr')].map(r => [...r.children].map(c => c.textContent))")
    assert [row[0] for row in rows] == ["train.max_train_steps", "optimizer.learning_rate", "validation.prompts"]
    assert rows[1] == ["optimizer.learning_rate", "0.0001", "0.0002", "null"]
    charts = page.js("return charts.map(c => [c.title, c.lines.map(l => [l.label, l.mean.length, l.color])])")
    assert charts[0] == ["Loss", [["base", 600, 0], ["faster", 500, 1]]] and len(charts) == 6
    for i, folder in enumerate(runs[1:]):
        logged = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        seen = page.js("return charts[0].lines[arguments[0]].mean", i)
        assert all((s is None and w is None) or s == pytest.approx(w, rel=1e-6) for s, w in zip(seen, logged, strict=True))
    assert page.js("const s = document.querySelector('.chart svg'); return [...new Set([...s.querySelectorAll('.line:not(.raw)')].map(l => getComputedStyle(l).stroke))].length") == 2


def test_the_same_prompt_seed_and_step_with_a_wipe(page, runs):
    first, second = runs[1:]
    assert page.js("return [...document.querySelectorAll('#row option')].map(o => o.textContent)") == ["a red disc · seed 1", f"{NASTY} · seed 1"]
    names = {0: ("000-0.png", "002-0.png"), 1: ("001-0.png", "001-0.png")}
    for row in (0, 1):
        page.set("#row", str(row))
        for place, step in enumerate((0, 200, 400)):
            page.set("#step", str(place))
            page.settle()
            left, right = (np.asarray(Image.open(folder / "validation_images" / f"step-{step:07}" / name)).astype(int) for folder, name in zip((first, second), names[row]))
            for share, (kept, other) in {100: (left, right), 0: (right, left)}.items():
                page.set("#wipe", str(share))
                seen = page.pixels(".frame")
                side = seen.shape[0]
                # The middle of each of the 32 × 32 pixels, far from the corners' names and from the bar.
                at = ((np.arange(10, 22) + 0.5) * side / 32).astype(int)
                shown = seen[np.ix_(at, at)]
                assert np.abs(shown - kept[10:22, 10:22]).max() <= 2, (row, step, share)
                assert np.abs(shown - other[10:22, 10:22]).mean() > 5
    page.set("#wipe", "50")
    seen, side = page.pixels(".frame"), page.pixels(".frame").shape[0]
    rows_, columns = ((np.arange(8, 13) + 0.5) * side / 32).astype(int), ((np.arange(4, 28) + 0.5) * side / 32).astype(int)
    shown = seen[np.ix_(rows_, columns)]
    wanted = np.concatenate([left[8:13, 4:16], right[8:13, 16:28]], axis=1)
    away = np.abs(columns - side / 2) > 24  # the bar and its handle
    assert np.abs(shown - wanted)[:, away].max() <= 2


def test_the_wipe_is_moved_by_keys_and_by_hand(page):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys
    wipe = page.driver.find_element("id", "wipe")
    wipe.send_keys(Keys.HOME)
    assert page.js("return document.querySelector('.over').style.clipPath") == "inset(0px 100% 0px 0px)"
    wipe.send_keys(Keys.ARROW_RIGHT * 4)
    assert page.js("return document.querySelector('.bar').style.left") == "2%"
    frame = page.driver.find_element("css selector", ".frame")
    page.js("arguments[0].scrollIntoView({block: 'center'})", frame)
    ActionChains(page.driver).move_to_element(frame).click_and_hold().move_by_offset(int(frame.rect["width"] / 4), 0).release().perform()
    assert float(wipe.get_attribute("value")) == pytest.approx(75, abs=1)
    page.set("#mode", "difference")
    assert page.js("return getComputedStyle(document.querySelector('.over')).mixBlendMode") == "difference"
    page.set("#mode", "side")
    boxes = page.js("return ['.over', '.under'].map(s => { const b = document.querySelector(s).getBoundingClientRect(); return [b.left, b.right]; })")
    assert boxes[0][1] <= boxes[1][0], "the left one is left of the right one"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_it_can_be_read(page, runs, tmp_path, scheme, width):
    page.open(runs[0] / "compare.html", width=width, scheme=scheme)
    assert page.js("return document.documentElement.scrollWidth") <= width
    page.screenshot(tmp_path / f"compare-{scheme}-{width}.png")


def test_three_runs_of_one_name(browser, runs, tmp_path):
    root, first, second = runs
    third = run_folder(tmp_path / "c" / "base", steps=30, pictures=(), buckets=False)
    (third / "config.yaml").unlink()
    done = t2i("compare", first, second, third, "--output", tmp_path / "three.html")
    assert f"{tmp_path}/c/base"[:20] in done.stdout and "0 pictures of the same" in done.stdout
    browser.open(tmp_path / "three.html")
    assert browser.js("return charts[0].lines.length") == 3
    assert browser.js("return document.querySelector('#differences tbody tr').children[3].textContent") == "–", "its settings are not known"
    assert browser.console() == []


# ---- two folders of pictures ----


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    random = np.random.default_rng(4)
    pairs = {}
    for i in range(5):
        a = scene(64, i / 5, 1).round()
        b = a if i == 0 else (a + random.normal(0, 4 * i, a.shape)).clip(0, 255).round()
        picture(root / "before" / f"sub/{i:03}.png", a)
        picture(root / "after" / f"sub/{i:03}.png", b)
        pairs[f"sub/{i:03}.png"] = (a, b)
    Image.fromarray(scene(64, 0.3, 1).astype(np.uint8)).save(root / "before" / "other.jpg", quality=95)
    Image.open(root / "before" / "other.jpg").save(root / "after" / "other.webp", lossless=True)
    picture(root / "before" / "larger.png", np.zeros((20, 30, 3)))
    picture(root / "after" / "larger.png", np.zeros((10, 30, 3)))
    picture(root / "before" / "alone <b>.png", np.zeros((4, 4, 3)))
    picture(root / "after" / "unread.png", np.zeros((4, 4, 3)))
    picture(root / "before" / "unread.png", np.zeros((4, 4, 3)))
    (root / "after" / "unread.png").write_bytes(b"not a picture")
    (root / "after" / "notes.txt").write_text("no picture")
    return root, pairs


def test_differences_are_those_of_scikit_image(browser, folders):
    root, pairs = folders
    done = t2i("compare", root / "before", root / "after", "--output", root / "c.html")
    assert "8 pairs, 2 of them equal" in done.stdout and "larger.png: not compared: 30 × 20 and 30 × 10 pixels" in done.stdout and "unread.png: not compared: " in done.stdout
    assert f"only in {root}/before: 1 pictures, the first alone <b>.png" in done.stdout and "the most different: sub/004.png" in done.stdout
    browser.open(root / "c.html")
    seen = {p["name"]: p for p in browser.js("return data.pairs.map(({name, mean, most, psnr}) => ({name, mean, most, psnr}))")}
    for name, (a, b) in pairs.items():
        assert seen[name]["mean"] == pytest.approx(np.abs(a - b).mean(), rel=1e-12) and seen[name]["most"] == np.abs(a - b).max()
        if name == "sub/000.png":
            assert seen[name]["psnr"] == "inf" and seen[name]["most"] == 0
        else:
            assert seen[name]["psnr"] == pytest.approx(peak_signal_noise_ratio(a.astype(np.uint8), b.astype(np.uint8)), rel=1e-9)
    assert seen["other"]["most"] == 0, "another ending, the same pixels"
    overall = re.search(r"difference of 255: mean ([\d.]+), most (\d+)", done.stdout)
    assert float(overall[1]) == pytest.approx(np.mean([np.abs(a - b).mean() for a, b in pairs.values()] + [0]), rel=1e-3)
    names = browser.js("return [...document.querySelectorAll('#pairs tbody th')].map(t => t.textContent)")
    assert names[:6] == ["larger.png", "unread.png", "sub/004.png", "sub/003.png", "sub/002.png", "sub/001.png"], "what cannot be compared first, then by difference"
    browser.js("[...document.querySelectorAll('#pairs tbody tr')][2].click()")
    assert browser.js("return document.getElementById('caption').textContent").startswith("sub/004.png: mean ")
    browser.set("#wipe", "100")
    side = browser.pixels(".frame").shape[0]
    at = ((np.arange(20, 44) + 0.5) * side / 64).astype(int)
    assert np.abs(browser.pixels(".frame")[np.ix_(at, at)] - pairs["sub/004.png"][0][20:44, 20:44]).max() <= 2
    from selenium.webdriver.common.keys import Keys
    browser.driver.find_element("css selector", "#pairs .chosen button").send_keys(Keys.ARROW_DOWN)
    assert browser.js("return document.getElementById('caption').textContent").startswith("sub/003.png")
    browser.set("#order", "name")
    assert browser.js("return document.querySelector('#pairs tbody th').textContent") == "larger.png"
    assert browser.js("return document.getElementById('only-a').querySelector('li').textContent") == "alone <b>.png"
    browser.screenshot(root / "folders.png")
    assert browser.console() == [] and browser.requests() == []
