"""Client of the WHISPER-GPT audio continuation server: it sends an audio prompt and receives the continuation."""

from whispergpt_client.arrays import to_wav
from whispergpt_client.async_client import AsyncClient
from whispergpt_client.async_stream import AsyncStream
from whispergpt_client.client import Client
from whispergpt_client.continuation import Continuation
from whispergpt_client.errors import WhisperGPTError
from whispergpt_client.model import Model
from whispergpt_client.stream import Stream

__all__ = ["AsyncClient", "AsyncStream", "Client", "Continuation", "Model", "Stream", "WhisperGPTError", "to_wav"]
