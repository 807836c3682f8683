# One file for CPUs and CUDA:
#   docker build -t whispergpt:local .                                    PyTorch for CPUs
#   docker build -t whispergpt:cuda --build-arg ACCELERATOR=cuda .        PyTorch with CUDA; serves on a CPU too
ARG BASE_IMAGE=python:3.11-slim-bookworm

# The compiler builds the frame step's kernels, below for every level of processor and, should those not fit, at a start.
FROM ${BASE_IMAGE} AS base
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
ENV PATH=/opt/whispergpt/bin:$PATH \
    PYTHONUNBUFFERED=1


FROM base AS build
ARG ACCELERATOR=cpu
# Of pyproject.toml; a fleet on Ray Serve takes tracing,ray.
ARG EXTRAS=tracing
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/whispergpt

# PyTorch first and by itself: by far the largest part, and the one that changes least.
WORKDIR /build
COPY constraints.txt .
RUN case "$ACCELERATOR" in \
        cpu) pip install --extra-index-url https://download.pytorch.org/whl/cpu --no-deps -c constraints.txt torch ;; \
        cuda) pip install -c constraints.txt torch ;; \
        *) echo "ACCELERATOR is cpu or cuda, not '$ACCELERATOR'." >&2; exit 1 ;; \
    esac
COPY . .
RUN pip install -c constraints.txt ".[$EXTRAS]" \
    && pip uninstall -y pip \
    && cd / && python -m engine.native.library


FROM base
COPY --from=build /opt/whispergpt /opt/whispergpt
# The one place that is written to: kernels for a processor that none above fit, and weights that are fetched.
ENV WHISPERGPT_CACHE=/var/cache/whispergpt
RUN useradd --create-home --uid 10001 whispergpt \
    && install -d -o whispergpt -g whispergpt /var/cache/whispergpt
VOLUME /var/cache/whispergpt
USER whispergpt
WORKDIR /home/whispergpt
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=300s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f\"http://127.0.0.1:{os.environ.get('WHISPERGPT_PORT', 8000)}/health/ready\", timeout=4)"]
ENTRYPOINT ["whispergpt"]
CMD ["serve", "--host", "0.0.0.0"]
