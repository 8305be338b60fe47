"""A real Chromium, spoken to over its DevTools protocol by what the project has already."""

import asyncio
import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from evpower.devstack import children
from evpower.devstack.children import Child
from tests.browser.install import UNPACKED
from tests.browser.page import Page, Refused
from tests.waiting import WAIT_LIMIT_S, until

_FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # root has none, nor has a user without namespaces; the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--remote-debugging-port=0",
    "--no-first-run",
    # It connects to this machine only.
    "--no-proxy-server",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    # A page that is not looked at goes on like the one that is.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
)
_FONTS: Final = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{fonts}</dir><cachedir>{cache}</cachedir></fontconfig>
"""


class Chromium:
    """One browser process; every page has a context of its own: cookies, storage, cache."""

    def __init__(self, child: Child, wire: ClientConnection, folder: Path) -> None:
        self._child = child
        self._wire = wire
        self._folder = folder
        self._numbers = itertools.count(1)
        self._calls: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._reading = asyncio.create_task(self._read())

    @classmethod
    async def start(cls) -> "Chromium":
        """Start it in an empty folder of its own."""
        binary = Path(os.environ.get("EVPOWER_TEST_CHROMIUM") or UNPACKED / "chromium")
        assert binary.exists(), f"There is no {binary}. Run: make browser"
        folder = Path(tempfile.mkdtemp(prefix="evpower-browser-", dir="/var/tmp"))
        child = children.spawn(
            "Chromium",
            [binary, *_FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            log=folder / "log",
            env=_environment(folder, packed=binary.parent == UNPACKED),
        )
        try:
            wire = await connect(
                await _address(child, folder),
                proxy=None,
                max_size=None,
                ping_interval=None,
                open_timeout=WAIT_LIMIT_S,
            )
        except BaseException:
            child.kill()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return cls(child, wire, folder)

    async def stop(self) -> None:
        """End it by the pid it was started with."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self._wire.close()
        await self._child.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    async def new_page(self, language: str = "ru") -> Page:
        """A blank page in a new context, of a person who reads `language` (a BCP 47 tag)."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        made = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        joined = await self.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        session = joined["sessionId"]
        page = self._pages[session] = Page(self.call, session, context)
        await page.prepare(language)
        return page

    async def close(self, page: Page) -> None:
        """Close it and forget its context."""
        del self._pages[page.session]
        await self.call("Target.disposeBrowserContext", browserContextId=page.context)

    async def call(self, method: str, session: str = "", **params: Any) -> dict[str, Any]:
        """Ask the browser, or the page of a session; raises `Refused`."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        answer = self._calls[number] = asyncio.get_running_loop().create_future()
        await self._wire.send(json.dumps(message | ({"sessionId": session} if session else {})))
        async with asyncio.timeout(WAIT_LIMIT_S):
            response = await answer
        if "error" in response:
            raise Refused(f"{method}: {response['error']['message']}")
        return response["result"]

    async def _read(self) -> None:
        try:
            async for text in self._wire:
                message = json.loads(text)
                if "id" in message:
                    answer = self._calls.pop(message["id"])
                    if not answer.done():  # whoever asked may have given up
                        answer.set_result(message)
                elif page := self._pages.get(message.get("sessionId", "")):
                    page.hear(message["method"], message["params"])
        except ConnectionClosed:
            pass
        finally:
            for answer in self._calls.values():
                answer.cancel(f"Chromium went away: {self._child.log_tail(4)}")


async def _address(child: Child, folder: Path) -> str:
    """Where it listens: it writes port and path into its profile."""
    port_file = folder / "profile" / "DevToolsActivePort"

    def is_told() -> bool:
        assert child.running, f"Chromium ended: {child.log_tail()}"
        return port_file.exists() and len(port_file.read_text().split()) == 2

    await until(is_told)
    port, path = port_file.read_text().split()
    return f"ws://127.0.0.1:{port}{path}"


def _environment(folder: Path, *, packed: bool) -> dict[str, str]:
    """Nothing of ours but the path; the package's own libraries and font."""
    fonts = folder / "fonts.conf"
    fonts.write_text(_FONTS.format(fonts=UNPACKED / "fonts", cache=folder / "fonts"))
    env = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(folder), "TMPDIR": str(folder)}
    if packed:
        env |= {"LD_LIBRARY_PATH": str(UNPACKED / "lib"), "FONTCONFIG_FILE": str(fonts)}
    return env
