"""A real server on a free port, as the API's own role, and a client for each of two tenants."""

import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import requests
import uvicorn
from cryptography.fernet import Fernet
from sqlalchemy import Connection

from notifier.http.serve import config
from notifier.settings import settings
from notifier.store import audience, keys
from tests.conftest import Database, forget


@dataclass
class Client:
    """Requests with a tenant's key."""

    url: str
    tenant: uuid.UUID
    token: str
    session: requests.Session

    def __call__(self, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
        if body is not None:
            more["json"] = body
        headers = {"Authorization": f"Bearer {self.token}", **more.pop("headers", {})}
        return self.session.request(method, self.url + path, headers=headers, timeout=10, **more)


@pytest.fixture
def url(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the server listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("NOTIFIER_DATABASE_URL", database.api_url)
    monkeypatch.setenv("NOTIFIER_SECRET_KEYS", Fernet.generate_key().decode())
    monkeypatch.setenv("NOTIFIER_HTTP_PORT", str(port))
    monkeypatch.setenv("NOTIFIER_PUBLIC_URL", f"http://127.0.0.1:{port}")
    forget()
    server = uvicorn.Server(config(settings()))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        assert time.monotonic() < deadline, "the server did not start in time"
        time.sleep(0.005)
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.trust_env = False
        yield session


@pytest.fixture
def acme(url: str, connection: Connection, tenant: uuid.UUID, session: requests.Session) -> Client:
    """The tenant of ada, bob and eve."""
    _, token = keys.create_key(connection, tenant, "test")
    connection.commit()
    return Client(url, tenant, token, session)


@pytest.fixture
def other(url: str, connection: Connection, session: requests.Session) -> Client:
    """Another tenant, with a recipient called zoe."""
    tenant = audience.create_tenant(connection, "other")
    audience.upsert_recipients(connection, tenant, [{"external_id": "zoe"}])
    _, token = keys.create_key(connection, tenant, "test")
    connection.commit()
    return Client(url, tenant, token, session)


TASK = {"task": {"title": "Write it down", "due_at": "2026-12-01T09:00:00Z"}}


def event(**more: Any) -> dict[str, Any]:
    """The body of an emit to ada."""
    return {
        "event_type": "task.due_soon",
        "payload": TASK,
        "audience": {"recipients": ["ada"]},
        **more,
    }


def problem(response: requests.Response, status: int, code: str, field: str | None = None) -> Any:
    """The problem a response is, once its shape and these values are checked."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    found = response.json()
    assert (found["status"], found["code"], found.get("field")) == (status, code, field)
    assert found["type"] == f"urn:notifier:problem:{code}"
    assert found["title"]
    assert found["detail"]
    assert set(found) <= {"type", "title", "status", "detail", "code", "field", "expected"}
    return found
