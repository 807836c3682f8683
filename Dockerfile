# Image for CPUs or for CUDA:
#   docker build -t whispergpt:local .                                    PyTorch for CPUs
#   docker build -t whispergpt:cuda --build-arg ACCELERATOR=cuda .        PyTorch with CUDA; serves on a CPU too
# A tag can change its content, a digest cannot. For a deployment name the base by its digest:
#   --build-arg BASE_IMAGE=python:3.11-slim-bookworm@sha256:…             (shown by docker buildx imagetools inspect)
ARG BASE_IMAGE=python:3.11-slim-bookworm


FROM ${BASE_IMAGE} AS build
ENV PATH=/opt/whispergpt/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# The compiler stays in this stage: installing the package builds the kernels for all processors of this architecture.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && python -m venv /opt/whispergpt

# PyTorch has a layer of its own, because it is by far the largest part and changes least. deploy/image/ has the hash of
# every installed file except PyTorch's build for CPUs, which comes from another index: TORCH_SHA256 may give its hash.
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

# Extras of pyproject.toml beside hub and limits: tracing, or tracing,ray for a fleet on Ray Serve.
ARG EXTRAS=tracing
RUN case "$EXTRAS" in tracing) ;; tracing,ray) ray="-r deploy/image/requirements-ray.txt" ;; \
        *) echo "EXTRAS is tracing or tracing,ray, not '$EXTRAS'." >&2; exit 1 ;; \
    esac \
    && pip install --require-hashes --no-deps --only-binary :all: -r deploy/image/requirements.txt $ray
COPY . .
# If PyTorch's index was unreachable, pip took the build with CUDA, whose libraries are installed here. The last line
# fails if kernels are missing.
RUN pip install --no-deps --no-build-isolation --no-index . \
    && pip install -c constraints.txt torch \
    && pip check \
    && pip uninstall -y pip \
    && cd / && python -m whispergpt.engine.native.prebuilt


FROM ${BASE_IMAGE}
ARG BASE_IMAGE
LABEL org.opencontainers.image.base.name="${BASE_IMAGE}"
ENV PATH=/opt/whispergpt/bin:$PATH \
    PYTHONUNBUFFERED=1
# With CUDA alone: Triton compiles a starter for each GPU kernel, by the C compiler of the machine that has the GPU.
ARG ACCELERATOR=cpu
RUN if [ "$ACCELERATOR" = cuda ]; then \
        apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*; \
    fi
COPY --from=build /opt/whispergpt /opt/whispergpt
# The only writable folder, for downloaded weights and models, and compiled GPU kernels.
ENV WHISPERGPT_CACHE=/var/cache/whispergpt TRITON_CACHE_DIR=/var/cache/whispergpt/triton \
    HF_HOME=/var/cache/whispergpt/huggingface
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
