"""Addresses of ``/v1/play`` that the hub keeps, so that any front end can play what another made."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from whispergpt.server.access.guard import Guard
from whispergpt.server.admission.admission import Admission, UploadMeter
from whispergpt.server.errors import ApiError, internal
from whispergpt.server.http.play_addresses import HeldContinuation, KnownContinuation, PlayAddresses
from whispergpt.server.settings import Settings
from whispergpt.server.workers import messages as m
from whispergpt.server.workers.questions import HubQuestions


@dataclass(frozen=True)
class Accounts:
    """Where the caller and the bytes of an address are counted by this process."""

    settings: Settings
    guard: Guard
    admission: Admission

    def count(self, held: m.HeldForm, decoded: bytes) -> HeldContinuation:
        """Count a continuation that another process counted until now; its ``cleanup`` gives all back."""
        known, cleanup = self.known(held), ExitStack()
        known.caller.reconnect()
        cleanup.callback(known.caller.disconnect)
        meter = UploadMeter(self.admission, self.settings, known.caller)
        meter.recount(len(decoded))
        cleanup.callback(meter.release)
        return HeldContinuation(known.form, known.caller, decoded, meter, cleanup)

    def known(self, held: m.HeldForm) -> KnownContinuation:
        """Return the continuation of an address, which this process does not count."""
        return KnownContinuation(held.form, self.guard.caller_with(held.identity))


def form_of(known: KnownContinuation) -> m.HeldForm:
    """Return the message for what an address plays."""
    return m.HeldForm(known.caller.identity, known.form)


class AddressKeeper:
    """The hub's side: has the addresses, and answers questions about them."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts
        self._addresses = PlayAddresses(accounts.settings.token_seconds, accounts.settings.max_requests)

    async def answer(self, question: m.AddressQuestion) -> m.Answer:
        """Return the answer to a front end's question."""
        try:
            match question:
                case m.HoldAddress():
                    return await self._hold(question)
                case m.LookAddress():
                    return m.AddressFound(form_of(await self._addresses.look(question.token)))
                case m.TakeAddress():
                    held = await self._addresses.take(question.token)
                    held.cleanup.close()
                    return m.AddressFound(form_of(held), held.take_decoded())
        except ApiError as error:
            return m.Refusal.of(error)

    async def _hold(self, question: m.HoldAddress) -> m.AddressMade:
        held = self._accounts.count(question.held, question.decoded)
        try:
            return m.AddressMade(await self._addresses.hold(held))
        except ApiError:
            held.cleanup.close()
            raise


class HubAddresses:
    """A front end's side: asks the hub.

    Attributes:
        seconds: as in ``Addresses``.
    """

    def __init__(self, accounts: Accounts, questions: HubQuestions) -> None:
        self.seconds = accounts.settings.token_seconds
        self._accounts, self._questions = accounts, questions

    async def hold(self, held: HeldContinuation) -> str:
        held.cleanup.close()  # the hub counts it from now on
        answer = await self._questions.ask(m.HoldAddress(form_of(held), held.take_decoded()))
        if not isinstance(answer, m.AddressMade):
            raise internal()
        return answer.token

    async def look(self, token: str) -> KnownContinuation:
        return self._accounts.known((await self._find(m.LookAddress(token))).held)

    async def take(self, token: str) -> HeldContinuation:
        found = await self._find(m.TakeAddress(token))
        return self._accounts.count(found.held, found.decoded)

    async def _find(self, question: m.LookAddress | m.TakeAddress) -> m.AddressFound:
        answer = await self._questions.ask(question)
        if not isinstance(answer, m.AddressFound):
            raise internal()
        return answer
