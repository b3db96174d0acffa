"""The neuron explorer answers as fast as the number of neurons lets it: 458 752 neurons against 46 080 in a browser.

Times are from an input to the next painted frame. Absolute figures depend on the machine; the ratio does not: ten times
the neurons may take at most ten times as long, with some slack.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "browser"))
import browsers
import explorer_payload

SIZES = {"46 080": (30, 1536), "458 752": (32, 14336)}
BOUND = 12
ROUNDS = 9
# several rounds of: an input, then the time until the frame after it is painted; [fastest, median], since what else
# the machine does only adds to a time
MEASURE = """async (rounds) => {
  const painted = () => new Promise((done) => requestAnimationFrame(() => { const c = new MessageChannel();
    c.port1.onmessage = done; c.port2.postMessage(0); }));
  const over = document.querySelector(".nx-over"), box = over.getBoundingClientRect();
  const click = (i) => over.dispatchEvent(new MouseEvent("click",
    { bubbles: true, clientX: box.left + 60 + 31 * i, clientY: box.top + 40 + 17 * i }));
  const set = (name, value, type) => { const n = document.querySelector(`[name=${name}]`); n.value = value;
    n.dispatchEvent(new Event(type, { bubbles: true })); };
  const acts = {
    click,
    gamma: (i) => set("gamma", i % 12, "input"),
    topic: (i) => set("topic", (i % 7) - 1, "change"),
    layer: (i) => set("layer", i % 2 ? -1 : 3 + i, "change"),
  };
  const out = {};
  for (const [name, act] of Object.entries(acts)) {
    const times = [];
    for (let i = 0; i < rounds; i++) {
      await painted();
      const start = performance.now();
      act(i);
      await painted();
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    out[name] = [times[0], times[rounds >> 1]];
    set("layer", -1, "change");
  }
  return out;
}"""


@pytest.mark.slow
def test_time_grows_no_faster_than_the_neurons(tmp_path):
    path = browsers.find()
    if not path:
        pytest.skip(browsers.NONE)
    from playwright.sync_api import sync_playwright

    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, headless=True, args=["--no-sandbox"])
        for name, size in SIZES.items():
            folder = tmp_path / name.replace(" ", "")
            folder.mkdir()
            made = explorer_payload.make(*size, planted=[(12, 345)], cards=24)
            page = browser.new_page(viewport={"width": 1100, "height": 1000})
            page.goto(explorer_payload.write(folder, made).as_uri())
            page.wait_for_selector(".polinb-app[data-state=ready]", state="attached")
            found[name] = page.evaluate(MEASURE, ROUNDS)
            page.close()
        browser.close()
    small, large = (found[name] for name in SIZES)
    for name, times in found.items():
        print(name, {act: f"{low:.0f} ms, median {middle:.0f} ms" for act, (low, middle) in times.items()})
    for act, (time, _) in large.items():
        before = small[act][0]
        assert time <= BOUND * before, f"{act}: {time:.0f} ms for ten times the neurons, {before:.0f} ms before"
