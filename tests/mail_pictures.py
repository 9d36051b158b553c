"""Draws mails in Chromium for docs/img, wide and narrow, light and dark: `python -m tests.mail_pictures [FOLDER]`.

The folder is docs/img unless given. It needs `chromium`; headless windows are never narrower than 500 px, so the mail
stands in a frame of the width that is wanted.
"""

import base64
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from alerts.render import Renderer
from monitor.domain.alerts import Notification
from tests import mails

FOLDER = Path(__file__).parent.parent / "docs" / "img"
CID = "trend@example.org"
HEIGHTS = {1200: 1500, 380: 1900}
SCHEMES = {"dark": 0, "light": 1}  # PreferredColorScheme of Blink


def main(folder: Path) -> None:
    browser = shutil.which("chromium")
    if browser is None:
        sys.exit("expected chromium on the PATH")
    folder.mkdir(parents=True, exist_ok=True)
    for name, notification in {"mail": mails.firing(), "digest": mails.digest()}.items():
        for scheme, number in SCHEMES.items():
            for width, height in HEIGHTS.items():
                path = folder / f"{name}_{scheme}_{width}.png"
                _shoot(browser, notification, path, width, height, number)
                sys.stdout.write(f"{path.name}: {path.stat().st_size} bytes\n")


def _shoot(browser: str, notification: Notification, path: Path, width: int, height: int, scheme: int) -> None:
    with tempfile.TemporaryDirectory() as made:
        here = Path(made)
        (here / "mail.html").write_text(_page(notification), encoding="utf-8")
        (here / "frame.html").write_text(
            f'<body style="margin:0"><iframe src="mail.html" width="{width}" height="{height}" style="border:0">',
            encoding="utf-8",
        )
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
                "--hide-scrollbars", f"--user-data-dir={here / 'profile'}",
                f"--blink-settings=preferredColorScheme={scheme}",
                f"--window-size={max(width, 500)},{height}", f"--screenshot={here / 'shot.png'}",
                (here / "frame.html").as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        with Image.open(here / "shot.png") as shot:
            _trimmed(shot.convert("RGB").crop((0, 0, width, height))).save(path, optimize=True)


def _trimmed(shot: Image.Image) -> Image.Image:
    """Without the empty rows at its end, in few colours."""
    last = shot.height - 1
    ground = shot.crop((0, last, shot.width, last + 1)).tobytes()
    while last > 0 and shot.crop((0, last - 1, shot.width, last)).tobytes() == ground:
        last -= 1
    return shot.crop((0, 0, shot.width, min(last + 16, shot.height))).quantize(
        256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )


def _page(notification: Notification) -> str:
    """The mail as a reader shows it: with the picture that came along in place of its name."""
    renderer = Renderer(mails.LINKS)
    picture = renderer.picture(notification)
    if picture is None:
        return renderer.html(notification)
    shown = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return renderer.html(notification, CID).replace(f"cid:{CID}", shown)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
