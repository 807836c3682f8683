"""Failures of the Hugging Face Hub and of its library, each as one sentence for the user."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

MAX_CHARACTERS = 300
"""Longest part of a message that is the library's or the hub's."""


class HubError(ValueError):
    """A model that the hub does not give, or does not take; the message is written for the user."""


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turn failures within the block into HubError; ``what`` names the model: ``hf://OWNER/NAME``."""
    # Imported here, because the package is optional.
    import httpx2
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RevisionResolutionError

    try:
        yield
    except HubError:
        raise
    except (
        *(HfHubHTTPError, EntryNotFoundError, RevisionResolutionError),
        *(httpx2.HTTPError, OSError, ValueError, RuntimeError),
    ) as error:
        raise HubError(_sentence(what, error)) from None


def _sentence(what: str, error: BaseException) -> str:
    """Return what happened and its remedy; the library's own messages have several lines."""
    import httpx2
    from huggingface_hub import constants, errors

    wrapped = isinstance(error, errors.LocalEntryNotFoundError | errors.RevisionResolutionError | RuntimeError)
    if wrapped and error.__cause__ is not None:
        return _sentence(what, error.__cause__)
    hub = f"The hub at {constants.ENDPOINT}"
    match error:
        case errors.GatedRepoError():
            return f"{what} is gated: ask for access on its page at the hub, and set HF_TOKEN to a token that has it."
        case errors.RepositoryNotFoundError():
            return f"{hub} shows no repository {what}: check the name, or set HF_TOKEN if the repository is private."
        case errors.RevisionNotFoundError():
            return f"{what} has no such revision; give a branch, a tag or a commit that it has."
        case errors.LocalEntryNotFoundError() | errors.RevisionResolutionError() | errors.OfflineModeIsEnabled():
            return (
                f"{what} is not in the cache at {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE forbids to fetch it; "
                "fetch it once without that variable."
            )
        case errors.HfHubHTTPError():
            status = error.response.status_code
            if status == 401:
                return f"{hub} asks for a valid token for {what}: set HF_TOKEN to one of your account."
            if status == 403:
                return f"{hub} forbids this for {what}: set HF_TOKEN to a token with the right to do it."
            return f"{hub} answers {status} for {what}: {_one_line(error.server_message or error)}."
        case httpx2.HTTPError():
            return (
                f"{hub} cannot be reached for {what} ({_one_line(error)}); check the network and HF_ENDPOINT, or "
                "set HF_HUB_OFFLINE=1 to use what is in the cache."
            )
        case OSError():
            return f"{what} cannot be transferred: {error.strerror or _one_line(error)}."
        case _:
            return f"{what} cannot be used: {_one_line(error)}."


def _one_line(said: object) -> str:
    """Return a message of the library on one line, without the stop that ends a sentence."""
    return (" ".join(str(said).split()) or type(said).__name__)[:MAX_CHARACTERS].rstrip(".:")
