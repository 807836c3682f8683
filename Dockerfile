ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}

# torch.compile builds its kernels at run time: it needs a compiler and Python's headers, which the official Python
# image has and a distribution keeps in a package of its own.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && header="$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" \
    && { [ -e "$header" ] || apt-get install -y --no-install-recommends libpython3-dev; } \
    && rm -rf /var/lib/apt/lists/*

ENV PATH=/opt/whispergpt/bin:$PATH \
    PYTHONUNBUFFERED=1
RUN python -m venv /opt/whispergpt && useradd --create-home --uid 10001 whispergpt

# PyTorch first and by itself: by far the largest layer, and the one that changes least.
WORKDIR /build
COPY constraints.txt .
RUN pip install --no-cache-dir --disable-pip-version-check -c constraints.txt torch
COPY . .
RUN pip install --no-cache-dir --disable-pip-version-check -c constraints.txt . && rm -rf /build/*

USER whispergpt
WORKDIR /home/whispergpt
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('WHISPERGPT_PORT', 8000)}/health/ready\", timeout=4)"]
ENTRYPOINT ["whispergpt"]
CMD ["serve", "--host", "0.0.0.0"]
