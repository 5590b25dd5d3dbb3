"""Errors of the client; each has one sentence."""


class ClientError(Exception):
    """Base of all errors of the client."""


class TokenError(ClientError):
    """The service wants a token that is missing or wrong, or the token may only read."""


class UnknownStreamError(ClientError):
    """The service has no stream of that name, or several where none was named."""


class ConnectionTimeoutError(ClientError):
    """The service could not be reached within the time limit."""


class ProtocolError(ClientError):
    """The other side is not a Mindwire service, or one of another version of the protocol."""


class UnreachableError(ClientError):
    """A command did not reach the service, or its answer was lost."""


class RefusedError(ClientError):
    """The service refused a command.

    Attributes
    ----------
    status : int
        HTTP status of the answer.
    """

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
