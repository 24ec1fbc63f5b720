"""A real browser, where this machine has one: what a reader would see, measured in it."""

import html
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Of every text that is to be seen: its size, where it stands, and how it stands out from what is
# behind it (WCAG 2.2, "relative luminance" and "contrast ratio"); of every link its box.
_MEASURE = """
function measure(frame) {
  const page = frame.contentDocument, view = page.defaultView, root = page.documentElement;
  const light = channel => channel <= 0.04045 ? channel / 12.92 : ((channel + 0.055) / 1.055) ** 2.4;
  const read = colour => colour.match(/[0-9.]+/g).map(Number);
  const luminance = ([red, green, blue]) =>
    0.2126 * light(red / 255) + 0.7152 * light(green / 255) + 0.0722 * light(blue / 255);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const colour = read(view.getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
      if (colour[3] > 0) throw Error('half transparent: ' + element.outerHTML.slice(0, 80));
    }
    return [255, 255, 255];
  };
  const texts = [], walker = page.createTreeWalker(root, 4);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
    if (!text || !element.getClientRects().length) continue;
    const style = view.getComputedStyle(element), box = element.getBoundingClientRect();
    const [one, two] = [luminance(read(style.color)), luminance(behind(element))];
    const contrast = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
    texts.push({text: text.slice(0, 60), size: parseFloat(style.fontSize), contrast,
                left: box.left, right: box.right});
  }
  const links = [...page.querySelectorAll('a[href]')].map(link => {
    const box = link.getBoundingClientRect();
    return {text: link.textContent.trim(), height: box.height,
            stands_alone: view.getComputedStyle(link).display !== 'inline'};
  });
  return {width: root.clientWidth, height: root.scrollHeight,
          overflow: root.scrollWidth - root.clientWidth, texts, links};
}
addEventListener('load', () => {
  const found = {};
  for (const frame of document.querySelectorAll('iframe')) found[frame.id] = measure(frame);
  document.getElementById('measured').textContent = JSON.stringify(found);
});
"""


def find() -> str | None:
    """The browser's program; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def measure(
    program: str, folder: Path, pages: Mapping[str, tuple[str, int, bool]]
) -> dict[str, Any]:
    """What a reader would see of each page, by its name.

    pages: source, width of the window in pixels, and whether the reader wants it dark.
    """
    frames = "".join(
        f'<iframe id="{html.escape(name)}" srcdoc="{html.escape(source)}" '
        f'style="width:{width}px;height:600px;border:0;color-scheme:{"dark" if dark else "light"}">'
        "</iframe>"
        for name, (source, width, dark) in pages.items()
    )
    folder.mkdir(parents=True, exist_ok=True)
    holder = folder / "pages.html"
    holder.write_text(
        f'<!doctype html><meta charset="utf-8"><pre id="measured"></pre>'
        f"<script>{_MEASURE}</script>{frames}",
        encoding="utf-8",
    )
    dumped = _run(program, folder, "--dump-dom", holder.as_uri())
    found = re.search(r'<pre id="measured">(.*?)</pre>', dumped, re.DOTALL)
    assert found is not None, dumped[:2000]
    assert found[1], "its script did not get to its end"
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert measured.keys() == pages.keys()
    return measured


def _run(program: str, folder: Path, *arguments: str) -> str:
    """Run it once, cut off from any network."""
    options = [
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--no-first-run",
        "--proxy-server=127.0.0.1:9",
        f"--user-data-dir={folder / 'profile'}",
    ]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    done = subprocess.run(
        [program, *options, *arguments],
        check=True,
        timeout=120,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    return done.stdout
