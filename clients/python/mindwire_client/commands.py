"""Commands to a stream over REST."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from mindwire_client.address import stream_path
from mindwire_client.messages import Hello

if TYPE_CHECKING:
    from mindwire_client.rest import Rest


class Commands:
    """Commands to one stream. Each waits for the service's answer: in a coroutine, call it with ``asyncio.to_thread``.

    All raise :class:`RefusedError` with the service's sentence, :class:`TokenError` if the token may not command, and
    :class:`UnreachableError` if there is no answer.
    """

    _rest: Rest

    @property
    def hello(self) -> Hello:
        """Description of the stream."""
        raise NotImplementedError

    def status(self) -> dict[str, Any]:
        """Return the state of the stream: source, quality of channels, counters, latency and more."""
        return self._ask("GET", "")

    def control(self) -> dict[str, Any]:
        """Return ``policy``, its ``hash``, and ``paused``."""
        return self._ask("GET", "/control")

    def set_policy(self, policy: dict[str, Any]) -> dict[str, Any]:
        """Replace the control policy, or change the fields that a document without ``version`` names; return the setting."""
        return self._ask("PUT", "/control", policy)

    def pause(self) -> dict[str, Any]:
        """Pause control: predictions go on, nothing is decided."""
        return self._ask("POST", "/control/pause")

    def resume(self) -> dict[str, Any]:
        """Resume control."""
        return self._ask("POST", "/control/resume")

    def model(self) -> dict[str, Any]:
        """Return the model in use, the candidate, and the model before."""
        return self._ask("GET", "/model")

    def swap_model(self, model: str, when: Literal["ready", "shadow"] = "ready") -> dict[str, Any]:
        """Load another model by its id; it takes over when it is ready, or runs in the shadow until it is promoted."""
        return self._ask("POST", "/model", {"model": model, "when": when})

    def promote_model(self) -> dict[str, Any]:
        """Let the candidate take over."""
        return self._ask("POST", "/model/promote")

    def drop_model(self) -> dict[str, Any]:
        """End the candidate."""
        return self._ask("POST", "/model/drop")

    def roll_back_model(self) -> dict[str, Any]:
        """Use the model before again."""
        return self._ask("POST", "/model/rollback")

    def adaptation(
        self, action: Literal["freeze", "resume", "rollback", "save"], *, updates: int = 0, steps: int = 0
    ) -> dict[str, Any]:
        """Command the online adaptation; ``updates`` and ``steps`` are the numbers that a rollback undoes."""
        return self._ask("POST", "/adaptation", {"action": action, "updates": updates, "steps": steps})

    def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        answer = self._rest.ask(method, stream_path(self.hello.stream, path), body)
        return answer if isinstance(answer, dict) else {}
