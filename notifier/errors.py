"""What callers can catch. Every message names the field or setting and what was expected."""


class NotifierError(Exception):
    """Base of every error this package raises on purpose."""


class SettingError(NotifierError):
    """A `NOTIFIER_…` variable has a value that can not be used."""

    def __init__(self, variable: str, expected: str) -> None:
        super().__init__(f"{variable}: expected {expected}")
        self.variable = variable
        self.expected = expected


class Refused(NotifierError):
    """The input was refused and nothing was written.

    code: a stable word, the same in Python, SQL, HTTP and on the command line.
    field: where the fault is, as a path (`payload.task.title`, `audience.recipients[2]`).
    expected: what would have been accepted.
    """

    code = "refused"
    status = 422

    def __init__(self, field: str, expected: str) -> None:
        super().__init__(f"{field}: expected {expected}")
        self.field = field
        self.expected = expected


class UnknownEventType(Refused):
    """No event type of that name is registered."""

    code = "unknown_event_type"


class InvalidPayload(Refused):
    """The payload breaks the event type's schema."""

    code = "invalid_payload"


class PayloadTooLarge(Refused):
    """The payload is larger than the limit."""

    code = "payload_too_large"
    status = 413


class UnknownTenant(Refused):
    """No tenant with that id."""

    code = "unknown_tenant"


class UnknownRecipient(Refused):
    """No recipient with that external id in the tenant."""

    code = "unknown_recipient"


class UnknownTopic(Refused):
    """No topic of that name in the tenant."""

    code = "unknown_topic"


class InvalidAudience(Refused):
    """The audience is not of the documented form."""

    code = "invalid_audience"


class InvalidAddress(Refused):
    """An address can not be one of its channel."""

    code = "invalid_address"


class InvalidOption(Refused):
    """An option of the emit is unknown or has a value that can not be used."""

    code = "invalid_option"


class InvalidAttachment(Refused):
    """A file can not be attached as it is."""

    code = "invalid_attachment"


class InvalidValue(Refused):
    """A field has a value that can not be used."""

    code = "invalid_value"


class InvalidTemplate(Refused):
    """A template can not be rendered, or not be sent."""

    code = "invalid_template"


class IdempotencyConflict(Refused):
    """The idempotency key was used before, with another body."""

    code = "idempotency_conflict"
    status = 409


class RecipientsWord(Refused):
    """The recipient asked to get nothing more; an operator may know better, a tenant may not."""

    code = "recipients_word"
    status = 409


class NotFoundError(Refused):
    """There is no such thing (or it is another tenant's)."""

    code = "not_found"
    status = 404


REFUSALS: dict[str, type[Refused]] = {
    kind.code: kind
    for kind in (
        UnknownEventType,
        InvalidPayload,
        PayloadTooLarge,
        UnknownTenant,
        UnknownRecipient,
        UnknownTopic,
        InvalidAudience,
        InvalidAddress,
        InvalidOption,
        InvalidAttachment,
        InvalidValue,
        IdempotencyConflict,
        NotFoundError,
    )
}
"""The exception for each code the SQL functions answer with."""
