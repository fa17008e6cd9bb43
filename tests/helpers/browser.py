"""A real browser, headless, that goes through a page of ours and tells what it saw."""

import json
import re
import shutil
import subprocess
from pathlib import Path

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

_BEFORE = """
const told = {errors: []};
addEventListener("error", (event) => told.errors.push(event.message));
addEventListener("unhandledrejection", (event) => told.errors.push(String(event.reason)));
addEventListener("securitypolicyviolation", (event) => told.errors.push(event.blockedURI));
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
const column = (place) => [...document.querySelectorAll(".numbers tbody tr")].map(
  (row) => row.children[place].innerText.trim());
const click = (words, place = 0) => document.querySelectorAll(words)[place].click();
(async () => {
"""
_AFTER = """
  told.wide = document.documentElement.scrollWidth <= innerWidth;
  told.loaded = performance.getEntriesByType("resource").map((x) => x.name.slice(0, 5));
  document.body.append(make("pre", JSON.stringify(told), {id: "told"}));
})().catch((error) => { document.body.append("FAILED " + error.stack); });
"""


def visited(path: Path, script: str, *, width: int) -> dict:
    """What a browser tells after it has run a script in the page.

    Args:
        path: the page; what the browser needs is written beside it.
        script: JavaScript that puts what it sees into `told`; `wait`, `column` and `click` are
            there for it, and the page's own `$` and `make`.
        width: of the window, in pixels.

    Returns:
        `told`, with errors (of scripts, and requests that the page's policy refused), wide (whether
        the page fits into the window), and loaded, how the addresses of all that it loaded begin.
    """
    text = path.read_text(encoding="utf-8")
    changed = path.with_name(f"visit_{width}.html")
    whole = f"<script>{_BEFORE}{script}{_AFTER}</script></body>"
    changed.write_text(text.replace("</body>", whole), encoding="utf-8")
    assert BROWSER
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    size = [f"--window-size={width},900", "--virtual-time-budget=20000"]
    profile = f"--user-data-dir={path.parent / f'profile_{width}'}"
    done = subprocess.run(
        [BROWSER, *words, *size, profile, changed.as_uri()], capture_output=True, text=True,
        timeout=240,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr, done.stderr
    [told] = re.findall(r'<pre id="told">(.*?)</pre>', done.stdout, re.S) or [done.stdout[-2000:]]
    return json.loads(told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
