"""The webhook of a Teams workflow, over TLS as everywhere at Microsoft.

Envelope and limit as
https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
and https://learn.microsoft.com/en-us/connectors/teams/ give them, required properties of a card as
https://adaptivecards.io/explorer/ does.
"""

import ssl
from typing import Any

from tests.vendors.server import Asked, Said, Vendor

PATH = "/workflows/0123456789abcdef0123456789abcdef/triggers/manual/paths/invoke"
SIGNATURE = "aB3-dE6_gH9jK2mN5pQ8sT1vW4yZ7cF0"
QUERY = f"api-version=2016-06-01&sp=%2Ftriggers%2Fmanual%2Frun&sv=1.0&sig={SIGNATURE}"

_SPACINGS = {"None", "Small", "Default", "Medium", "Large", "ExtraLarge", "Padding"}


class Teams(Vendor):
    """messages: the cards that were taken, by their number."""

    def __init__(self, tls: ssl.SSLContext, ca_file: str) -> None:
        super().__init__()
        self.messages: dict[int, dict[str, Any]] = {}
        self._ca_file = ca_file
        self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.url = self.url.replace("http:", "https:")
        self.address = f"{self.url}{PATH}?{QUERY}"

    def environment(self) -> dict[str, str]:
        """What lets the provider come here."""
        return {
            "NOTIFIER_TEAMS_ENABLED": "yes",
            "NOTIFIER_TEAMS_HOSTS": "127.0.0.1",
            "NOTIFIER_TEAMS_ALLOW_NETWORKS": "127.0.0.0/8",
            "NOTIFIER_TEAMS_CA_FILE": self._ca_file,
        }

    def answer(self, asked: Asked) -> Said:
        if asked.path != PATH:
            return _error(404, "WorkflowNotFound", "The workflow could not be found.")
        if asked.query.get("sig") != SIGNATURE or asked.query.get("sp") != "/triggers/manual/run":
            return _error(401, "AuthorizationFailed", "The request's signature is invalid.")
        if not asked.headers.get("content-type", "").startswith("application/json"):
            return _error(415, "UnsupportedMediaType", "The content type is not supported.")
        if len(asked.body) > 28 * 1024:
            return _error(413, "RequestEntityTooLarge", "Request Entity too large")
        problem = problem_of(asked.json)
        if problem:
            return _error(400, "TriggerInputSchemaMismatch", problem)
        with self.lock:
            self.messages[len(self.messages)] = asked.json["attachments"][0]["content"]
        return Said(202, b"")


def problem_of(envelope: Any) -> str | None:
    """What is wrong with a request's body, where it is not as documented."""
    match envelope:
        case {"type": "message", "attachments": [{"contentType": kind, "content": card}]}:
            if kind != "application/vnd.microsoft.card.adaptive":
                return "contentType"
        case _:
            return "type, attachments"
    match card:
        case {"type": "AdaptiveCard", "version": "1.4", "body": [_, *_] as body}:
            pass
        case _:
            return "type, version, body"
    for element in body:
        match element:
            case {"type": "RichTextBlock", "inlines": [_, *_] as inlines}:
                runs = [run.get("type") == "TextRun" and run.get("text") for run in inlines]
                if not all(runs) or element.get("spacing") not in _SPACINGS:
                    return "inlines, spacing"
            case _:
                return f"element {element.get('type')}"
    for action in card.get("actions", []):
        if action.get("type") != "Action.OpenUrl" or not action.get("url") or not action["title"]:
            return "actions"
    return None


def _error(status: int, code: str, message: str) -> Said:
    return Said(status, {"error": {"code": code, "message": message}})
