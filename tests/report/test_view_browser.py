"""The page of `excel-cam view` in a real browser: what its controls do, at a desk and on a phone.

Needs selenium (`pip install -e '.[browser]'`), and Chromium or Chrome with its driver (Debian: chromium,
chromium-driver); skipped where one of them is missing. By name: `python -m pytest -m browser -rs`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from viewable import NAMES, STAR, make_viewable

selenium = pytest.importorskip("selenium", reason="selenium is not installed: pip install -e '.[browser]'")

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import Select, WebDriverWait  # noqa: E402

pytestmark = pytest.mark.browser

Run = Callable[..., Result]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SWITCHES = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync")  # fmt: skip


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser with a profile of its own."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    chromedriver = shutil.which("chromedriver")
    if browser is None or chromedriver is None:
        pytest.skip(f"no {'browser' if browser is None else 'chromedriver'}: install chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(chromedriver))
    yield started
    started.quit()


@pytest.fixture
def page(driver: Any, excel_cam: Run, tmp_path: Path) -> Any:
    """The browser, at a desk, with the page of the small set just opened."""
    made = make_viewable(tmp_path)
    result = excel_cam(*made.arguments("--out", tmp_path / "report.html", "--quiet"))
    assert result.exit_code == 0, result.stderr
    resize(driver, 1200, 900)
    driver.get_log("browser")
    driver.get_log("performance")
    driver.get((tmp_path / "report.html").as_uri())
    return driver


def resize(driver: Any, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def shown(page: Any) -> list[str]:
    """The names of the cards that can be seen, in their order."""
    cards = "[...document.querySelectorAll('.card')].filter((card) => card.checkVisibility())"
    return list(page.execute_script(f"return {cards}.map((card) => card.dataset.name)"))


def card(page: Any, name: str) -> Any:
    find = "return [...document.querySelectorAll('.card')].find((card) => card.dataset.name === arguments[0])"
    return page.execute_script(find, name)


def choose(page: Any, identifier: str, value: str) -> None:
    Select(page.find_element(By.ID, identifier)).select_by_value(value)


def opacity(page: Any, name: str) -> float:
    """The opacity with which a card's overlay is drawn, once it has settled."""
    image = card(page, name).find_element(By.CSS_SELECTOR, ".layer:not([hidden]) img")
    page.execute_script("for (const moving of document.getAnimations()) moving.finish()")
    return float(image.value_of_css_property("opacity"))


def test_it_loads_without_errors_and_fetches_nothing(page: Any) -> None:
    assert page.get_log("browser") == []
    assert page.execute_script("return window.alerted") is None
    fetched = page.execute_script("return performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in fetched if not name.startswith("data:")] == []
    requests = [entry for entry in page.get_log("performance") if '"Network.requestWillBeSent"' in entry["message"]]
    assert [entry for entry in requests if '"url":"http' in entry["message"]] == []
    assert shown(page) == ["half", STAR, "alike", "ignored", "lone", "missed"]
    broken = "return [...document.images].filter((image) => image.complete && !image.hidden && !image.naturalWidth"
    assert page.execute_script(f"{broken} && image.closest('[hidden]') === null).length") == 0


def test_a_slider_changes_the_opacity_of_its_own_image(page: Any) -> None:
    assert opacity(page, "half") == pytest.approx(0.6)
    slider = card(page, "half").find_element(By.CSS_SELECTOR, ".opacity input")
    slider.send_keys(Keys.END)
    assert opacity(page, "half") == 1
    assert card(page, "half").find_element(By.TAG_NAME, "output").text == "100 %"
    assert opacity(page, "alike") == pytest.approx(0.6)
    page.find_element(By.ID, "opacity").send_keys(Keys.HOME)
    assert opacity(page, "half") == opacity(page, "alike") == 0
    assert slider.get_attribute("value") == "0"


def test_the_class_filter_hides_the_others(page: Any) -> None:
    choose(page, "class", "2")
    assert shown(page) == ["half"]
    assert page.find_element(By.ID, "status").text == "1 of 6 shown"
    choose(page, "class", "1")
    assert shown(page) == ["half", "alike", "ignored", "lone", "missed"]  # "missed" has it in its truth
    choose(page, "class", "255")
    assert shown(page) == ["ignored"]
    page.find_element(By.ID, "find").send_keys("ALI")
    assert shown(page) == []
    page.find_element(By.ID, "clear").click()
    assert len(shown(page)) == len(NAMES)
    page.find_element(By.ID, "find").send_keys("ALI")
    assert shown(page) == ["alike"]


def test_images_are_sorted_by_iou_name_and_doubt(page: Any) -> None:
    choose(page, "sort", "iou")
    assert shown(page) == ["missed", "half", "ignored", "alike", STAR, "lone"]
    choose(page, "sort", "name")
    assert shown(page) == NAMES
    choose(page, "sort", "doubt")
    assert shown(page) == ["half", STAR, "alike", "ignored", "lone", "missed"]


def visible_layer(page: Any, name: str) -> str:
    layers = "[...arguments[0].querySelectorAll('.layer')].filter((layer) => layer.checkVisibility())"
    (layer,) = page.execute_script(f"return {layers}.map((layer) => layer.dataset.layer)", card(page, name))
    return str(layer)


def test_one_layer_is_shown_at_a_time(page: Any) -> None:
    assert visible_layer(page, "half") == "label"
    choose(page, "layer", "difference")
    assert visible_layer(page, "half") == "difference"
    assert visible_layer(page, "lone") == "label"  # has no truth
    choose(page, "layer", "map")
    assert visible_layer(page, "half") == "map-1"
    choose(page, "class", "2")
    assert visible_layer(page, "half") == "map-2"
    card(page, "half").find_element(By.CSS_SELECTOR, "input[value=truth]").click()
    assert visible_layer(page, "half") == "truth"


def test_names_lie_on_pictures_and_can_be_taken_off(page: Any) -> None:
    tags = card(page, "alike").find_elements(By.CSS_SELECTOR, ".layer[data-layer=label] .tag")
    assert [tag.text for tag in tags] == ["red <b>panda</b>"]
    page.find_element(By.ID, "tags").click()
    assert not tags[0].is_displayed()


def test_pointing_at_a_picture_reads_its_pixel(page: Any) -> None:
    picture = card(page, "half").find_element(By.CSS_SELECTOR, ".picture")
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    readout = picture.find_element(By.CSS_SELECTOR, ".readout")
    width, height = picture.size["width"], picture.size["height"]
    for column, row, expected in [
        (31.5, 20.5, "label: tea & \"pot\" 'x' · truth: red <b>panda</b>"),
        (17.5, 20.5, "label: red <b>panda</b> · truth: red <b>panda</b>"),
        (50.5, 35.5, "label: background · truth: background"),
    ]:
        right, down = round((column / 60 - 0.5) * width), round((row / 40 - 0.5) * height)
        ActionChains(page).move_to_element_with_offset(picture, right, down).perform()
        WebDriverWait(page, 5).until(lambda _, expected=expected: readout.text == expected, readout.text)


def test_the_keyboard_reaches_the_controls_and_their_focus_is_seen(page: Any) -> None:
    reached = []
    for _ in range(30):
        ActionChains(page).send_keys(Keys.TAB).perform()
        focused = page.switch_to.active_element
        reached.append(focused.get_attribute("id") or focused.get_attribute("aria-label") or focused.tag_name)
        if reached[-1] == "Opacity over half":
            break
    assert reached[0] == "a"  # the way past the head
    wanted = ["class", "sort", "layer", "find", "opacity", "least", "tags", "copy"]
    assert [name for name in reached if name in wanted] == wanted
    assert reached[-1] == "Opacity over half", reached
    assert page.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    ActionChains(page).send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT).perform()
    assert opacity(page, "half") == pytest.approx(0.5)
    ActionChains(page).key_down(Keys.SHIFT).send_keys(Keys.TAB).key_up(Keys.SHIFT).perform()
    ActionChains(page).send_keys(Keys.ARROW_RIGHT).perform()
    assert visible_layer(page, "half") == "truth"


def test_pictures_are_above_the_fold_of_a_desk(page: Any) -> None:
    resize(page, 1366, 768)
    page.refresh()
    below = "return document.querySelector('.card .picture').getBoundingClientRect().bottom"
    assert page.execute_script(below) < 768
    assert page.find_element(By.CSS_SELECTOR, "tr[data-value]").is_displayed()  # the table is beside them


def enlarged(page: Any) -> list[str]:
    """The captions of the pictures that are seen enlarged."""
    captions = "[...document.querySelectorAll('#panes figcaption')].filter((caption) => caption.checkVisibility())"
    return list(page.execute_script(f"return {captions}.map((caption) => caption.textContent)"))


def test_a_click_enlarges_and_keys_lead_on(page: Any) -> None:
    card(page, "half").find_element(By.CSS_SELECTOR, ".picture").click()
    title = page.find_element(By.ID, "large-name")
    assert enlarged(page) == ["Photograph", "Truth", "Label"]
    assert title.text == "half (1 of 6)"
    ActionChains(page).send_keys(Keys.ARROW_LEFT, Keys.ARROW_RIGHT).perform()
    assert title.text == f"{STAR} (2 of 6)"
    ActionChains(page).send_keys("p").perform()
    assert enlarged(page) == ["Photograph"]
    height = page.execute_script("return document.querySelector('#panes .picture').getBoundingClientRect().height")
    assert height > 0.8 * 900  # STAR stands upright: as high as the window
    ActionChains(page).send_keys("p", Keys.ESCAPE).perform()
    assert not page.find_element(By.ID, "large").is_displayed()
    assert page.switch_to.active_element.get_attribute("aria-label") == f"Enlarge {STAR}"
    ActionChains(page).send_keys(Keys.ENTER).perform()
    assert title.text == f"{STAR} (2 of 6)"


def test_the_enlarged_image_shows_the_chosen_layer_too_and_only_what_is_there(page: Any) -> None:
    choose(page, "layer", "difference")
    for name, captions in [
        ("half", ["Photograph", "Truth", "Label", "Differences"]),
        ("lone", ["Photograph", "Label"]),
    ]:
        card(page, name).find_element(By.CSS_SELECTOR, ".enlarge").click()
        assert enlarged(page) == captions
        page.find_element(By.ID, "back").click()


def test_rows_of_the_table_filter(page: Any) -> None:
    row = page.find_element(By.CSS_SELECTOR, "button.filter[data-value='2']")
    row.send_keys(Keys.ENTER)
    assert shown(page) == ["half"]
    assert row.get_attribute("aria-pressed") == "true"
    row.click()
    assert len(shown(page)) == len(NAMES)
    assert row.get_attribute("aria-pressed") == "false"


def test_doubtful_names_are_copied_for_a_list(page: Any) -> None:
    page.find_element(By.ID, "least").send_keys("20")
    assert shown(page) == ["half", STAR]
    page.execute_script("navigator.clipboard.writeText = (text) => { window.copied = text; return Promise.resolve(); }")
    page.find_element(By.ID, "copy").click()
    WebDriverWait(page, 5).until(lambda _: page.find_element(By.ID, "status").text == "2 names copied")
    assert page.execute_script("return window.copied") == f"half\n{STAR}\n"
    page.execute_script("navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed'))")
    page.find_element(By.ID, "copy").click()
    WebDriverWait(page, 5).until(lambda _: page.find_element(By.ID, "names").is_displayed())
    assert page.find_element(By.ID, "names-text").get_attribute("value") == f"half\n{STAR}\n"


def test_it_fits_a_phone(page: Any) -> None:
    resize(page, 375, 700)
    page.refresh()
    assert page.execute_script("return innerWidth") == 375
    assert page.execute_script("return document.documentElement.scrollWidth") <= 375
    for fold in page.find_elements(By.CSS_SELECTOR, "aside summary"):
        fold.click()
    assert page.execute_script("return document.documentElement.scrollWidth") <= 375
    cut = """return [...document.querySelectorAll("main *, aside *, header *, form *")].filter((element) => {
      const box = element.getBoundingClientRect();
      return box.width > 1 && !element.closest(".skip, .unseen, .tag") && (box.left < -1 || box.right > 376);
    }).map((element) => element.outerHTML.slice(0, 80))"""
    assert page.execute_script(cut) == []
    assert float(page.find_element(By.CSS_SELECTOR, ".chips").value_of_css_property("font-size")[:-2]) >= 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(page: Any, scheme: str) -> None:
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"features": [{"name": "prefers-color-scheme", "value": scheme},
                      {"name": "prefers-reduced-motion", "value": "reduce"}]},
    )  # fmt: skip
    contrast = """
      const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
      const light = (colour) => {
        canvas.fillStyle = colour;
        canvas.fillRect(0, 0, 1, 1);
        const [red, green, blue] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) => {
          const part = value / 255;
          return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
      };
      const style = getComputedStyle(document.documentElement);
      const of = (name) => light(style.getPropertyValue(name));
      return [["--ink", "--panel"], ["--soft", "--panel"], ["--soft", "--ground"], ["--ink", "--accent-soft"]]
        .map(([ink, ground]) => (Math.max(of(ink), of(ground)) + 0.05) / (Math.min(of(ink), of(ground)) + 0.05));
    """
    assert min(page.execute_script(contrast)) > 4.5
    moving = "return getComputedStyle(document.querySelector('.layer img')).transitionDuration"
    assert page.execute_script(moving) == "0s"
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
