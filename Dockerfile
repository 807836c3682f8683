ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

# The compiler builds the frame step's kernels, below for every level of processor and, should those not fit, at a start.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/whispergpt/bin:$PATH \
    PYTHONUNBUFFERED=1
RUN python -m venv /opt/whispergpt && useradd --create-home --uid 10001 whispergpt

# PyTorch first and by itself: by far the largest layer, and the one that changes least.
WORKDIR /build
COPY constraints.txt .
RUN pip install --no-cache-dir --disable-pip-version-check -c constraints.txt torch
COPY . .
RUN pip install --no-cache-dir --disable-pip-version-check -c constraints.txt '.[tracing]' \
    && rm -rf /build/* \
    && cd / && python -m engine.native.library

USER whispergpt
WORKDIR /home/whispergpt
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('WHISPERGPT_PORT', 8000)}/health/ready\", timeout=4)"]
ENTRYPOINT ["whispergpt"]
CMD ["serve", "--host", "0.0.0.0"]
