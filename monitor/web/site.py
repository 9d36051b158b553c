"""The site: which page answers which address."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from monitor.web.alert_pages import AlertPages
from monitor.web.answers import plain, told


def site(alerts: AlertPages) -> Starlette:
    """Everything that is not named here is answered 404."""
    routes = [
        Route("/healthz", _healthy, methods=["GET"]),
        Route("/alerts/{token}", alerts.answer, methods=["GET", "POST"]),
        # Links begin with alerts.base_url, and not every proxy cuts its path off.
        Route("/{before:path}/alerts/{token}", alerts.answer, methods=["GET", "POST"]),
    ]
    built = Starlette(routes=routes, exception_handlers={HTTPException: _refused})
    built.router.redirect_slashes = False
    return built


async def _healthy(_: Request) -> Response:
    return plain("ok")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  # it is registered for no other
    if error.status_code == 404:
        return told(404, "There is no such page.", "Open the link from the message again.")
    return told(error.status_code, f"{error.detail}.", headers=dict(error.headers or {}))
