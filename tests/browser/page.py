"""One page of the browser: opened, read, pressed as a person does; keeps what it complained of."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tests.waiting import until

_ELEMENT: Final = """(async selector => {
  const element = document.querySelector(selector);
  if (!element) return null;
  element.scrollIntoView({block: "center", behavior: "instant"});
  const frame = () => new Promise(requestAnimationFrame);
  const middle = ({x, y, width, height}) => [x + width / 2, y + height / 2];
  let at, before;
  do {
    before = at;
    await frame();
    at = middle(element.getBoundingClientRect());
  } while (String(before) !== String(at));
  return element.contains(document.elementFromPoint(...at)) ? at : null;
})"""
Call = Callable[..., Awaitable[dict[str, Any]]]


class Refused(Exception):
    """The browser would not."""


class Thrown(Exception):
    """JavaScript in the page threw."""


class Page:
    """`errors` are the lines a developer would see in red; `requests` all addresses it asked."""

    def __init__(self, call: Call, session: str, context: str) -> None:
        self.session = session
        self.context = context
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.held: list[str] = []
        self._call = call
        self._loaded: set[str] = set()
        self._let_through: set[str] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def prepare(self, language: str) -> None:
        """Listen to it, before anything is opened."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._call(f"{domain}.enable", self.session)
        await self._call("Page.setLifecycleEventsEnabled", self.session, enabled=True)
        agent = await self.evaluate("navigator.userAgent")
        await self._call(
            "Emulation.setUserAgentOverride",
            self.session,
            userAgent=agent,
            acceptLanguage=language,
        )

    async def resize(self, width: int, height: int) -> None:
        """To the size of a device, in CSS pixels."""
        await self._call(
            "Emulation.setDeviceMetricsOverride",
            self.session,
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    async def open(self, url: str) -> None:
        """Go there and wait until it is loaded."""
        navigation = await self._call("Page.navigate", self.session, url=url)
        assert not navigation.get("errorText"), f"{url}: {navigation['errorText']}"
        await until(lambda: navigation["loaderId"] in self._loaded, f"{url} is loaded")

    async def open_once(self, url: str) -> None:
        """Open it; when it looks at an address again, or at one below it, that request hangs.

        So a press never meets a reload, and a page may stand there long after it was true.
        """
        await self._call("Fetch.enable", self.session, patterns=[{"urlPattern": f"{url}*"}])
        await self.open(url)

    async def evaluate(self, expression: str) -> Any:
        """The value of JavaScript in the page, awaited if it is a promise."""
        result = await self._call(
            "Runtime.evaluate",
            self.session,
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
        )
        if "exceptionDetails" in result:
            raise Thrown(_described(result["exceptionDetails"]))
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until it is true in the page, whatever pages come in between."""
        why = ""

        async def holds() -> bool:
            nonlocal why
            try:
                return await self.evaluate(f"Boolean({expression})")
            except (Refused, Thrown) as error:  # the page it was asked of has gone, or just begins
                why = str(error)
                return False

        try:
            await until(holds, expression)
        except AssertionError as error:
            error.add_note(f"{why}\nThe page: {await self.text()!r}\nIn red: {self.errors}")
            raise

    async def text(self, selector: str = "body") -> str:
        """What a person reads there."""
        return await self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")

    async def press(self, selector: str) -> None:
        """With the mouse, in the middle of it; it must be there and not be covered."""
        at = await self.evaluate(f"{_ELEMENT}({json.dumps(selector)})")
        assert at is not None, f"nothing to press: {selector} in {await self.text()!r}"
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            await self._call(
                "Input.dispatchMouseEvent",
                self.session,
                type=kind,
                x=at[0],
                y=at[1],
                button="none" if kind == "mouseMoved" else "left",
                clickCount=0 if kind == "mouseMoved" else 1,
            )

    def hear(self, event: str, params: dict[str, Any]) -> None:
        """Stores the browser's events of this page."""
        match event:
            case "Page.lifecycleEvent" if params["name"] == "load":
                self._loaded.add(params["loaderId"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Network.webSocketCreated":
                self.requests.append(params["url"])
            case "Fetch.requestPaused":
                self._pause(params)
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(
                    " ".join(str(argument.get("value")) for argument in params["args"])
                )
            case "Runtime.exceptionThrown":
                self.errors.append(_described(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case _:
                pass

    def _pause(self, params: dict[str, Any]) -> None:
        url = params["request"]["url"]
        if url in self._let_through:
            self.held.append(url)
            return
        self._let_through.add(url)
        going_on = self._call("Fetch.continueRequest", self.session, requestId=params["requestId"])
        task = asyncio.ensure_future(going_on)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _described(details: dict[str, Any]) -> str:
    return str(details.get("exception", {}).get("description", details["text"]))
