#!/usr/bin/env python3
"""Opens pages that omniconv report has written in headless Chromium, at the width of a desktop and of a phone, in the
light and the dark scheme: every picture must have been decoded, and the page must not be wider than the window.

Usage: check_report.py PAGE... [--screenshots DIR]
"""

import argparse
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
# Run in a copy of the page, in a frame of the wanted width: a headless window has a least width of its own.
PROBE = """<script>
addEventListener('load', () => {
  const root = document.documentElement;
  parent.postMessage(JSON.stringify({
    width: root.scrollWidth,
    window: root.clientWidth,
    background: getComputedStyle(document.body).backgroundColor,
    pictures: document.images.length,
    broken: [...document.images].filter(image => image.naturalWidth === 0).length,
    curves: [...document.querySelectorAll('polyline')].filter(line => line.points.numberOfItems > 0).length,
  }), '*');
});
</script>"""
FRAME = """<!DOCTYPE html><body style="margin:0"><pre id="said"></pre>
<script>addEventListener('message', event => document.getElementById('said').textContent = event.data)</script>
<iframe src="probed.html" width="{width}" height="{height}" style="border:0"></iframe></body>"""


def chromium(arguments, dark):
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        sys.exit("check_report: expected chromium on the path, got none (apt-get install chromium)")
    # In version 4 of these settings 0 is the dark scheme, 1 the light one.
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=5000",
               f"--blink-settings=preferredColorScheme={0 if dark else 1}", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def look(page, size, dark, folder):
    """What the page says of itself at that size."""
    width, height = SIZES[size]
    source = page.read_text(encoding="utf-8")
    (folder / "probed.html").write_text(source.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, height=height), encoding="utf-8")
    said = re.search(r'<pre id="said">(.+?)</pre>', chromium(["--dump-dom", frame.as_uri()], dark))
    if said is None:
        sys.exit(f"check_report: {page}: expected the page to load, got nothing")
    return json.loads(html.unescape(said.group(1)))


def screenshot(page, size, dark, target, folder):
    width, height = SIZES[size]
    (folder / "probed.html").write_bytes(page.read_bytes())
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(width=width, height=5 * height), encoding="utf-8")
    chromium([f"--window-size={max(width, 500)},{5 * height}", f"--screenshot={target.resolve()}", frame.as_uri()], dark)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="+", type=pathlib.Path)
    parser.add_argument("--screenshots", type=pathlib.Path, help="folder to write screenshots to")
    options = parser.parse_args()
    faults = 0
    for page in options.pages:
        backgrounds = set()
        for size in SIZES:
            for dark in (False, True):
                with tempfile.TemporaryDirectory() as name:
                    folder = pathlib.Path(name)
                    seen = look(page, size, dark, folder)
                    if options.screenshots:
                        options.screenshots.mkdir(parents=True, exist_ok=True)
                        scheme = "dark" if dark else "light"
                        target = options.screenshots / f"{page.parent.name}-{page.stem}-{size}-{scheme}.png"
                        screenshot(page, size, dark, target, folder)
                backgrounds.add(seen["background"])
                good = seen["broken"] == 0 and seen["width"] <= seen["window"] and seen["curves"] > 0
                faults += not good
                print(f"{'ok  ' if good else 'FAIL'} {page} {size} {'dark' if dark else 'light'}: {seen}")
        if len(backgrounds) != 2:
            faults += 1
            print(f"FAIL {page}: expected another background in the dark scheme, got {backgrounds}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
