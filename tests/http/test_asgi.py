"""The ASGI application: behind our own listener, behind another server, and mounted in other applications."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import ModuleType
from typing import Any
from urllib.parse import urljoin

import pytest
import uvicorn
from echo_site import JSON, Response, Run, ask, connected, get, listening, post
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount

from echoing import EchoSite
from xooai.asgi import Application
from xooai.errors import Code, Unimplemented

SOON = 5  # seconds: far more than anything here takes
ASSETS = ["docs/favicon-32x32.png", "docs/swagger-ui.css", "docs/swagger-ui-bundle.js", "docs/start.js"]


@asynccontextmanager
async def hosted(application: Any, ws: Any = "none", **more: Any) -> AsyncIterator[str]:
    """`application` behind uvicorn as everybody runs it."""
    server = uvicorn.Server(uvicorn.Config(application, port=0, log_config=None, ws=ws, **more))
    serving = asyncio.create_task(server._serve())  # serve() takes over the signals of the process
    try:
        while not server.started:  # noqa: ASYNC110  # it has no event for this
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


async def pass_on(scope: Any, call_next: Any) -> Any:
    return await call_next(scope)


def mounted(kind: str, site: EchoSite) -> tuple[Any, str]:
    """An application that holds the site's, and the path where it does."""
    ours = Application(site)
    if kind == "alone":
        return ours, ""
    if kind == "starlette":
        middleware = [Middleware(BaseHTTPMiddleware, dispatch=pass_on)]
        return Starlette(routes=[Mount("/models/v1", ours)], middleware=middleware), "/models/v1"
    theirs = FastAPI()
    theirs.mount("/models", ours)
    return theirs, "/models"


KINDS = ["alone", "starlette", "fastapi"]


@pytest.mark.parametrize("kind", KINDS)
def test_calls_are_answered_wherever_it_is_mounted(run: Run, kind: str) -> None:
    async def scene() -> None:
        site = EchoSite()
        application, path = mounted(kind, site)
        async with hosted(application) as url, connected(url) as client:
            for body in (b"", b"{}", bytes(1_000_000)):
                response = await client.ask(post("say", body, "X-Tenant: a").replace(b" /", f" {path}/".encode(), 1))
                assert (response.status, response.body) == (200, body)
                assert response.headers["content-type"] == JSON
            head = site.heads[-1]
            assert (head.path, head.codec, dict(head.metadata)) == ("/echo/say", JSON, {"x-tenant": "a"})
            assert head.peer.startswith("127.0.0.1:")
            missing = await client.ask(post("nothing").replace(b" /", f" {path}/".encode(), 1))
            assert missing.problem["code"] == Code.NOT_FOUND

    run(scene())


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_that_leaves_cancels_its_call_behind_another_server(run: Run, kind: str) -> None:
    async def scene() -> None:
        site = EchoSite()
        application, path = mounted(kind, site)
        async with hosted(application) as url:
            async with connected(url) as client:
                client.write(post("wait").replace(b" /", f" {path}/".encode(), 1))
                await site.started.wait()
            await asyncio.wait_for(site.cancelled.wait(), 0.5)

    run(scene())


@pytest.mark.parametrize("kind", [*KINDS, "listener"])
def test_the_documentation_is_whole_wherever_it_is_mounted(run: Run, kind: str) -> None:
    async def scene() -> None:
        site = EchoSite()
        if kind == "listener":
            async with listening() as (listener, _):
                await check_documentation(f"{listener.url}/docs")
        else:
            application, path = mounted(kind, site)
            async with hosted(application) as url:
                await check_documentation(f"{url}{path}/docs")

    run(scene())


async def fetch(url: str, method: str = "GET") -> Response:
    server, _, path = url.partition("//")[2].partition("/")
    return await ask(f"http://{server}", get(f"/{path}", "Connection: close", method=method), method)


async def check_documentation(url: str) -> None:
    page = await fetch(url)
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert not re.search(rb"<script(?![^>]* src=)|<style|\son\w+=|https?:", page.body)  # the policy would stop these
    found = re.findall(rb'(?:src|href)="([^"]+)"', page.body)
    assert [name.decode() for name in found] == ASSETS
    for name in ["openapi.json", *ASSETS]:
        asset = await fetch(urljoin(url, name))
        assert asset.status == 200
        assert asset.headers["x-content-type-options"] == "nosniff"
        assert len(asset.body) > 100
    assert b'new URL("openapi.json", document.baseURI)' in (await fetch(urljoin(url, "docs/start.js"))).body
    assert (await fetch(urljoin(url, "docs/secret"))).status == 404
    assert (await fetch(urljoin(url, "docs/../../../pyproject.toml"))).status == 404
    moved = await fetch(url + "/")
    assert (moved.status, urljoin(url + "/", moved.headers["location"])) == (308, url)


def test_the_documentation_may_load_nothing_from_elsewhere(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, _):
            headers = (await ask(listener.url, get("/docs"))).headers
            policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
            assert policy["default-src"] == "'self'"
            assert "script-src" not in policy
            assert "unsafe" not in headers["content-security-policy"]
            assert policy["frame-ancestors"] == policy["object-src"] == policy["base-uri"] == "'none'"
            assert (headers["x-frame-options"], headers["x-content-type-options"]) == ("DENY", "nosniff")

    run(scene())


def test_documentation_without_its_assets_names_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "swagger_ui_bundle", None)  # as where it is not installed

    async def scene() -> None:
        async with listening() as (listener, _):
            response = await ask(listener.url, get("/docs"))
            assert response.status == 501
            assert response.problem["detail"] == "/docs needs swagger_ui_bundle; try: pip install 'xooai[http]'"
            assert (await ask(listener.url, get("/openapi.json"))).status == 200

    run(scene())


def test_assets_that_are_too_old_are_named(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    older = ModuleType("swagger_ui_bundle")
    older.swagger_ui_path = tmp_path / "swagger-ui-4.15.5"  # type: ignore[attr-defined]  # as the package of that name has it
    monkeypatch.setitem(sys.modules, "swagger_ui_bundle", older)

    async def scene() -> None:
        async with listening() as (listener, _):
            response = await ask(listener.url, get("/docs"))
            assert response.status == 501
            assert "needs Swagger UI 5 or later, swagger_ui_bundle has 4.15.5" in response.problem["detail"]

    run(scene())


def test_the_description_is_the_sites(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):
            response = await ask(listener.url, get("/openapi.json"))
            assert response.headers["content-type"] == JSON
            assert response.body == site.describe("openapi")

    run(scene())


def test_health_tells_living_from_ready(run: Run) -> None:
    async def scene() -> None:
        async with listening() as (listener, site), connected(listener.url) as client:
            for path in ("/livez", "/readyz", "/%6civez"):
                assert (await client.ask(get(path))).status == 200
            site.is_ready = False
            assert (await client.ask(get("/livez"))).body == b"live\n"
            response = await client.ask(get("/readyz"))
            assert (response.status, response.problem["code"]) == (503, Code.UNAVAILABLE)

    run(scene())


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json", "/docs", "/docs/start.js", "/nothing"])
def test_head_is_get_without_the_body(run: Run, path: str) -> None:
    async def scene() -> None:
        async with listening() as (listener, _), connected(listener.url) as client:
            whole = await client.ask(get(path))
            head = await client.ask(get(path, method="HEAD"), "HEAD")
            assert (head.status, head.headers) == (whole.status, whole.headers)
            assert (await client.ask(post())).status == 200

    run(scene())


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [
        ("GET", "/echo/say", 405, "POST"),
        ("HEAD", "/echo/say", 405, "POST"),
        ("PUT", "/echo/say", 405, "POST"),
        ("OPTIONS", "/echo/say", 405, "POST"),
        ("TRACE", "/echo/say", 405, "POST"),
        ("POST", "/livez", 405, "GET, HEAD"),
        ("POST", "/docs/start.js", 405, "GET, HEAD"),
        ("DELETE", "/openapi.json", 405, "GET, HEAD"),
        ("GET", "/echo/ecko", 404, None),
        ("GET", "/", 404, None),
        ("PUT", "/echo", 404, None),
        ("POST", "/echo/ecko", 404, None),
        ("POST", "/", 404, None),
    ],
)
def test_methods_that_do_not_fit_are_told_which_do(
    run: Run, method: str, path: str, status: int, allowed: str | None
) -> None:
    async def scene() -> None:
        async with listening() as (listener, site):
            response = await ask(listener.url, get(path, method=method), method)
            assert response.status == status
            assert response.headers.get("allow") == allowed
            assert response.headers["content-type"] == "application/problem+json"
            assert [head.path for head in site.heads] == ([path] if (method, status) == ("POST", 404) else [])

    run(scene())


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (post("say", b"", "Content-Encoding: gzip"), 415),
        (post("say", b"", "Origin: http://example.com"), 403),
        (post("say", b"", "Origin: http://localhost"), 200),
        (post("say", b"", "Xooai-Timeout: soon"), 400),
        (post("say", bytes(1001)), 413),
        (post("say", bytes(1000)), 200),
        (post("say").split(b"Content-Length")[0] + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + bytes(1001), 413),
    ],
)
def test_what_a_listener_refuses_is_refused_behind_another_server(run: Run, data: bytes, status: int) -> None:
    async def scene() -> None:
        async with hosted(Application(EchoSite(), message_limit=1000)) as url:
            response = await ask(url, data)
            assert response.status == status
            if status != 200:
                assert response.problem["detail"]

    run(scene())


def test_a_client_that_leaves_in_the_middle_of_a_body_starts_no_call(run: Run) -> None:
    async def scene() -> None:
        site = EchoSite()
        async with hosted(Application(site)) as url:
            async with connected(url) as client:
                client.write(post("say", bytes(100))[:-1])
                await client.writer.drain()
            assert (await ask(url, post())).status == 200
        assert len(site.heads) == 1

    run(scene())


def test_a_reply_that_fails_is_a_problem_behind_another_server(run: Run) -> None:
    async def scene() -> None:
        async with hosted(Application(EchoSite())) as url:
            body = json.dumps({"code": Code.NOT_FOUND, "message": "no 'x'", "id": "a-1"}).encode()
            response = await ask(url, post("fail", body))
            assert (response.status, response.problem["detail"]) == (404, "no 'x'")
            assert response.headers["x-request-id"] == "a-1"

    run(scene())


@pytest.mark.parametrize("endpoint", ["twice", "stream", "forget", "abort"])
def test_a_site_that_misuses_a_channel_harms_nobody_else(
    run: Run, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        async with hosted(Application(EchoSite())) as url:
            response = await ask(url, post(endpoint))
            assert response.status == (200 if endpoint == "twice" else 500)
            assert (await ask(url, post())).status == 200

    run(scene())
    assert caplog.records


@pytest.mark.parametrize("lifespan", ["on", "off"])
def test_lifespan_events_are_answered_and_not_needed(run: Run, lifespan: str) -> None:
    async def scene() -> None:
        async with hosted(Application(EchoSite()), lifespan=lifespan) as url:
            assert (await ask(url, post())).status == 200

    run(scene())


def test_a_websocket_is_turned_away_where_nothing_streams(run: Run) -> None:
    """Also by a server that has no words for it."""

    async def scene() -> None:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        application = Application(EchoSite())
        for path in ("/echo/say", "/nowhere"):
            await application({"type": "websocket", "path": path, "headers": []}, receive, send)
            assert [message["type"] for message in sent] == ["websocket.close"]
            sent.clear()
        with pytest.raises(Unimplemented):
            await application({"type": "telepathy"}, receive, send)

    run(scene())


def test_a_server_that_strips_its_root_path_is_understood(run: Run) -> None:
    async def scene() -> None:
        async with hosted(Application(EchoSite()), root_path="/behind/a/proxy") as url:
            assert (await ask(url, post())).status == 200
            assert (await ask(url, get("/livez"))).status == 200

    run(scene())


@pytest.mark.parametrize("kind", [*KINDS, "our own listener"])
def test_a_query_beside_a_call_is_refused_and_not_passed_over(run: Run, kind: str) -> None:
    """Its names would be parameters that nobody reads."""

    async def scene() -> None:
        async with AsyncExitStack() as stack:
            if kind == "our own listener":
                listener, site = await stack.enter_async_context(listening())
                url, path = listener.url, ""
            else:
                site = EchoSite()
                application, path = mounted(kind, site)
                url = await stack.enter_async_context(hosted(application))
            client = await stack.enter_async_context(connected(url))

            def asking(endpoint: str, query: str) -> bytes:
                return post(endpoint).replace(
                    f" /echo/{endpoint} ".encode(), f" {path}/echo/{endpoint}{query} ".encode()
                )

            refused = await client.ask(asking("say", "?min_score=0.9&token=hunter2"))
            assert (refused.status, refused.problem["code"]) == (400, Code.INVALID_ARGUMENT)
            assert "min_score, token" in refused.problem["detail"]
            assert "body" in refused.problem["detail"]
            assert "hunter2" not in refused.problem["detail"]
            assert site.heads == []
            assert (await client.ask(asking("say", "?"))).status == 200
            assert (await client.ask(asking("nothing", "?a=b"))).status == 404
            assert (await client.ask(get(f"{path}/livez?from=a-probe"), "GET")).status == 200

    run(scene())
