# One file for CPUs and CUDA:
#   docker build -t whispergpt:local .                                    PyTorch for CPUs
#   docker build -t whispergpt:cuda --build-arg ACCELERATOR=cuda .        PyTorch with CUDA; serves on a CPU too
# A tag can be moved to other bytes, a digest cannot. For what is deployed, name the base by its digest:
#   --build-arg BASE_IMAGE=python:3.11-slim-bookworm@sha256:…             (docker buildx imagetools inspect says which)
ARG BASE_IMAGE=python:3.11-slim-bookworm


FROM ${BASE_IMAGE} AS build
ENV PATH=/opt/whispergpt/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The compiler stays in this stage: it builds the kernels for every level of processor that they are written for.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && python -m venv /opt/whispergpt

# PyTorch first and by itself: by far the largest part, and the one that changes least. Every file that is installed has
# its hash in deploy/image/, but PyTorch's build for CPUs: it is in an index of its own, and TORCH_SHA256 may name its hash.
ARG ACCELERATOR=cpu
ARG TORCH_SHA256=
WORKDIR /build
COPY constraints.txt .
COPY deploy/image/*.txt deploy/image/
RUN case "$ACCELERATOR" in \
        cpu) grep '^torch==' constraints.txt | sed "s/\$/${TORCH_SHA256:+ --hash=sha256:$TORCH_SHA256}/" > torch.txt \
            && pip install --extra-index-url https://download.pytorch.org/whl/cpu --no-deps -r torch.txt ;; \
        cuda) pip install --require-hashes --no-deps --only-binary :all: -r deploy/image/requirements-cuda.txt ;; \
        *) echo "ACCELERATOR is cpu or cuda, not '$ACCELERATOR'." >&2; exit 1 ;; \
    esac

# Of pyproject.toml: tracing, or tracing,ray for a fleet on Ray Serve.
ARG EXTRAS=tracing
RUN case "$EXTRAS" in tracing) ;; tracing,ray) ray="-r deploy/image/requirements-ray.txt" ;; \
        *) echo "EXTRAS is tracing or tracing,ray, not '$EXTRAS'." >&2; exit 1 ;; \
    esac \
    && pip install --require-hashes --no-deps --only-binary :all: -r deploy/image/requirements.txt $ray
COPY . .
# Where PyTorch's index cannot be reached, what came is the build with CUDA, and its libraries are still to come.
RUN pip install --no-deps --no-build-isolation --no-index . \
    && pip install -c constraints.txt torch \
    && pip check \
    && pip uninstall -y pip \
    && cd / && python -m whispergpt.engine.native.library


FROM ${BASE_IMAGE}
ARG BASE_IMAGE
LABEL org.opencontainers.image.base.name="${BASE_IMAGE}"
ENV PATH=/opt/whispergpt/bin:$PATH \
    PYTHONUNBUFFERED=1
COPY --from=build /opt/whispergpt /opt/whispergpt
# The one place that is written to: weights that are fetched.
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
